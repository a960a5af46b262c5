/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The extension module migcomp._core: the only file that includes Python.h.
 * Its parts lie in python/, one header for each noun.  What the functions do
 * is documented in _core.pyi.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "bench.h"
#include "bytes.h"
#include "clock.h"
#include "codec.h"
#include "dedup.h"
#include "event.h"
#include "guard.h"
#include "handlers.h"
#include "page_entropy.h"
#include "page_fetch.h"
#include "page_write.h"
#include "qemu_ram.h"
#include "workqueue.h"
#include "xbzrle_cache.h"
#include "xxh64.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "python/common.h"
#include "python/python_codec.h"
#include "python/library.h"
#include "python/page_map.h"
#include "python/qemu_ram.h"
#include "python/xbzrle.h"
#include "python/xbzrle_load.h"
#include "python/xxh64.h"
#include "python/handler.h"
#include "python/request.h"
#include "python/page_output.h"
#include "python/page_load.h"
#include "python/page_entropy.h"
#include "python/page_request.h"
#include "python/dedup.h"
#include "python/queue.h"
#include "python/queue_wait.h"
#include "python/queue_methods.h"
#include "python/queue_requests.h"
#include "python/queue_type.h"
#include "python/bench.h"
#include "python/bench_tally.h"

static PyMethodDef core_methods[] = {
    {"bind", core_bind, METH_VARARGS, NULL},
    {"python_library", core_python_library, METH_VARARGS, NULL},
    {"compressor", (PyCFunction)(void (*)(void))core_compressor,
     METH_VARARGS | METH_KEYWORDS, NULL},
    {"transfer", (PyCFunction)(void (*)(void))core_transfer,
     METH_VARARGS | METH_KEYWORDS, NULL},
    {"decompressor", (PyCFunction)(void (*)(void))core_decompressor,
     METH_VARARGS | METH_KEYWORDS, NULL},
    {"python_handler", (PyCFunction)(void (*)(void))core_python_handler,
     METH_VARARGS | METH_KEYWORDS, NULL},
    {"xxh64", core_xxh64, METH_O, NULL},
    {"xbzrle_encode", core_xbzrle_encode, METH_VARARGS, NULL},
    {"xbzrle_load", core_xbzrle_load, METH_VARARGS, NULL},
    {0},
};

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type)
{
    *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *type ? PyModule_AddType(module, *type) : -1;
}

static int import_errors(ModuleState *state)
{
    PyObject *errors = PyImport_ImportModule("migcomp.errors");

    if (!errors) {
        return -1;
    }
    state->codec_unavailable =
        PyObject_GetAttrString(errors, "CodecUnavailable");
    state->page_error = PyObject_GetAttrString(errors, "PageError");
    state->workqueue_error = PyObject_GetAttrString(errors, "WorkqueueError");
    state->threads_unavailable =
        PyObject_GetAttrString(errors, "ThreadsUnavailable");
    Py_DECREF(errors);
    return state->codec_unavailable && state->page_error &&
                   state->workqueue_error && state->threads_unavailable
               ? 0
               : -1;
}

static int core_exec(PyObject *module)
{
    ModuleState *state = PyModule_GetState(module);

    return import_errors(state) ||
                   add_type(module, &library_spec, &state->library_type) ||
                   add_type(module, &page_map_spec, &state->page_map_type) ||
                   add_type(module, &xxh64_spec, &state->xxh64_type) ||
                   add_type(module, &qemu_ram_spec, &state->qemu_ram_type) ||
                   add_type(module, &xbzrle_cache_spec,
                            &state->xbzrle_cache_type) ||
                   add_type(module, &handler_spec, &state->handler_type) ||
                   add_type(module, &page_request_spec,
                            &state->page_request_type) ||
                   add_type(module, &object_request_spec,
                            &state->object_request_type) ||
                   add_type(module, &dedup_spec, &state->dedup_type) ||
                   add_type(module, &queue_spec, &state->queue_type) ||
                   add_type(module, &bench_job_spec, &state->bench_job_type) ||
                   add_type(module, &bench_worker_spec,
                            &state->bench_worker_type) ||
                   add_type(module, &bench_tally_spec,
                            &state->bench_tally_type) ||
                   PyModule_AddIntMacro(module, MAX_THREADS_NR) ||
                   PyModule_AddIntMacro(module, MAX_THREAD_REQUEST_NR) ||
                   PyModule_AddIntMacro(module, DEFAULT_THREAD_REQUEST_NR) ||
                   PyModule_AddIntMacro(module, REQUEST_BYTES_MAX) ||
                   PyModule_AddIntMacro(module, CHANNELS_MAX) ||
                   PyModule_AddIntMacro(module, PAGE_CODECS_MAX) ||
                   PyModule_AddIntMacro(module, STORED_FILL) ||
                   PyModule_AddIntMacro(module, STORED_RAW) ||
                   PyModule_AddIntMacro(module, STORED_BLOCK) ||
                   PyModule_AddIntMacro(module, STORED_PART) ||
                   PyModule_AddIntMacro(module, STORED_RAW_PART) ||
                   PyModule_AddIntMacro(module, PAGE_BLOCK_MAX) ||
                   PyModule_AddIntMacro(module, PAGE_UNCHANGED) ||
                   PyModule_AddIntMacro(module, XBZRLE_ZERO) ||
                   PyModule_AddIntMacro(module, XBZRLE_UNCHANGED) ||
                   PyModule_AddIntMacro(module, XBZRLE_DELTA) ||
                   PyModule_AddIntMacro(module, XBZRLE_OVERFLOW) ||
                   PyModule_AddIntMacro(module, XBZRLE_MISS)
               ? -1
               : 0;
}

static int core_traverse(PyObject *module, visitproc visit, void *arg)
{
    ModuleState *state = PyModule_GetState(module);

    Py_VISIT(state->library_type);
    Py_VISIT(state->page_map_type);
    Py_VISIT(state->xxh64_type);
    Py_VISIT(state->qemu_ram_type);
    Py_VISIT(state->xbzrle_cache_type);
    Py_VISIT(state->handler_type);
    Py_VISIT(state->page_request_type);
    Py_VISIT(state->object_request_type);
    Py_VISIT(state->dedup_type);
    Py_VISIT(state->queue_type);
    Py_VISIT(state->bench_job_type);
    Py_VISIT(state->bench_worker_type);
    Py_VISIT(state->bench_tally_type);
    Py_VISIT(state->codec_unavailable);
    Py_VISIT(state->page_error);
    Py_VISIT(state->workqueue_error);
    Py_VISIT(state->threads_unavailable);
    return 0;
}

static int core_clear(PyObject *module)
{
    ModuleState *state = PyModule_GetState(module);

    Py_CLEAR(state->library_type);
    Py_CLEAR(state->page_map_type);
    Py_CLEAR(state->xxh64_type);
    Py_CLEAR(state->qemu_ram_type);
    Py_CLEAR(state->xbzrle_cache_type);
    Py_CLEAR(state->handler_type);
    Py_CLEAR(state->page_request_type);
    Py_CLEAR(state->object_request_type);
    Py_CLEAR(state->dedup_type);
    Py_CLEAR(state->queue_type);
    Py_CLEAR(state->bench_job_type);
    Py_CLEAR(state->bench_worker_type);
    Py_CLEAR(state->bench_tally_type);
    Py_CLEAR(state->codec_unavailable);
    Py_CLEAR(state->page_error);
    Py_CLEAR(state->workqueue_error);
    Py_CLEAR(state->threads_unavailable);
    return 0;
}

static void core_free(void *module)
{
    core_clear(module);
}

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, core_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "migcomp._core",
    .m_doc = "The C core of migcomp: workqueue, codecs and handlers.",
    .m_size = sizeof(ModuleState),
    .m_methods = core_methods,
    .m_slots = core_slots,
    .m_traverse = core_traverse,
    .m_clear = core_clear,
    .m_free = core_free,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&core_module);
}
