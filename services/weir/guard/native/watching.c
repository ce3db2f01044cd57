/* Watcher and Watch as types of Python. */
#include "objects.h"

typedef struct {
    PyObject_HEAD
    watcher_t rules;
    PyObject *parts; /* what the rules point into */
} watcher_object;

typedef struct {
    PyObject_HEAD
    watcher_object *watcher;
    watch_t watch;
} watch_object;

static PyTypeObject watch_type;

automaton_t *weir_automaton_of(PyObject *code, const int32_t *entries, int32_t num_entries, PyObject *spans,
                               PyObject *members, PyObject *traits, int is_ordered) {
    const uint32_t *code_at, *spans_at;
    Py_ssize_t size = words_of(code, &code_at) / 3, num_spans = words_of(spans, &spans_at) / 2;
    Py_ssize_t num_classes = PyBytes_GET_SIZE(traits);
    return automaton_new((const instruction_t *)(const void *)code_at, (int32_t)size, entries, num_entries, spans_at,
                         (int32_t)num_spans, (const uint8_t *)PyBytes_AS_STRING(members),
                         (int32_t)(PyBytes_GET_SIZE(members) / num_classes),
                         (const uint8_t *)PyBytes_AS_STRING(traits), (int32_t)num_classes, is_ordered);
}

static void drop_automaton(PyObject *capsule) { automaton_free(held(capsule, AUTOMATON_NAME)); }

static PyObject *automaton(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *code, *entries, *spans, *members, *traits;
    if (!PyArg_ParseTuple(args, "SSSSS", &code, &entries, &spans, &members, &traits)) return NULL;
    const uint32_t *entries_at;
    int32_t num_entries = (int32_t)words_of(entries, &entries_at);
    automaton_t *made = weir_automaton_of(code, (const int32_t *)entries_at, num_entries, spans, members, traits, 0);
    if (!made) return PyErr_NoMemory();
    PyObject *capsule = PyCapsule_New(made, AUTOMATON_NAME, drop_automaton);
    if (!capsule) automaton_free(made);
    return capsule;
}

/* num_states(automaton): how many it has made. */
static PyObject *num_states(PyObject *Py_UNUSED(module), PyObject *capsule) {
    const automaton_t *a = held(capsule, AUTOMATON_NAME);
    return a ? PyLong_FromUnsignedLong(a->num_states) : NULL;
}

static PyMethodDef functions[] = {
    {"automaton", automaton, METH_VARARGS, "automaton(code, entries, spans, members, traits)"},
    {"num_states", num_states, METH_O, "num_states(automaton): how many it has made"},
    {NULL, NULL, 0, NULL},
};

/* Watcher(fold, automaton or None, backward or None, ((term_sets, is_letters_only), …)) */
static PyObject *watcher_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    PyObject *fold, *regexes, *backward, *terms;
    if (!PyArg_ParseTuple(args, "OOOO!", &fold, &regexes, &backward, &PyTuple_Type, &terms)) return NULL;
    if (PyTuple_GET_SIZE(terms) > MOST_TERMS) return PyErr_Format(PyExc_ValueError, "too many lists of terms");
    watcher_object *self = (watcher_object *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->parts = Py_NewRef(args);
    watcher_t *rules = &self->rules;
    rules->fold = held(fold, FOLD_NAME);
    rules->automaton = regexes == Py_None ? NULL : held(regexes, AUTOMATON_NAME);
    rules->backward = backward == Py_None || PyErr_Occurred() ? NULL : held(backward, BACKWARD_NAME);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(terms) && !PyErr_Occurred(); i++, rules->num_terms++) {
        PyObject *sets;
        int is_letters_only;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(terms, i), "Op", &sets, &is_letters_only)) break;
        rules->terms[i] = held(sets, TERMS_NAME);
        rules->is_letters_only[i] = (uint8_t)is_letters_only;
    }
    if (!PyErr_Occurred()) return (PyObject *)self;
    Py_DECREF(self);
    return NULL;
}

static void watcher_drop(PyObject *self) {
    Py_XDECREF(((watcher_object *)self)->parts);
    Py_TYPE(self)->tp_free(self);
}

static watch_object *watch_of(watcher_object *watcher) {
    watch_object *watch = PyObject_New(watch_object, &watch_type);
    if (!watch) return NULL;
    watch->watcher = (watcher_object *)Py_NewRef((PyObject *)watcher);
    watch_begin(&watch->watch);
    return watch;
}

static PyObject *watcher_begin(PyObject *self, PyObject *Py_UNUSED(none)) {
    return (PyObject *)watch_of((watcher_object *)self);
}

static void watch_drop(PyObject *self) {
    watch_end(&((watch_object *)self)->watch);
    Py_DECREF(((watch_object *)self)->watcher);
    PyObject_Free(self);
}

static PyObject *released(watch_t *watch, int32_t until) {
    PyObject *text = PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, watch->original + watch->decided,
                                               until - watch->decided);
    if (text) watch_forget(watch, until);
    return text;
}

/* feed(text): what is released, all of it as it is; None: that is not told here, and the text was not taken in. */
static PyObject *feed(PyObject *self, PyObject *text) {
    watch_object *me = (watch_object *)self;
    if (!PyUnicode_Check(text)) return PyErr_Format(PyExc_TypeError, "a text is needed");
    Py_ssize_t size = PyUnicode_GET_LENGTH(text);
    if (size > MOST_FED) Py_RETURN_NONE;
    watch_t *watch = &me->watch;
    int is_all = watch->decided == watch->count;
    int32_t until = watch_feed(&me->watcher->rules, watch, PyUnicode_DATA(text), PyUnicode_KIND(text), (int32_t)size);
    if (until < 0) Py_RETURN_NONE;
    if (!is_all || until < watch->count) return released(watch, until);
    watch_forget(watch, until);
    return Py_NewRef(text);
}

/* flush(): the rest; None: that is not told here. */
static PyObject *flush(PyObject *self, PyObject *Py_UNUSED(none)) {
    watch_object *me = (watch_object *)self;
    if (!watch_flush(&me->watcher->rules, &me->watch)) Py_RETURN_NONE;
    return released(&me->watch, me->watch.count);
}

/* state(): the text that is not forgotten, in the plain view too, how much of it was released, characters taken in. */
static PyObject *state(PyObject *self, PyObject *Py_UNUSED(none)) {
    const watch_t *watch = &((watch_object *)self)->watch;
    return Py_BuildValue("(NNiL)", PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, watch->original, watch->count),
                         PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, watch->plain, watch->count), watch->decided,
                         (long long)watch->seen);
}

/* load(text, decided, seen): go on from there; False: that is not simple enough. */
static PyObject *load(PyObject *self, PyObject *args) {
    watch_object *me = (watch_object *)self;
    PyObject *text;
    int decided;
    long long seen;
    if (!PyArg_ParseTuple(args, "UiL", &text, &decided, &seen)) return NULL;
    Py_ssize_t size = PyUnicode_GET_LENGTH(text);
    if (size > MOST_FED || decided < 0 || decided > size) Py_RETURN_FALSE;
    return PyBool_FromLong(watch_load(&me->watcher->rules, &me->watch, PyUnicode_DATA(text), PyUnicode_KIND(text),
                                      (int32_t)size, decided, seen));
}

static PyObject *copy(PyObject *self, PyObject *Py_UNUSED(none)) {
    watch_object *me = (watch_object *)self, *twin = watch_of(me->watcher);
    if (!twin || watch_copy(&twin->watch, &me->watch)) return (PyObject *)twin;
    Py_DECREF(twin);
    return PyErr_NoMemory();
}

static PyObject *get_seen(PyObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromLongLong(((watch_object *)self)->watch.seen);
}

static PyObject *get_held(PyObject *self, void *Py_UNUSED(closure)) {
    const watch_t *watch = &((watch_object *)self)->watch;
    return PyLong_FromLong(watch->count - watch->decided);
}

static PyMethodDef watcher_methods[] = {
    {"begin", watcher_begin, METH_NOARGS, "begin(): watch one text"},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject watcher_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "weir_guard.Watcher",
    .tp_basicsize = sizeof(watcher_object),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = watcher_new,
    .tp_dealloc = watcher_drop,
    .tp_methods = watcher_methods,
    .tp_doc = "Rules, for the texts that are watched under them.",
};

static PyMethodDef watch_methods[] = {
    {"feed", feed, METH_O, "feed(text): what is released; None: it is not that simple, and was not taken in"},
    {"flush", flush, METH_NOARGS, "flush(): the rest; None: it is not that simple"},
    {"state", state, METH_NOARGS, "state(): text, plain view, how much of it was released, characters taken in"},
    {"load", load, METH_VARARGS, "load(text, decided, seen): go on from there; False: it is not that simple"},
    {"copy", copy, METH_NOARGS, "copy(): another one that goes on from here"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef watch_attributes[] = {
    {"seen", get_seen, NULL, "characters taken in", NULL},
    {"held", get_held, NULL, "characters taken in and not released", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject watch_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "weir_guard.Watch",
    .tp_basicsize = sizeof(watch_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = watch_drop,
    .tp_methods = watch_methods,
    .tp_getset = watch_attributes,
    .tp_doc = "A text that streams, as long as nothing is found in it.",
};

int weir_add_watch(PyObject *module) {
    return PyModule_AddFunctions(module, functions) == 0 && PyModule_AddType(module, &watcher_type) == 0 &&
           PyModule_AddType(module, &watch_type) == 0;
}
