/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Workqueue: creating and destroying it, and its type. */

/* Ends the queue, whatever its state, after lock_all; how many requests nobody
 * has seen. */
static unsigned end_queue(QueueObject *self, ThreadedWorkqueueEnd end)
{
    ThreadedWorkqueue *queue = self->queue;
    unsigned unseen = 0;

    self->queue = NULL;
    if (queue) {
        WITHOUT_GIL(self, unseen = threaded_workqueue_destroy(queue, end));
    }
    forget_requests(self);
    if (self->handler) {
        HandlerObject *handler = self->handler;

        if (handler->kind == HANDLER_COMPRESS) {
            page_compress_job_end(&handler->job);
        } else if (handler->kind == HANDLER_DECOMPRESS) {
            page_decompress_job_end(&handler->job);
        } else if (handler->kind == HANDLER_TRANSFER) {
            page_transfer_job_end(&handler->job);
        }
        signal_unlock(&handler->used);
        Py_CLEAR(self->handler);
    }
    return unseen;
}

/* For a queue that is given up; no exception is pending afterwards. */
static unsigned cancel_queue(QueueObject *self)
{
    unsigned unseen = end_queue(self, WORKQUEUE_CANCEL);

    if (self->exception && !self->raised) {
        self->raised = true;
        raise_exception(self->exception);
        PyErr_WriteUnraisable((PyObject *)Py_TYPE(self));
    }
    return unseen;
}

/* An error of which nobody would hear otherwise; -1 when there is one. */
static int raise_unseen_error(QueueObject *self, HandlerObject *handler)
{
    if (self->raised || !(self->exception || self->failed)) {
        return 0;
    }
    self->raised = true;
    if (self->exception) {
        raise_exception(self->exception);
    } else {
        raise_page_error(self, &self->failure, handler);
    }
    return -1;
}

static PyObject *drain_queue(QueueObject *self)
{
    HandlerObject *handler;
    unsigned unseen;
    int failed;

    /* Joining threads hears no signal, so all that takes time comes before. */
    if (wait_in_slices(self, wait_all, 0, WAIT_FOREVER, NULL) == -EINTR) {
        PyObject *interrupt = take_exception();

        cancel_queue(self);
        restore_exception(interrupt);
        return NULL;
    }
    handler = (HandlerObject *)Py_NewRef((PyObject *)self->handler);
    unseen = end_queue(self, WORKQUEUE_DRAIN);
    failed = raise_unseen_error(self, handler);
    Py_DECREF(handler);
    return failed ? NULL : PyLong_FromUnsignedLong(unseen);
}

static PyObject *queue_destroy(PyObject *object, PyObject *args,
                               PyObject *keywords)
{
    static char *names[] = {"drain", NULL};
    QueueObject *self = (QueueObject *)object;
    int drain = 1;
    PyObject *result = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|p:destroy", names,
                                     &drain)) {
        return NULL;
    }
    if (!self->queue) {
        return PyLong_FromLong(0);
    }
    /* In a forked process nobody is left to unlock it. */
    bool forked = self->creator != getpid();

    if (!signal_try_lock(&self->entered) && !forked) {
        PyErr_SetString(self->state->workqueue_error,
                        "another thread is using the workqueue, or one of "
                        "its operations tries to destroy it");
        return NULL;
    }
    if (!lock_all(self)) {
        PyErr_SetString(PyExc_BufferError,
                        "the data of a request is still in use");
    } else if (drain && !forked) {
        result = drain_queue(self);
    } else {
        result = PyLong_FromUnsignedLong(cancel_queue(self));
    }
    leave(self);
    return result;
}

static void set_ops(QueueObject *self)
{
    HandlerObject *handler = self->handler;

    if (handler->kind == HANDLER_COMPRESS) {
        page_compress_ops(&handler->job, &self->page);
    } else if (handler->kind == HANDLER_DECOMPRESS) {
        page_decompress_ops(&handler->job, &self->page);
    } else if (handler->kind == HANDLER_TRANSFER) {
        page_transfer_ops(&handler->job, &self->page);
    }
    self->ops = (ThreadedWorkqueueOps){
        .thread_request_init = queue_request_init,
        .thread_request_uninit = queue_request_uninit,
        .thread_request_handler = queue_request_handler,
        .thread_request_done =
            handler->calls[CALL_REQUEST_DONE] ? queue_request_done : NULL,
        .thread_init = queue_thread_init,
        .thread_uninit = queue_thread_uninit,
        .request_size = sizeof(BoundRequest),
        .thread_state_size =
            sizeof(QueueThread) + self->page.thread_state_size,
        .opaque = self,
    };
}

static int read_cpus(PyObject *sequence, unsigned cpus[MAX_THREADS_NR],
                     ThreadedWorkqueueOptions *options)
{
    Py_ssize_t count = PyTuple_GET_SIZE(sequence);

    if (count > MAX_THREADS_NR) {
        count = MAX_THREADS_NR;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        uint32_t cpu;

        if (!to_uint32(PyTuple_GET_ITEM(sequence, i), &cpu)) {
            return -1;
        }
        cpus[i] = cpu;
    }
    *options = (ThreadedWorkqueueOptions){cpus, (unsigned)count};
    return 0;
}

static int create_queue(QueueObject *self, const char *name, unsigned threads,
                        unsigned requests,
                        const ThreadedWorkqueueOptions *options)
{
    int failed = 0;

    set_ops(self);
    if (is_page_handler(self->handler)) {
        /* Left by a queue that used the library before. */
        forget_exceptions(self->handler);
    }
    WITHOUT_GIL(self, {
        self->queue = threaded_workqueue_create(name, threads, requests,
                                                &self->ops, options);
        failed = errno;
    });
    if (self->queue) {
        return 0;
    }
    PyObject *cause = handler_exception(self->handler);

    self->raised = true;
    if (self->exception || cause) {
        raise_exception(self->exception ? self->exception : cause);
    } else if (failed == EINVAL) {
        PyErr_Format(PyExc_ValueError,
                     "threads must be 1 to %d, requests 1 to %d, and cpus "
                     "must be CPUs of this machine",
                     MAX_THREADS_NR, MAX_THREAD_REQUEST_NR);
    } else {
        PyErr_Format(self->state->threads_unavailable,
                     "the system does not give %u threads with %u requests "
                     "each: %s; take fewer",
                     threads, requests, strerror(failed));
    }
    Py_XDECREF(cause);
    return -1;
}

static PyObject *queue_new(PyTypeObject *type, PyObject *args,
                           PyObject *keywords)
{
    static char *names[] = {"name", "threads", "requests", "handler", "cpus",
                            NULL};
    PyObject *handler, *cpus = NULL;
    const char *name;
    uint32_t threads, requests;
    unsigned cpu_numbers[MAX_THREADS_NR];
    ThreadedWorkqueueOptions options = {0};
    QueueObject *self = (QueueObject *)type->tp_alloc(type, 0);

    if (!self) {
        return NULL;
    }
    self->state = state_of((PyObject *)self);
    if (!self->state ||
        !PyArg_ParseTupleAndKeywords(args, keywords, "sO&O&O!|O!:Workqueue",
                                     names, &name, to_uint32, &threads,
                                     to_uint32, &requests,
                                     self->state->handler_type, &handler,
                                     &PyTuple_Type, &cpus) ||
        (cpus && read_cpus(cpus, cpu_numbers, &options))) {
        goto failed;
    }
    if (refuse_interpreter(self->state, (HandlerObject *)handler)) {
        goto failed;
    }
    if (!signal_try_lock(&((HandlerObject *)handler)->used)) {
        PyErr_SetString(self->state->workqueue_error,
                        "the handler is in use by another workqueue");
        goto failed;
    }
    self->handler = (HandlerObject *)Py_NewRef(handler);
    self->interpreter = PyInterpreterState_Get();
    self->creator = getpid();
    self->threads = threads;
    self->requests = PyList_New(0);
    if (self->requests) {
        /* The collector must not empty it: requests are borrowed from it as
         * long as the queue lives.  queue_traverse visits what is in it. */
        PyObject_GC_UnTrack(self->requests);
    }
    if (!self->requests ||
        create_queue(self, name, threads, requests, &options)) {
        goto failed;
    }
    return (PyObject *)self;

failed:
    Py_DECREF(self);
    return NULL;
}

static int queue_traverse(PyObject *object, visitproc visit, void *arg)
{
    QueueObject *self = (QueueObject *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->handler);
    for (Py_ssize_t i = 0;
         self->requests && i < PyList_GET_SIZE(self->requests); i++) {
        Py_VISIT(PyList_GET_ITEM(self->requests, i));
    }
    Py_VISIT(self->exception);
    return 0;
}

static int drop_queue(void *queue)
{
    Py_DECREF((PyObject *)queue);
    return 0;
}

/*
 * Ends the queue before the collector takes apart what its threads still
 * call.
 */
static void queue_finalize(PyObject *object)
{
    QueueObject *self = (QueueObject *)object;

    if (worker_queue == self) {
        /* A thread cannot join itself: the main thread has to.  Where that
         * is not possible the queue lives on. */
        Py_INCREF(object);
        if (self->interpreter == PyInterpreterState_Main()) {
            Py_AddPendingCall(drop_queue, object);
        }
        return;
    }
    /* Views that are as lost as the queue are released by the collector, and
     * then the collector finds the queue once more. */
    if (lock_all(self)) {
        PyObject *pending = take_exception();

        cancel_queue(self);
        restore_exception(pending);
    }
}

static int queue_clear(PyObject *object)
{
    QueueObject *self = (QueueObject *)object;

    if (lock_all(self)) {
        end_queue(self, WORKQUEUE_CANCEL);
    }
    Py_CLEAR(self->exception);
    return 0;
}

static void queue_dealloc(PyObject *object)
{
    if (PyObject_CallFinalizerFromDealloc(object)) {
        return;
    }
    PyObject_GC_UnTrack(object);
    queue_clear(object);
    free_object(object);
}

static PyMethodDef queue_methods[] = {
    {"get_request", (PyCFunction)(void (*)(void))queue_get_request,
     METH_VARARGS | METH_KEYWORDS, NULL},
    {"submit_request", queue_submit_request, METH_O, NULL},
    {"collect_request", (PyCFunction)(void (*)(void))queue_collect_request,
     METH_VARARGS | METH_KEYWORDS, NULL},
    {"poll_request", queue_poll_request, METH_NOARGS, NULL},
    {"release_request", queue_release_request, METH_O, NULL},
    {"wait_for_requests", (PyCFunction)(void (*)(void))queue_wait_for_requests,
     METH_VARARGS | METH_KEYWORDS, NULL},
    {"destroy", (PyCFunction)(void (*)(void))queue_destroy,
     METH_VARARGS | METH_KEYWORDS, NULL},
    {"stats", queue_stats, METH_NOARGS, NULL},
    {0},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_new, queue_new},
    {Py_tp_dealloc, queue_dealloc},
    {Py_tp_finalize, queue_finalize},
    {Py_tp_traverse, queue_traverse},
    {Py_tp_clear, queue_clear},
    {Py_tp_methods, queue_methods},
    {0, NULL},
};

static PyType_Spec queue_spec = {
    .name = "migcomp._core.Workqueue",
    .basicsize = sizeof(QueueObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = queue_slots,
};
