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
    PyTypeObject *qemu_ram_type;
    PyTypeObject *xbzrle_cache_type;
    PyTypeObject *handler_type;
    PyTypeObject *page_request_type;
    PyTypeObject *object_request_type;
    PyTypeObject *queue_type;
    PyTypeObject *bench_job_type;
    PyTypeObject *bench_worker_type;
    PyTypeObject *bench_tally_type;
    /* Of migcomp.errors. */
    PyObject *codec_unavailable;
    PyObject *page_error;
    PyObject *workqueue_error;
    PyObject *threads_unavailable;
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

/* Raises what take_exception took, as if it had never been taken. */
static void restore_exception(PyObject *exception)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(exception);
#else
    PyErr_Restore(exception ? Py_NewRef((PyObject *)Py_TYPE(exception)) : NULL,
                  exception,
                  exception ? PyException_GetTraceback(exception) : NULL);
#endif
}

/* Raises an exception object with the traceback it has. */
static void raise_exception(PyObject *exception)
{
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
}

/* A C text that may hold anything, also half a character at its end. */
static PyObject *text_of(const char *text)
{
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
}

/* PageError: the image is at fault. */
static void raise_page_failure(const ModuleState *state, uint64_t page,
                               const char *reason)
{
    PyObject *raised = PyObject_CallFunction(
        state->page_error, "KNO", (unsigned long long)page, text_of(reason),
        Py_True);

    if (raised) {
        raise_exception(raised);
        Py_DECREF(raised);
    }
}

#ifndef Py_BEGIN_CRITICAL_SECTION /* before 3.13 the GIL is enough */
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }
#endif

/* For "O&", because "I" and "K" silently drop the upper bits. */
static int to_uint64(PyObject *object, void *result)
{
    PyObject *number = PyNumber_Index(object);
    unsigned long long value;

    if (!number) {
        return 0;
    }
    value = PyLong_AsUnsignedLongLong(number);
    if (PyErr_Occurred()) {
        PyErr_Format(PyExc_ValueError, "%S is out of range", number);
    }
    Py_DECREF(number);
    *(uint64_t *)result = value;
    return !PyErr_Occurred();
}

static int to_uint32(PyObject *object, void *result)
{
    uint64_t value;

    if (!to_uint64(object, &value)) {
        return 0;
    }
    if (value > UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "%S is out of range", object);
        return 0;
    }
    *(uint32_t *)result = (uint32_t)value;
    return 1;
}

/* Page sizes that handlers take; -1 with an exception for others. */
static int check_page_size(uint32_t page_size)
{
    if (page_size < PAGE_SIZE_MIN || page_size > PAGE_SIZE_MAX ||
        page_size & (page_size - 1)) {
        PyErr_SetString(PyExc_ValueError,
                        "page_size must be a power of two from 4096 to 65536");
        return -1;
    }
    return 0;
}

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
