/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Handler: what a queue's threads do with requests. */

typedef enum HandlerKind {
    HANDLER_COMPRESS,
    HANDLER_DECOMPRESS,
    HANDLER_TRANSFER,
    HANDLER_PYTHON,
} HandlerKind;

/* The operations of HANDLER_PYTHON. */
enum {
    CALL_HANDLER,
    CALL_REQUEST_INIT,
    CALL_REQUEST_UNINIT,
    CALL_REQUEST_DONE,
    CALL_THREAD_INIT,
    CALL_THREAD_UNINIT,
    CALLS
};

typedef struct HandlerObject {
    PyObject_HEAD
    HandlerKind kind;
    SignalWord used; /* locked by the queue that has it */
    LibraryObject *library;
    PageJob job;
    PageMapObject *source; /* of the job, or NULL */
    PyObject *calls[CALLS]; /* callables or NULL */
} HandlerObject;

static bool is_page_handler(const HandlerObject *handler)
{
    return handler->kind != HANDLER_PYTHON;
}

/* The codec that its threads use, and then those that decode its source. */
static LibraryObject *handler_library(const HandlerObject *handler, unsigned i)
{
    return !i ? handler->library
              : handler->source && i <= PAGE_CODECS_MAX
              ? handler->source->libraries[i - 1]
              : NULL;
}

/* Whether its threads call into the interpreter. */
static bool needs_python(const HandlerObject *handler)
{
    if (handler->kind == HANDLER_PYTHON) {
        return true;
    }
    for (unsigned i = 0; handler_library(handler, i); i++) {
        if (is_python_codec(handler_library(handler, i))) {
            return true;
        }
    }
    return false;
}

/* What one of its codecs in Python raised first, a new reference, or NULL. */
static PyObject *handler_exception(const HandlerObject *handler)
{
    for (unsigned i = 0; handler_library(handler, i); i++) {
        PyObject *raised =
            codec_exception(&handler_library(handler, i)->python);

        if (raised) {
            return raised;
        }
    }
    return NULL;
}

static void forget_exceptions(const HandlerObject *handler)
{
    for (unsigned i = 0; handler_library(handler, i); i++) {
        forget_codec_exception(&handler_library(handler, i)->python);
    }
}

/*
 * Before Python 3.12, an interpreter that threads have entered cannot be
 * destroyed, and the process waits for ever for them.
 */
static int refuse_interpreter(const ModuleState *state,
                              const HandlerObject *handler)
{
    if (PY_VERSION_HEX >= 0x030C0000 || !needs_python(handler) ||
        PyInterpreterState_Get() == PyInterpreterState_Main()) {
        return 0;
    }
    PyErr_SetString(state->workqueue_error,
                    "a handler in Python needs the main interpreter before "
                    "Python 3.12");
    return -1;
}

static int handler_traverse(PyObject *object, visitproc visit, void *arg)
{
    HandlerObject *self = (HandlerObject *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->library);
    Py_VISIT(self->source);
    for (int i = 0; i < CALLS; i++) {
        Py_VISIT(self->calls[i]);
    }
    return 0;
}

/* The callables are needed as long as the queue lives, which holds the
 * handler; the cycle is broken at the queue. */
static void handler_dealloc(PyObject *object)
{
    HandlerObject *self = (HandlerObject *)object;

    PyObject_GC_UnTrack(object);
    Py_CLEAR(self->library);
    Py_CLEAR(self->source);
    for (int i = 0; i < CALLS; i++) {
        Py_CLEAR(self->calls[i]);
    }
    free_object(object);
}

static PyType_Slot handler_slots[] = {
    {Py_tp_dealloc, handler_dealloc},
    {Py_tp_traverse, handler_traverse},
    {0, NULL},
};

static PyType_Spec handler_spec = {
    .name = "migcomp._core.Handler",
    .basicsize = sizeof(HandlerObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = handler_slots,
};

static HandlerObject *handler_object(ModuleState *state, HandlerKind kind)
{
    HandlerObject *self = (HandlerObject *)state->handler_type->tp_alloc(
        state->handler_type, 0);

    if (self) {
        self->kind = kind;
    }
    return self;
}

/* What a block holds at most. */
static size_t delta_bytes(const PageJob *job)
{
    return (size_t)job->page_size *
           (job->grouping == GROUPING_PAGE ? 1 : job->pages_max);
}

static int check_job(const PageJob *job)
{
    size_t bytes = (size_t)job->page_size * job->pages_max;

    if (check_page_size(job->page_size)) {
        return -1;
    }
    if (!bytes || bytes > REQUEST_BYTES_MAX) {
        PyErr_Format(PyExc_ValueError,
                     "a request must hold 1 page to %u KiB of pages",
                     REQUEST_BYTES_MAX >> 10);
    } else if (job->grouping >= GROUPINGS) {
        PyErr_SetString(PyExc_ValueError, "no such grouping");
    } else if (job->channels > CHANNELS_MAX ||
               (job->grouping == GROUPING_STREAM && !job->channels)) {
        PyErr_Format(PyExc_ValueError, "channels must be 1 to %u",
                     CHANNELS_MAX);
    } else if (job->deltas && job->grouping == GROUPING_STREAM) {
        PyErr_SetString(PyExc_ValueError,
                        "deltas need grouping page or packet");
    } else if (job->deltas && delta_bytes(job) > job->library->ops->delta_max) {
        PyErr_Format(PyExc_ValueError,
                     "deltas of %s are of %zu KiB at most: take smaller "
                     "packets, or grouping page",
                     job->library->ops->name,
                     job->library->ops->delta_max >> 10);
    } else if (job->grouping == GROUPING_STREAM &&
               !job->library->ops->streaming) {
        PyErr_Format(PyExc_ValueError,
                     "%s (%s) cannot keep history from packet to packet",
                     job->library->ops->name, job->library->ops->provider);
    } else {
        return 0;
    }
    return -1;
}

/* -1 with an exception. */
static int bind_deltas(const ModuleState *state, LibraryObject *library)
{
    CodecError error = {""};
    int failed;

    Py_BEGIN_CRITICAL_SECTION(library);
    failed = codec_library_bind_deltas(library->library, &error);
    Py_END_CRITICAL_SECTION();
    if (failed) {
        PyObject *reason = text_of(error.text);

        PyErr_SetObject(state->codec_unavailable, reason);
        Py_XDECREF(reason);
    }
    return failed;
}

static PyObject *page_handler(PyObject *module, PyObject *args,
                              PyObject *keywords, HandlerKind kind)
{
    static char *names[] = {"library",   "level",     "grouping",
                            "page_size", "pages_max", "channels",
                            "fill_zeros", "output_fd", "source",
                            "dedup",     "salvage",   "deltas",
                            NULL};
    ModuleState *state = PyModule_GetState(module);
    PyObject *library, *source = NULL;
    int level = 0, grouping = 0, fill_zeros = 0, output_fd = -1;
    int dedup = 0, salvage = 0, deltas = 0;
    uint32_t page_size = 0, pages_max = 0, channels = 0;
    const CodecLibrary *codec;
    HandlerObject *self;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!|$iiO&O&O&piOppp", names,
                                     state->library_type, &library, &level,
                                     &grouping, to_uint32, &page_size,
                                     to_uint32, &pages_max, to_uint32,
                                     &channels, &fill_zeros, &output_fd,
                                     &source, &dedup, &salvage, &deltas)) {
        return NULL;
    }
    if (source == Py_None) {
        source = NULL;
    }
    if (kind == HANDLER_TRANSFER &&
        (fill_zeros || output_fd >= 0 || source || dedup || salvage)) {
        return PyErr_Format(PyExc_TypeError,
                            "that is not for a handler that transfers");
    }
    if (source && !PyObject_TypeCheck(source, state->page_map_type)) {
        return PyErr_Format(PyExc_TypeError, "source must be a PageMap");
    }
    codec = ((LibraryObject *)library)->library;
    if (kind != HANDLER_DECOMPRESS &&
        (level < codec->level_min || level > codec->level_max)) {
        return PyErr_Format(PyExc_ValueError, "level must be %d to %d",
                            codec->level_min, codec->level_max);
    }
    if (deltas && bind_deltas(state, (LibraryObject *)library)) {
        return NULL;
    }
    self = handler_object(state, kind);
    if (!self) {
        return NULL;
    }
    self->library = (LibraryObject *)Py_NewRef(library);
    self->source = (PageMapObject *)Py_XNewRef(source);
    self->job = (PageJob){
        .library = self->library->library,
        .level = level,
        .grouping = (Grouping)grouping,
        .page_size = page_size,
        .pages_max = pages_max,
        .channels = channels,
        .copy_input = is_python_codec(self->library),
        .fill_zeros = fill_zeros,
        .dedup = dedup,
        .salvage = salvage,
        .deltas = deltas,
        .output_fd = output_fd,
        .source = source ? &self->source->map : NULL,
    };
    if (check_job(&self->job)) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static PyObject *core_compressor(PyObject *module, PyObject *args,
                                 PyObject *keywords)
{
    return page_handler(module, args, keywords, HANDLER_COMPRESS);
}

static PyObject *core_decompressor(PyObject *module, PyObject *args,
                                   PyObject *keywords)
{
    return page_handler(module, args, keywords, HANDLER_DECOMPRESS);
}

static PyObject *core_transfer(PyObject *module, PyObject *args,
                               PyObject *keywords)
{
    return page_handler(module, args, keywords, HANDLER_TRANSFER);
}

static PyObject *core_python_handler(PyObject *module, PyObject *args,
                                     PyObject *keywords)
{
    static char *names[CALLS + 1] = {
        "handler",      "request_init", "request_uninit",
        "request_done", "thread_init",  "thread_uninit"};
    PyObject *calls[CALLS] = {NULL};
    HandlerObject *self;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|OOOOO", names,
                                     &calls[0], &calls[1], &calls[2],
                                     &calls[3], &calls[4], &calls[5])) {
        return NULL;
    }
    for (int i = 0; i < CALLS; i++) {
        if (calls[i] == Py_None) {
            calls[i] = NULL;
        }
        if ((i == CALL_HANDLER || calls[i]) &&
            (!calls[i] || !PyCallable_Check(calls[i]))) {
            return PyErr_Format(PyExc_TypeError, "%s must be callable",
                                names[i]);
        }
    }
    self = handler_object(PyModule_GetState(module), HANDLER_PYTHON);
    if (!self) {
        return NULL;
    }
    for (int i = 0; i < CALLS; i++) {
        self->calls[i] = Py_XNewRef(calls[i]);
    }
    return (PyObject *)self;
}
