/* The search for the matches of one regex as a function of Python. */
#include "checks.h"
#include "finder.h"
#include "objects.h"

#include <stdlib.h>

enum { MATCH_FIELDS = 7 }; /* of `regexes.Match`: start, end, two numbers, certain, is_open, is_dropped */

/* What a search is asked. `check` or, where it cannot say, `validate` may deny a match. */
typedef struct {
    finder_t *finder;
    PyTypeObject *type;
    PyObject *rest, *plain, *validate; /* `rest`: what each match has behind its start and end */
    check_t check;
    const uint32_t *text;
    int32_t size, is_end, is_short; /* `is_short`: a match has nothing else */
} search_t;

static void drop_finder(PyObject *capsule) { finder_free(held(capsule, FINDER_NAME)); }

/* finder(code, entry, spans, members, traits, run): of one regex. */
static PyObject *finder(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *code, *spans, *members, *traits;
    int entry, run;
    if (!PyArg_ParseTuple(args, "SiSSSi", &code, &entry, &spans, &members, &traits, &run)) return NULL;
    finder_t *made = calloc(1, sizeof *made);
    if (!made) return PyErr_NoMemory();
    made->run = run;
    made->automaton = weir_automaton_of(code, &entry, 1, spans, members, traits, 1);
    PyObject *capsule = made->automaton ? PyCapsule_New(made, FINDER_NAME, drop_finder) : PyErr_NoMemory();
    if (!capsule) finder_free(made);
    return capsule;
}

/* Whether nothing denies a match; -1 with an exception. */
static int is_valid(const search_t *s, int32_t start, int32_t end) {
    int is_right = s->check ? s->check(s->text + start, end - start) : s->validate == Py_None ? 1 : -1;
    if (is_right >= 0) return is_right;
    PyObject *found = PyUnicode_Substring(s->plain, start, end);
    PyObject *said = found ? PyObject_CallOneArg(s->validate, found) : NULL;
    is_right = said ? PyObject_IsTrue(said) : -1;
    Py_XDECREF(found);
    Py_XDECREF(said);
    return is_right;
}

static PyObject *match_of(const search_t *s, int32_t start, int32_t end, int32_t certain, int is_open) {
    Py_ssize_t num_rest = PyTuple_GET_SIZE(s->rest), at = 0;
    PyObject *match = s->type->tp_alloc(s->type, s->is_short ? 2 + num_rest : MATCH_FIELDS);
    PyObject *first = PyLong_FromLong(start), *last = PyLong_FromLong(end);
    PyObject *certain_end = s->is_short ? Py_NewRef(Py_None) : PyLong_FromLong(certain);
    if (!match || !first || !last || !certain_end) {
        Py_XDECREF(match), Py_XDECREF(first), Py_XDECREF(last), Py_XDECREF(certain_end);
        return NULL;
    }
    PyTuple_SET_ITEM(match, at++, first);
    PyTuple_SET_ITEM(match, at++, last);
    for (Py_ssize_t i = 0; i < num_rest; i++) PyTuple_SET_ITEM(match, at++, Py_NewRef(PyTuple_GET_ITEM(s->rest, i)));
    if (s->is_short) {
        Py_DECREF(certain_end);
        return match;
    }
    PyTuple_SET_ITEM(match, at++, certain_end);
    PyTuple_SET_ITEM(match, at++, PyBool_FromLong(is_open));
    PyTuple_SET_ITEM(match, at++, Py_NewRef(Py_False));
    return match;
}

static int append(PyObject *list, PyObject *match) {
    int is_done = match && PyList_Append(list, match) == 0;
    Py_XDECREF(match);
    return is_done;
}

/* Put the matches into a list; 0 with an exception. `at` becomes where others are to go on, the size if nowhere. */
static int collect(const search_t *s, progress_t *progress, PyObject *list) {
    for (;;) {
        int32_t certain = finder_next(s->finder, s->text, s->size, progress), start = progress->at;
        if (certain < 0) return 1;
        int is_right = is_valid(s, start, certain);
        if (is_right < 0) return 0;
        if (!is_right) {
            progress->at = start + 1;
            continue;
        }
        int32_t end = finder_run_end(s->finder, s->text, s->size, certain);
        int is_open = s->finder->run != NO_MATCH && end == s->size && !s->is_end;
        if (!append(list, match_of(s, start, end, certain, is_open))) return 0;
        progress->at = end;
    }
}

/* matches(finder, type, rest, is_short, wide, plain, begin, is_end, check or -1, validate or None): the matches from
 * `begin` on that nothing denies, and from where on they are for others to find, the size if from nowhere. */
static PyObject *matches(PyObject *Py_UNUSED(module), PyObject *args) {
    search_t s = {0};
    progress_t progress = {0};
    PyObject *capsule, *type, *wide;
    int check;
    if (!PyArg_ParseTuple(args, "OO!O!iOUiiiO", &capsule, &PyType_Type, &type, &PyTuple_Type, &s.rest, &s.is_short,
                          &wide, &s.plain, &progress.begin, &s.is_end, &check, &s.validate))
        return NULL;
    s.type = (PyTypeObject *)type;
    Py_ssize_t size = words_of(wide, &s.text);
    if (size < 0 || !(s.finder = held(capsule, FINDER_NAME))) return NULL;
    if (!PyType_IsSubtype(s.type, &PyTuple_Type) || size != PyUnicode_GET_LENGTH(s.plain) || size > INT32_MAX ||
        progress.begin < 0 || (!s.is_short && PyTuple_GET_SIZE(s.rest) != 2))
        return PyErr_Format(PyExc_ValueError, "no such search");
    s.size = (int32_t)size;
    for (int i = 0; i <= check && weir_checks[i].name; i++) s.check = weir_checks[i].check;
    progress.at = progress.begin;
    PyObject *list = PyList_New(0);
    if (list && collect(&s, &progress, list)) return Py_BuildValue("(Ni)", list, progress.at);
    Py_XDECREF(list);
    return NULL;
}

/* check_names(): what `check` numbers. */
static PyObject *check_names(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none)) {
    PyObject *names = PyList_New(0);
    for (int i = 0; names && weir_checks[i].name; i++) {
        PyObject *name = PyUnicode_FromString(weir_checks[i].name);
        if (!append(names, name)) Py_CLEAR(names);
    }
    return names;
}

/* check(number, wide): 1: right, 0: wrong, -1: for Python to say. */
static PyObject *check(PyObject *Py_UNUSED(module), PyObject *args) {
    int number;
    PyObject *wide;
    const uint32_t *text;
    if (!PyArg_ParseTuple(args, "iO", &number, &wide)) return NULL;
    Py_ssize_t size = words_of(wide, &text);
    if (size < 0) return NULL;
    for (int i = 0; weir_checks[i].name; i++)
        if (i == number) return PyLong_FromLong(weir_checks[i].check(text, (int32_t)size));
    return PyErr_Format(PyExc_ValueError, "no such check");
}

PyMethodDef weir_finding_methods[] = {
    {"finder", finder, METH_VARARGS, "finder(code, entry, spans, members, traits, run): of one regex"},
    {"matches", matches, METH_VARARGS, "matches(finder, …): what is found, and where others are to go on"},
    {"check_names", check_names, METH_NOARGS, "check_names(): validators by number"},
    {"check", check, METH_VARARGS, "check(number, wide): whether a text is right"},
    {NULL, NULL, 0, NULL},
};
