/* The searches for literals as functions of Python. */
#include "objects.h"

enum { HERE = 32, LARGE = 1 << 14 }; /* finds; characters: whoever searches more lets other threads run */
enum { SELDOM = 8 };                 /* fewer characters for each find are few */
enum { FIND, TERMS, DRAWN_OUT, WORDS };

typedef struct {
    int what;
    const set_t *set;
    const terms_t *terms;
    const uint32_t *text, *other; /* letters, or a map */
    int32_t size, num_other, begin, options; /* of WORDS `num_other` is the most */
} question_t;

static int32_t answer(const question_t *q, int32_t *out, int32_t room) {
    switch (q->what) {
        case FIND: return weir_find(q->set, q->text, q->size, q->other, out, room);
        case TERMS: return weir_terms(q->terms, q->text, q->size, q->begin, q->options, out, room);
        case DRAWN_OUT: return weir_find_drawn_out(q->set, q->text, q->size, q->other, q->num_other, out, room);
        default: return weir_encoded_words(q->text, q->size, q->options, q->num_other, out, room);
    }
}

static int32_t answer_in_turn(const question_t *q, int32_t *out, int32_t room) {
    if (q->size - q->begin <= LARGE) return answer(q, out, room);
    int32_t count;
    Py_BEGIN_ALLOW_THREADS;
    count = answer(q, out, room);
    Py_END_ALLOW_THREADS;
    return count;
}

static PyObject *finds_in(const int32_t *out, int32_t count) {
    if (!count) return PyTuple_New(0);
    PyObject *finds = PyList_New(count);
    for (int32_t i = 0; finds && i < count; i++, out += 4) {
        PyObject *find = Py_BuildValue("(iiii)", out[0], out[1], out[2], out[3]);
        if (!find) Py_CLEAR(finds);
        else PyList_SET_ITEM(finds, i, find);
    }
    return finds;
}

/* The finds that answer a question; for terms, also from where on the text is open. */
static PyObject *answered(const question_t *q) {
    int32_t here[4 * HERE + 1], *out = here, first = q->what == TERMS, room = HERE;
    if (q->size > LARGE) { /* to search such a text twice costs more than memory that is not touched */
        room = q->size / SELDOM;
        if (!(out = PyMem_Malloc((4 * (size_t)room + 1) * sizeof *out))) return PyErr_NoMemory();
    }
    int32_t count = answer_in_turn(q, out, room);
    if (count > room) {
        if (out != here) PyMem_Free(out);
        room = count;
        if (!(out = PyMem_Malloc((4 * (size_t)room + 1) * sizeof *out))) return PyErr_NoMemory();
        count = answer_in_turn(q, out, room);
    }
    PyObject *finds = count < 0 ? PyErr_NoMemory() : finds_in(out + first, count);
    PyObject *found = finds && first ? Py_BuildValue("(iN)", out[0], finds) : finds;
    if (out != here) PyMem_Free(out);
    return found;
}

static int has_args(Py_ssize_t given, Py_ssize_t wanted) {
    if (given == wanted) return 1;
    PyErr_Format(PyExc_TypeError, "%zd arguments, not %zd", wanted, given);
    return 0;
}

static int reads_text(question_t *q, PyObject *text) {
    Py_ssize_t size = words_of(text, &q->text);
    q->size = (int32_t)size;
    return size >= 0;
}

static void drop_set(PyObject *capsule) { weir_set_free(held(capsule, SET_NAME)); }

static PyObject *literal_set(PyObject *Py_UNUSED(module), PyObject *args) {
    const uint32_t *letters, *lengths;
    PyObject *letters_in, *lengths_in, *flags;
    if (!PyArg_ParseTuple(args, "SSS", &letters_in, &lengths_in, &flags)) return NULL;
    words_of(letters_in, &letters);
    Py_ssize_t count = words_of(lengths_in, &lengths);
    set_t *set;
    Py_BEGIN_ALLOW_THREADS;
    set = weir_set_new(letters, lengths, (uint32_t)count, (const uint8_t *)PyBytes_AS_STRING(flags));
    Py_END_ALLOW_THREADS;
    if (!set) return PyErr_NoMemory();
    PyObject *capsule = PyCapsule_New(set, SET_NAME, drop_set);
    if (!capsule) weir_set_free(set);
    return capsule;
}

static void drop_terms(PyObject *capsule) {
    Py_XDECREF((PyObject *)PyCapsule_GetContext(capsule));
    PyMem_Free(held(capsule, TERMS_NAME));
}

/* term_sets((set or None, …), letters): keeps all of them alive. */
static PyObject *term_sets(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *sets, *letters;
    if (!PyArg_ParseTuple(args, "O!S", &PyTuple_Type, &sets, &letters)) return NULL;
    terms_t *terms = PyMem_Calloc(1, sizeof *terms);
    if (!terms) return PyErr_NoMemory();
    terms->letters = (const uint8_t *)PyBytes_AS_STRING(letters);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(sets) && i < NUM_KINDS; i++) {
        PyObject *set = PyTuple_GET_ITEM(sets, i);
        if (set != Py_None && !(terms->sets[i] = held(set, SET_NAME))) goto failed;
    }
    PyObject *capsule = PyCapsule_New(terms, TERMS_NAME, drop_terms);
    if (!capsule) goto failed;
    Py_INCREF(args);
    PyCapsule_SetContext(capsule, args);
    return capsule;
failed:
    PyMem_Free(terms);
    return NULL;
}

static PyObject *find(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    question_t q = {.what = FIND};
    if (!has_args(count, 3) || !(q.set = held(args[0], SET_NAME)) || !reads_text(&q, args[1])) return NULL;
    if (args[2] != Py_None && words_of(args[2], &q.other) < 0) return NULL;
    return answered(&q);
}

static PyObject *find_drawn_out(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    question_t q = {.what = DRAWN_OUT};
    if (!has_args(count, 3) || !(q.set = held(args[0], SET_NAME)) || !reads_text(&q, args[1])) return NULL;
    q.num_other = (int32_t)words_of(args[2], &q.other);
    return q.num_other < 0 ? NULL : answered(&q);
}

static PyObject *look(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    question_t q = {.what = TERMS};
    if (!has_args(count, 4) || !(q.terms = held(args[0], TERMS_NAME)) || !reads_text(&q, args[1])) return NULL;
    q.begin = (int32_t)PyLong_AsLong(args[2]), q.options = (int32_t)PyLong_AsLong(args[3]);
    return PyErr_Occurred() ? NULL : answered(&q);
}

static PyObject *encoded_words(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    question_t q = {.what = WORDS};
    if (!has_args(count, 3) || !reads_text(&q, args[0])) return NULL;
    q.options = (int32_t)PyLong_AsLong(args[1]), q.num_other = (int32_t)PyLong_AsLong(args[2]);
    return PyErr_Occurred() ? NULL : answered(&q);
}

static PyObject *which(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given) {
    int32_t here[HERE], *out = here, count;
    question_t q = {0};
    if (!has_args(given, 2) || !(q.set = held(args[0], SET_NAME)) || !reads_text(&q, args[1])) return NULL;
    count = weir_find_which(q.set, q.text, q.size, out, HERE);
    if (count > HERE) {
        if (!(out = PyMem_Malloc((size_t)count * sizeof *out))) return PyErr_NoMemory();
        count = weir_find_which(q.set, q.text, q.size, out, count);
    }
    PyObject *found = count < 0 ? PyErr_NoMemory() : PyTuple_New(count);
    for (int32_t i = 0; found && i < count; i++) {
        PyObject *number = PyLong_FromLong(out[i]);
        if (!number) Py_CLEAR(found);
        else PyTuple_SET_ITEM(found, i, number);
    }
    if (out != here) PyMem_Free(out);
    return found;
}

static PyObject *drawn_out(PyObject *Py_UNUSED(module), PyObject *text) {
    uint32_t letters[2 * MOST_ROUNDS];
    question_t q = {0};
    if (!reads_text(&q, text)) return NULL;
    return PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, letters, weir_drawn_out(q.text, q.size, letters));
}

#define FAST(function) (PyCFunction)(void (*)(void))function, METH_FASTCALL

PyMethodDef weir_search_methods[] = {
    {"literal_set", literal_set, METH_VARARGS, "literal_set(letters, lengths, flags): of different literals"},
    {"term_sets", term_sets, METH_VARARGS, "term_sets(sets, letters): where terms are looked for"},
    {"find", FAST(find), "find(set, text, map or None): finds"},
    {"find_drawn_out", FAST(find_drawn_out), "find_drawn_out(set, text, letters): finds"},
    {"look", FAST(look), "look(term_sets, text, begin, options): from where on the text is open, and finds"},
    {"encoded_words", FAST(encoded_words), "encoded_words(text, least, most): finds"},
    {"which", FAST(which), "which(set, text): literals that stand in it"},
    {"drawn_out", drawn_out, METH_O, "drawn_out(text): characters that stand there several times"},
    {NULL, NULL, 0, NULL},
};
