/* The views of a text as functions of Python. */
#include "objects.h"

enum { DOTTED_I = 0x130, SIGMA = 0x3A3 }; /* whose small letters are two, or depend on what follows */

static PyObject *string_of(const uint32_t *letters, Py_ssize_t size) {
    return PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, letters, size);
}

/* wide(text): as searches read it. */
static PyObject *wide(PyObject *Py_UNUSED(module), PyObject *text) {
    if (!PyUnicode_Check(text)) return PyErr_Format(PyExc_TypeError, "a text is needed");
    Py_ssize_t size = PyUnicode_GET_LENGTH(text);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, 4 * size);
    if (!bytes) return NULL;
    uint32_t *out = (uint32_t *)(void *)PyBytes_AS_STRING(bytes);
    const void *data = PyUnicode_DATA(text);
    int kind = PyUnicode_KIND(text);
    if (kind == PyUnicode_1BYTE_KIND)
        for (Py_ssize_t i = 0; i < size; i++) out[i] = ((const Py_UCS1 *)data)[i];
    else if (kind == PyUnicode_2BYTE_KIND)
        for (Py_ssize_t i = 0; i < size; i++) out[i] = ((const Py_UCS2 *)data)[i];
    else
        memcpy(out, data, 4 * (size_t)size);
    return bytes;
}

/* small(text): the text in small letters, and that as searches read it. */
static PyObject *small(PyObject *module, PyObject *text) {
    PyObject *bytes = wide(module, text);
    if (!bytes) return NULL;
    uint32_t *letters = (uint32_t *)(void *)PyBytes_AS_STRING(bytes);
    Py_ssize_t size = PyUnicode_GET_LENGTH(text);
    int is_odd = 0;
    for (Py_ssize_t i = 0; i < size; i++) {
        uint32_t c = letters[i];
        if (c < 128) {
            letters[i] = c + (c - 'A' < 26 ? 32 : 0);
        } else if (c < 0x2E80 || c >= 0xA000) { /* what is between has no capitals */
            is_odd |= c == DOTTED_I || c == SIGMA;
            letters[i] = Py_UNICODE_TOLOWER(c);
        }
    }
    if (!is_odd) return Py_BuildValue("(NN)", string_of(letters, size), bytes);
    Py_DECREF(bytes);
    PyObject *lower = PyObject_CallMethod(text, "lower", NULL);
    if (!lower) return NULL;
    return Py_BuildValue("(NN)", lower, wide(module, lower));
}

static void drop_fold(PyObject *capsule) { fold_free(held(capsule, FOLD_NAME)); }

static PyObject *fold_table(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *changes_in, *longer_in;
    const uint32_t *changes, *longer;
    if (!PyArg_ParseTuple(args, "SS", &changes_in, &longer_in)) return NULL;
    Py_ssize_t count = words_of(changes_in, &changes), num_longer = words_of(longer_in, &longer);
    fold_t *fold = fold_new(changes, (int32_t)(count / 2), longer, (int32_t)num_longer);
    if (!fold) return PyErr_NoMemory();
    PyObject *capsule = PyCapsule_New(fold, FOLD_NAME, drop_fold);
    if (!capsule) fold_free(fold);
    return capsule;
}

static Py_ssize_t first_change(const fold_t *fold, int kind, const void *data, Py_ssize_t size) {
    Py_ssize_t i = 0;
    while (i < size) {
        uint32_t c = PyUnicode_READ(kind, data, i);
        if (fold_of(fold, c) != c) break;
        i++;
    }
    return i;
}

/* plain(fold, text): the plain view; the text itself, where that is the same. */
static PyObject *plain(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    const fold_t *fold = count == 2 ? held(args[0], FOLD_NAME) : NULL;
    if (!fold || !PyUnicode_Check(args[1])) return PyErr_Format(PyExc_TypeError, "a table and a text are needed");
    const void *data = PyUnicode_DATA(args[1]);
    int kind = PyUnicode_KIND(args[1]);
    Py_ssize_t size = PyUnicode_GET_LENGTH(args[1]), first = first_change(fold, kind, data, size), length = first;
    if (first == size) return Py_NewRef(args[1]);
    for (Py_ssize_t i = first; i < size; i++) {
        uint32_t c = fold_of(fold, PyUnicode_READ(kind, data, i));
        length += c & SEVERAL ? fold->longer[c & ~SEVERAL] : 1;
    }
    uint32_t *out = PyMem_Malloc(4 * (size_t)length + 4), *at = out;
    if (!out) return PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < size; i++) {
        uint32_t c = fold_of(fold, PyUnicode_READ(kind, data, i));
        if (c & SEVERAL)
            for (uint32_t k = 0, first_of = c & ~SEVERAL; k < fold->longer[first_of]; k++)
                *at++ = fold->longer[first_of + 1 + k];
        else
            *at++ = c;
    }
    PyObject *made = string_of(out, length);
    PyMem_Free(out);
    return made;
}

/* Write the plain view to `out`, and from which place each character came to `origins`; return how many there are. */
static Py_ssize_t fold_all(const fold_t *fold, int kind, const void *data, Py_ssize_t size, uint32_t *out,
                           uint32_t *origins) {
    Py_ssize_t at = 0;
    for (Py_ssize_t i = 0; i < size; i++) {
        uint32_t c = fold_of(fold, PyUnicode_READ(kind, data, i)), first = c & ~SEVERAL;
        uint32_t count = c & SEVERAL ? fold->longer[first] : 1;
        for (uint32_t k = 0; k < count; k++, at++)
            out[at] = c & SEVERAL ? fold->longer[first + 1 + k] : c, origins[at] = (uint32_t)i;
    }
    return at;
}

static PyObject *numbers_from(long long first, const uint32_t *some, Py_ssize_t count) {
    PyObject *numbers = PyList_New(count);
    for (Py_ssize_t i = 0; numbers && i < count; i++) {
        PyObject *number = PyLong_FromLongLong(first + some[i]);
        if (!number) Py_CLEAR(numbers);
        else PyList_SET_ITEM(numbers, i, number);
    }
    return numbers;
}

/* plain_with_origins(fold, text, first): the plain view, and the place plus `first` that each of its characters came
 * from; None: each became one. */
static PyObject *plain_with_origins(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *capsule, *text;
    long long first;
    if (!PyArg_ParseTuple(args, "OUL", &capsule, &text, &first)) return NULL;
    const fold_t *fold = held(capsule, FOLD_NAME);
    if (!fold) return NULL;
    const void *data = PyUnicode_DATA(text);
    int kind = PyUnicode_KIND(text), is_uneven = 0;
    Py_ssize_t size = PyUnicode_GET_LENGTH(text), length = 0;
    for (Py_ssize_t i = 0; i < size; i++) {
        uint32_t c = fold_of(fold, PyUnicode_READ(kind, data, i));
        is_uneven |= (c & SEVERAL) != 0;
        length += c & SEVERAL ? fold->longer[c & ~SEVERAL] : 1;
    }
    uint32_t *out = PyMem_Malloc(8 * (size_t)length + 8);
    if (!out) return PyErr_NoMemory();
    fold_all(fold, kind, data, size, out, out + length);
    PyObject *made = string_of(out, length), *origins = NULL;
    if (made) origins = is_uneven ? numbers_from(first, out + length, length) : Py_NewRef(Py_None);
    PyMem_Free(out);
    if (origins) return Py_BuildValue("(NN)", made, origins);
    Py_XDECREF(made);
    return NULL;
}

PyMethodDef weir_text_methods[] = {
    {"wide", wide, METH_O, "wide(text): as searches read it"},
    {"small", small, METH_O, "small(text): in small letters, and that as searches read it"},
    {"fold_table", fold_table, METH_VARARGS, "fold_table(changes, longer): what characters become"},
    {"plain", (PyCFunction)(void (*)(void))plain, METH_FASTCALL, "plain(table, text): the plain view"},
    {"plain_with_origins", plain_with_origins, METH_VARARGS, "plain_with_origins(table, text, first): and its places"},
    {NULL, NULL, 0, NULL},
};
