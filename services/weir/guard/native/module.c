/* The module weir_guard: searches for literals, views of texts, watched streams. Only `library.py` calls it. */
#include "objects.h"

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "weir_guard", .m_doc = "What the guard does in C.", .m_size = -1};

PyMODINIT_FUNC PyInit_weir_guard(void) {
    PyObject *module = PyModule_Create(&definition);
    if (!module) return NULL;
    if (PyModule_AddFunctions(module, weir_search_methods) == 0 && PyModule_AddFunctions(module, weir_text_methods) == 0 &&
        PyModule_AddFunctions(module, weir_finding_methods) == 0 &&
        PyModule_AddFunctions(module, weir_position_methods) == 0 && weir_add_watch(module))
        return module;
    Py_DECREF(module);
    return NULL;
}
