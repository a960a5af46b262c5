/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parts of module.c share.  The headers in this folder are module.c,
 * cut by noun: it includes Python.h and then each of them, once.
 */
typedef struct ModuleState {
    PyTypeObject *library_type;
    PyTypeObject *page_map_type;
    PyTypeObject *dedup_type;
    PyTypeObject *xxh64_type;
    PyTypeObject *handler_type;
    PyTypeObject *page_request_type;
    PyTypeObject *object_request_type;
    PyTypeObject *queue_type;
    /* Of migcomp.errors. */
    PyObject *codec_unavailable;
    PyObject *page_error;
    PyObject *workqueue_error;
} ModuleState;

static struct PyModuleDef core_module;

/* Of an instance of one of the module's types or of a subclass. */
static ModuleState *state_of(PyObject *object)
{
    PyObject *module = PyType_GetModuleByDef(Py_TYPE(object), &core_module);

    return module ? PyModule_GetState(module) : NULL;
}

/* The exception being raised, which is no longer raised then. */
static PyObject *take_exception(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback) {
        PyException_SetTraceback(value, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

/* Raises an exception object with the traceback it has. */
static void raise_exception(PyObject *exception)
{
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
}

#ifndef Py_BEGIN_CRITICAL_SECTION /* before 3.13 the GIL is enough */
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }
#endif

/* Heap types own a reference to their type. */
static void free_object(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    type->tp_free(object);
    Py_DECREF(type);
}

/*
 * The Python thread state of a workqueue thread, for handlers that need the
 * interpreter.  Made in the thread's init, current only between
 * python_enter and python_leave.
 */
static _Thread_local PyThreadState *worker_python;

static int worker_python_new(PyInterpreterState *interpreter)
{
    worker_python = PyThreadState_New(interpreter);
    return worker_python ? 0 : -ENOMEM;
}

static void python_enter(void)
{
    PyEval_RestoreThread(worker_python);
}

static void python_leave(void)
{
    PyEval_SaveThread();
}

static void worker_python_free(void)
{
    python_enter();
    PyThreadState_Clear(worker_python);
    PyThreadState_DeleteCurrent();
    worker_python = NULL;
}
