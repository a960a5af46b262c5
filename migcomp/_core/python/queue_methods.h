/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Workqueue's methods on requests, and its counters. */

static PyObject *queue_get_request(PyObject *object, PyObject *args,
                                   PyObject *keywords)
{
    static char *names[] = {"timeout", "thread", NULL};
    QueueObject *self = (QueueObject *)object;
    PyObject *timeout = NULL, *thread = Py_None, *result;
    int64_t wait = 0;
    uint32_t index = ANY_THREAD;
    void *request;
    int failed;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|OO:get_request", names,
                                     &timeout, &thread)) {
        return NULL;
    }
    if (timeout) {
        wait = timeout_ns(timeout);
    }
    if (wait < 0 || (thread != Py_None && !to_uint32(thread, &index))) {
        return NULL;
    }
    if (thread != Py_None && index == ANY_THREAD) {
        index--; /* no thread either, and does not mean any of them */
    }
    if (enter(self)) {
        return NULL;
    }
    failed = wait_in_slices(self, wait_get, index, wait, &request);
    if (failed == -EINVAL) {
        PyErr_SetString(PyExc_ValueError, "no such thread");
        result = NULL;
    } else {
        result = answer(self, failed, request, wait ? 0 : -EDEADLK);
    }
    leave(self);
    return result;
}

static PyObject *queue_collect_request(PyObject *object, PyObject *args,
                                       PyObject *keywords)
{
    static char *names[] = {"timeout", NULL};
    QueueObject *self = (QueueObject *)object;
    PyObject *timeout = Py_None, *result;
    int64_t wait;
    void *request;
    int failed;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O:collect_request",
                                     names, &timeout)) {
        return NULL;
    }
    wait = timeout_ns(timeout);
    if (wait < 0 || enter(self)) {
        return NULL;
    }
    failed = wait_in_slices(self, wait_collect, 0, wait, &request);
    result = answer(self, failed, request, -ENOENT);
    leave(self);
    return result;
}

static PyObject *queue_wait_for_requests(PyObject *object, PyObject *args,
                                         PyObject *keywords)
{
    static char *names[] = {"timeout", NULL};
    QueueObject *self = (QueueObject *)object;
    PyObject *timeout = Py_None, *result = NULL;
    int64_t wait;
    int failed;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O:wait_for_requests",
                                     names, &timeout)) {
        return NULL;
    }
    wait = timeout_ns(timeout);
    if (wait < 0 || enter(self)) {
        return NULL;
    }
    failed = wait_in_slices(self, wait_all, 0, wait, NULL);
    if (!failed || failed == -ETIMEDOUT) {
        result = PyBool_FromLong(!failed);
    } else if (failed != -EINTR) {
        raise_queue_error(self, failed);
    }
    leave(self);
    return result;
}

static PyObject *queue_poll_request(PyObject *object, PyObject *unused)
{
    QueueObject *self = (QueueObject *)object;
    ThreadedWorkqueueError error;
    void *request;
    int failed;

    (void)unused;
    if (enter(self)) {
        return NULL;
    }
    request = threaded_workqueue_poll_request(self->queue);
    failed = request ? 0
             : threaded_workqueue_error(self->queue, &error) ? -ECANCELED
                                                             : -ETIMEDOUT;
    PyObject *result = answer(self, failed, request, 0);

    leave(self);
    return result;
}

/* 0 once nobody else has the request; hand_over_end must follow. */
static int hand_over_begin(RequestObject *request, const QueueObject *self)
{
    bool ours, used = true;

    Py_BEGIN_CRITICAL_SECTION(request);
    ours = request->queue == self;
    if (ours) {
        used = request->users;
        request->users = used ? request->users : WRITTEN;
    }
    Py_END_CRITICAL_SECTION();
    if (!ours) {
        PyErr_SetString(PyExc_ValueError,
                        "the request belongs to another workqueue");
    } else if (used) {
        PyErr_SetString(PyExc_BufferError,
                        "the request's data is still in use");
    }
    return used ? -1 : 0;
}

/* To the worker or the queue, or to the submitter after a failure. */
static void hand_over_end(RequestObject *request, bool submitters)
{
    PyObject *holder = NULL;

    Py_BEGIN_CRITICAL_SECTION(request);
    request->users = 0;
    if (!submitters) {
        holder = request->holder;
        request->holder = NULL;
    }
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(holder);
}

/* submit_request and release_request */
static PyObject *hand_over(PyObject *object, PyObject *argument,
                           int (*to)(ThreadedWorkqueue *, void *))
{
    QueueObject *self = (QueueObject *)object;
    RequestObject *request = (RequestObject *)argument;
    bool done = false;

    if (!Py_IS_TYPE(argument, self->state->page_request_type) &&
        !Py_IS_TYPE(argument, self->state->object_request_type)) {
        return PyErr_Format(PyExc_TypeError, "a request is needed, not %s",
                            Py_TYPE(argument)->tp_name);
    }
    if (enter(self)) {
        return NULL;
    }
    if (!hand_over_begin(request, self)) {
        int failed = to(self->queue, request->bound);

        done = !failed;
        hand_over_end(request, failed);
        if (failed) {
            raise_queue_error(self, failed);
        }
    }
    leave(self);
    return done ? Py_NewRef(Py_None) : NULL;
}

static PyObject *queue_submit_request(PyObject *object, PyObject *request)
{
    return hand_over(object, request, threaded_workqueue_submit_request);
}

static PyObject *queue_release_request(PyObject *object, PyObject *request)
{
    return hand_over(object, request, threaded_workqueue_release_request);
}

static PyObject *thread_stats(const QueueObject *self, unsigned threads)
{
    PyObject *list = PyList_New(0);

    for (unsigned i = 0; list && i < threads; i++) {
        ThreadedWorkqueueThreadStats of;
        PyObject *item;

        threaded_workqueue_thread_stats(self->queue, i, &of);
        item = Py_BuildValue("{sKsKsKsKsK}", "requests", of.requests, "sleeps",
                             of.sleeps, "spins", of.spins, "wakeups",
                             of.wakeups, "cpu_ns", of.cpu_ns);
        if (!item || PyList_Append(list, item)) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
    }
    return list;
}

static PyObject *queue_stats(PyObject *object, PyObject *unused)
{
    QueueObject *self = (QueueObject *)object;
    ThreadedWorkqueueStats of;
    PyObject *result = NULL, *threads;

    (void)unused;
    if (enter(self)) {
        return NULL;
    }
    threaded_workqueue_stats(self->queue, &of);
    threads = thread_stats(self, of.threads_nr);
    if (threads) {
        result = Py_BuildValue(
            "{sKsKsKsKsKsKsKsIsIsIsN}", "submitted", of.submitted, "collected",
            of.collected, "busy", of.busy, "waits", of.waits, "spins",
            of.spins, "wakeups", of.wakeups, "depth_sum", of.depth_sum,
            "depth_max", of.depth_max, "threads_nr", of.threads_nr,
            "thread_requests_nr", of.thread_requests_nr, "threads", threads);
    }
    leave(self);
    return result;
}
