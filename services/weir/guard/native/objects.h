/* What the module's parts share: objects that Python holds for what C made. */
#ifndef WEIR_GUARD_OBJECTS_H
#define WEIR_GUARD_OBJECTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "watch.h"

#define SET_NAME "weir.guard.set"
#define TERMS_NAME "weir.guard.terms"
#define FOLD_NAME "weir.guard.fold"
#define AUTOMATON_NAME "weir.guard.automaton"
#define FINDER_NAME "weir.guard.finder"
#define POSITIONS_NAME "weir.guard.positions"
#define BACKWARD_NAME "weir.guard.backward"

/* Pointers in capsules; NULL with an exception where it is none such. */
static inline void *held(PyObject *capsule, const char *name) { return PyCapsule_GetPointer(capsule, name); }

/* Bytes as numbers of four bytes; -1 with an exception: they are none. */
static inline Py_ssize_t words_of(PyObject *object, const uint32_t **words) {
    *words = NULL;
    if (!PyBytes_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "bytes are needed");
        return -1;
    }
    *words = (const uint32_t *)(const void *)PyBytes_AS_STRING(object);
    return PyBytes_GET_SIZE(object) / 4;
}

/* The automaton of a program that `automata.py` wrote; NULL: no memory. */
automaton_t *weir_automaton_of(PyObject *code, const int32_t *entries, int32_t num_entries, PyObject *spans,
                               PyObject *members, PyObject *traits, int is_ordered);

extern PyMethodDef weir_search_methods[], weir_text_methods[], weir_finding_methods[], weir_position_methods[];
int weir_add_watch(PyObject *module);

#endif
