/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Workqueue: the threaded workqueue with a Handler on its threads. */

typedef struct QueueObject {
    PyObject_HEAD
    ThreadedWorkqueue *queue; /* NULL before init and after destroy */
    SignalWord entered;       /* locked by the thread inside a method */
    pid_t creator;
    uint32_t threads;         /* constant */
    HandlerObject *handler;
    ThreadedWorkqueueOps ops;  /* what the queue calls */
    ThreadedWorkqueueOps page; /* what those of page handlers call */
    PyObject *requests;        /* list of all request objects; see traverse */
    PyInterpreterState *interpreter;
    PyThreadState *submitter; /* while a method runs without the GIL */
    PyObject *exception;      /* the first raised by a Python operation */
    bool raised;              /* the submitter has been told of the error */
    SignalWord failed;        /* locked by the page handler that failed first */
    PageFailure failure;      /* what it left; valid once threads are joined */
    ModuleState *state;       /* of the module; lives as long as the type */
} QueueObject;

static unsigned channel_thread(const RequestObject *self, uint32_t channel)
{
    return channel % self->queue->threads;
}

#define WITHOUT_GIL(self, statement) \
    do { \
        (self)->submitter = PyEval_SaveThread(); \
        statement; \
        PyEval_RestoreThread((self)->submitter); \
    } while (0)

/* On threads that enter the interpreter: the queue that they work for. */
static _Thread_local const QueueObject *worker_queue;

/* Operations on the submitter's thread run inside WITHOUT_GIL. */
static void submitter_enter(QueueObject *self)
{
    PyEval_RestoreThread(self->submitter);
}

static void submitter_leave(QueueObject *self)
{
    self->submitter = PyEval_SaveThread();
}

/* What a Python operation raised first, or NULL; never another one later. */
static PyObject *first_exception(QueueObject *self)
{
    PyObject *exception;

    Py_BEGIN_CRITICAL_SECTION(self);
    exception = self->exception;
    Py_END_CRITICAL_SECTION();
    return exception;
}

/* Takes the raised exception; the first one is kept. */
static int keep_exception(QueueObject *self)
{
    PyObject *exception = take_exception();

    Py_BEGIN_CRITICAL_SECTION(self);
    if (!self->exception) {
        self->exception = Py_NewRef(exception);
    }
    Py_END_CRITICAL_SECTION();
    Py_DECREF(exception);
    return -EIO;
}

/* Calls a Python operation with one argument; its result is dropped. */
static int call(QueueObject *self, int which, PyObject *argument)
{
    PyObject *callable = self->handler->calls[which];
    PyObject *result =
        callable ? PyObject_CallOneArg(callable, argument) : Py_NewRef(Py_None);

    if (!result) {
        return keep_exception(self);
    }
    Py_DECREF(result);
    return 0;
}

/* --- Operations: requests ------------------------------------------------------ */

/* Before its memory goes: Python code may hold the object for ever. */
static void unbind(BoundRequest *bound)
{
    if (bound->object) {
        Py_BEGIN_CRITICAL_SECTION(bound->object);
        bound->object->bound = NULL;
        Py_END_CRITICAL_SECTION();
        bound->object = NULL;
    }
}

static int request_object_new(QueueObject *self, BoundRequest *bound)
{
    PyTypeObject *type = is_page_handler(self->handler)
                             ? self->state->page_request_type
                             : self->state->object_request_type;
    RequestObject *object = (RequestObject *)type->tp_alloc(type, 0);
    int failed;

    if (!object) {
        return keep_exception(self);
    }
    object->bound = bound;
    object->queue = self;
    object->job = &self->handler->job;
    object->kind = self->handler->kind;
    bound->object = object;
    failed = PyList_Append(self->requests, (PyObject *)object);
    Py_DECREF(object);
    return failed ? keep_exception(self) : 0;
}

static int queue_request_init(void *request, void *opaque)
{
    QueueObject *self = opaque;
    BoundRequest *bound = request;
    int failed = 0;

    if (is_page_handler(self->handler)) {
        failed = self->page.thread_request_init(&bound->page,
                                                &self->handler->job);
        if (failed) {
            return failed;
        }
    }
    submitter_enter(self);
    failed = request_object_new(self, bound);
    if (!failed) {
        failed = call(self, CALL_REQUEST_INIT, (PyObject *)bound->object);
    }
    if (failed) {
        unbind(bound);
    }
    submitter_leave(self);
    if (failed && is_page_handler(self->handler)) {
        self->page.thread_request_uninit(&bound->page, &self->handler->job);
    }
    return failed;
}

static void queue_request_uninit(void *request, void *opaque)
{
    QueueObject *self = opaque;
    BoundRequest *bound = request;

    submitter_enter(self);
    call(self, CALL_REQUEST_UNINIT, (PyObject *)bound->object);
    unbind(bound);
    submitter_leave(self);
    if (is_page_handler(self->handler)) {
        self->page.thread_request_uninit(&bound->page, &self->handler->job);
    }
}

static void queue_request_done(void *request, void *opaque)
{
    QueueObject *self = opaque;

    submitter_enter(self);
    call(self, CALL_REQUEST_DONE, (PyObject *)((BoundRequest *)request)->object);
    submitter_leave(self);
}

/* --- Operations: threads -------------------------------------------------------- */

typedef struct QueueThread {
    PyObject *state;             /* what thread_init returned */
    _Alignas(CACHE_LINE) char page[]; /* the page handler's own state */
} QueueThread;

static void queue_thread_uninit(void *opaque, void *queue)
{
    QueueObject *self = queue;
    QueueThread *thread = opaque;

    if (is_page_handler(self->handler)) {
        self->page.thread_uninit(thread->page, &self->handler->job);
    }
    if (!worker_python) {
        return;
    }
    python_enter();
    if (thread->state) {
        call(self, CALL_THREAD_UNINIT, thread->state);
        Py_CLEAR(thread->state);
    }
    python_leave();
    worker_queue = NULL;
    worker_python_free();
}

static int queue_thread_init(void *opaque, unsigned index, void *queue)
{
    QueueObject *self = queue;
    QueueThread *thread = opaque;
    int failed = 0;

    if (needs_python(self->handler)) {
        failed = worker_python_new(self->interpreter);
        if (failed) {
            return failed;
        }
        worker_queue = self;
    }
    if (is_page_handler(self->handler)) {
        failed = self->page.thread_init(thread->page, index,
                                        &self->handler->job);
    } else {
        PyObject *callable = self->handler->calls[CALL_THREAD_INIT];

        python_enter();
        thread->state = callable ? PyObject_CallFunction(callable, "I", index)
                                 : Py_NewRef(Py_None);
        if (!thread->state) {
            failed = keep_exception(self);
        }
        python_leave();
    }
    if (failed && worker_python) {
        worker_queue = NULL;
        worker_python_free();
    }
    return failed;
}

static int queue_request_handler(void *request, void *opaque, void *queue)
{
    QueueObject *self = queue;
    QueueThread *thread = opaque;
    BoundRequest *bound = request;
    int failed;

    if (is_page_handler(self->handler)) {
        failed = self->page.thread_request_handler(&bound->page, thread->page,
                                                   &self->handler->job);
        if (failed && signal_try_lock(&self->failed)) {
            self->failure = bound->page.failure;
        }
        return failed;
    }
    python_enter();
    request_set_slot((PyObject *)bound->object, thread->state,
                     SLOT(thread_state));
    failed = call(self, CALL_HANDLER, (PyObject *)bound->object);
    python_leave();
    return failed;
}

/* --- Errors --------------------------------------------------------------------- */

static void raise_page_error(QueueObject *self, const PageFailure *failure,
                             const HandlerObject *handler)
{
    if (failure->written) {
        errno = -failure->written;
        PyErr_SetFromErrno(PyExc_OSError);
        return;
    }
    PyObject *raised = PyObject_CallFunction(
        self->state->page_error, "KNO", (unsigned long long)failure->page,
        text_of(failure->error.text), failure->image ? Py_True : Py_False);

    if (!raised) {
        return;
    }
    PyException_SetCause(raised, handler_exception(handler));
    raise_exception(raised);
    Py_DECREF(raised);
}

/* Raises what stopped the queue. */
static void raise_queue_error(QueueObject *self, int failed)
{
    ThreadedWorkqueueError error;

    if (first_exception(self)) {
        self->raised = true;
        raise_exception(first_exception(self));
    } else if (failed == -EDEADLK) {
        PyErr_SetString(self->state->workqueue_error,
                        "the submitter holds all requests that it waits for: "
                        "it must submit, collect or release one first");
    } else if (failed == -EINVAL) {
        PyErr_SetString(self->state->workqueue_error,
                        "the request is not reserved");
    } else if (threaded_workqueue_error(self->queue, &error) &&
               is_page_handler(self->handler)) {
        self->raised = true;
        raise_page_error(self, &((BoundRequest *)error.request)->page.failure,
                         self->handler);
    } else {
        errno = -failed;
        PyErr_SetFromErrno(self->state->workqueue_error);
    }
}

static void leave(QueueObject *self)
{
    signal_unlock(&self->entered);
}

/* 0 when the calling thread may use the queue; leave() must follow. */
static int enter(QueueObject *self)
{
    const char *problem;

    /* First, because the fork may have happened while it was locked. */
    if (self->creator != getpid() && self->queue) {
        problem = "the workqueue's threads do not exist in a forked process";
    } else if (!signal_try_lock(&self->entered)) {
        problem = "a workqueue has one submitter: another thread is using "
                  "it, or one of its operations called it";
    } else if (!self->queue) {
        leave(self);
        problem = "the workqueue has been destroyed";
    } else {
        return 0;
    }
    PyErr_SetString(self->state->workqueue_error, problem);
    return -1;
}
