/* The search for regexes that may match as functions of Python. */
#include "backward.h"
#include "objects.h"
#include "placed.h"

#include <limits.h>

enum { LARGE = 1 << 14 }; /* characters: whoever searches more lets other threads run */

static void drop_positions(PyObject *capsule) { positions_free(held(capsule, POSITIONS_NAME)); }

static pairs_t pairs_of(PyObject *object) {
    const uint32_t *words;
    Py_ssize_t count = words_of(object, &words);
    return (pairs_t){(const int32_t *)(const void *)words, (int32_t)(count / 2)};
}

/* positions(spans, members, traits, sets, owners, num_regexes, edges, firsts, lasts) */
static PyObject *positions(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *spans, *members, *traits, *sets, *owners, *edges, *firsts, *lasts;
    int num_regexes;
    if (!PyArg_ParseTuple(args, "SSSSSiSSS", &spans, &members, &traits, &sets, &owners, &num_regexes, &edges, &firsts,
                          &lasts))
        return NULL;
    const uint32_t *spans_at, *sets_at, *owners_at;
    Py_ssize_t num_spans = words_of(spans, &spans_at) / 2, count = words_of(sets, &sets_at);
    if (count % BITS || count > MOST_WORDS * BITS || words_of(owners, &owners_at) != count)
        return PyErr_Format(PyExc_ValueError, "no such positions");
    positions_t *made = positions_new(spans_at, (int32_t)num_spans, (const uint8_t *)PyBytes_AS_STRING(members),
                                      (const uint8_t *)PyBytes_AS_STRING(traits), (int32_t)PyBytes_GET_SIZE(traits),
                                      (const int32_t *)(const void *)sets_at, (const int32_t *)(const void *)owners_at,
                                      (int32_t)(count / BITS), num_regexes, pairs_of(edges), pairs_of(firsts),
                                      pairs_of(lasts));
    if (!made) return PyErr_NoMemory();
    PyObject *capsule = PyCapsule_New(made, POSITIONS_NAME, drop_positions);
    if (!capsule) positions_free(made);
    return capsule;
}

static PyObject *numbers_of(const uint8_t *found, int32_t num_regexes) {
    PyObject *numbers = PyList_New(0);
    for (int32_t i = 0; numbers && i < num_regexes; i++) {
        PyObject *number = found[i] ? PyLong_FromLong(i) : NULL;
        if (found[i] && (!number || PyList_Append(numbers, number))) Py_CLEAR(numbers);
        Py_XDECREF(number);
    }
    return numbers;
}

/* may_match(positions, text): the numbers of the regexes that may. */
static PyObject *may_match(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    positions_t *p = count == 2 ? held(args[0], POSITIONS_NAME) : NULL;
    if (!p || !PyUnicode_Check(args[1])) return PyErr_Format(PyExc_TypeError, "positions and a text are needed");
    const void *text = PyUnicode_DATA(args[1]);
    int kind = PyUnicode_KIND(args[1]);
    Py_ssize_t size = PyUnicode_GET_LENGTH(args[1]);
    if (size > INT32_MAX) return PyErr_Format(PyExc_ValueError, "the text is too long");
    uint8_t *found = PyMem_Calloc((size_t)p->num_regexes + 1, 1);
    if (!found) return PyErr_NoMemory();
    search_t search;
    search_begin(&search, found);
    int32_t at = search_known(p, &search, text, kind, (int32_t)size);
    if (at >= 0 && size - at <= LARGE) {
        search_rest(p, &search, text, kind, at, (int32_t)size);
    } else if (at >= 0) {
        Py_BEGIN_ALLOW_THREADS;
        search_rest(p, &search, text, kind, at, (int32_t)size);
        Py_END_ALLOW_THREADS;
    }
    PyObject *numbers = search.num_found ? numbers_of(found, p->num_regexes) : PyTuple_New(0);
    PyMem_Free(found);
    return numbers;
}

static void drop_backward(PyObject *capsule) { backward_free(held(capsule, BACKWARD_NAME)); }

/* backward(code, entries, spans, members, traits): of a program; None: it is too large. */
static PyObject *backward(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *code, *entries, *spans, *members, *traits;
    if (!PyArg_ParseTuple(args, "SSSSS", &code, &entries, &spans, &members, &traits)) return NULL;
    const uint32_t *code_at, *entries_at, *spans_at;
    Py_ssize_t size = words_of(code, &code_at) / 3, num_entries = words_of(entries, &entries_at);
    Py_ssize_t num_spans = words_of(spans, &spans_at) / 2;
    backward_t *made = backward_new((const instruction_t *)(const void *)code_at, (int32_t)size,
                                    (const int32_t *)(const void *)entries_at, (int32_t)num_entries, spans_at,
                                    (int32_t)num_spans, (const uint8_t *)PyBytes_AS_STRING(members),
                                    (const uint8_t *)PyBytes_AS_STRING(traits), (int32_t)PyBytes_GET_SIZE(traits));
    if (!made) Py_RETURN_NONE;
    PyObject *capsule = PyCapsule_New(made, BACKWARD_NAME, drop_backward);
    if (!capsule) backward_free(made);
    return capsule;
}

/* open_from(backward, text, begin): where what starts may go on; the size of the text, if nothing does. */
static PyObject *open_from(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    const backward_t *b = count == 3 ? held(args[0], BACKWARD_NAME) : NULL;
    if (!b || !PyUnicode_Check(args[1])) return PyErr_Format(PyExc_TypeError, "a text and a place are needed");
    Py_ssize_t size = PyUnicode_GET_LENGTH(args[1]), begin = PyLong_AsSsize_t(args[2]);
    if (begin < 0 || size > INT32_MAX) return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "no such place");
    if (begin > size) begin = size;
    return PyLong_FromLong(backward_open(b, PyUnicode_DATA(args[1]), PyUnicode_KIND(args[1]), (int32_t)size, (int32_t)begin));
}

PyMethodDef weir_position_methods[] = {
    {"positions", positions, METH_VARARGS, "positions(…): of the regexes of a program"},
    {"may_match", (PyCFunction)(void (*)(void))may_match, METH_FASTCALL, "may_match(positions, text): which may"},
    {"backward", backward, METH_VARARGS, "backward(code, entries, spans, members, traits): of a program"},
    {"open_from", (PyCFunction)(void (*)(void))open_from, METH_FASTCALL, "open_from(backward, text, begin): a place"},
    {NULL, NULL, 0, NULL},
};
