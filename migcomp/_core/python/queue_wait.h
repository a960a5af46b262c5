/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Workqueue: waiting, with timeouts and with signals let through. */

/* None means for ever; nanoseconds, or -1 with an exception. */
static int64_t timeout_ns(PyObject *timeout)
{
    double seconds;

    if (timeout == Py_None) {
        return WAIT_FOREVER;
    }
    seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (!(seconds >= 0)) {
        PyErr_SetString(PyExc_ValueError, "a timeout must not be negative");
        return -1;
    }
    return seconds > 1e9 ? WAIT_FOREVER : (int64_t)(seconds * 1e9);
}

/* How long a signal waits for its Python handler. */
#define SIGNAL_SLICE_NS 20000000

typedef int (*WaitCall)(QueueObject *self, uint32_t thread, int64_t timeout_ns,
                        void **request);

/* Calls wait in slices, so that Ctrl-C works; its result, or -EINTR with a
 * Python exception. */
static int wait_in_slices(QueueObject *self, WaitCall wait, uint32_t thread,
                          int64_t timeout, void **request)
{
    int64_t start = event_clock();
    int failed;

    for (;;) {
        int64_t left = timeout == WAIT_FOREVER
                           ? WAIT_FOREVER
                           : timeout - (event_clock() - start);
        int64_t slice = left < SIGNAL_SLICE_NS ? left : SIGNAL_SLICE_NS;

        WITHOUT_GIL(self, failed = wait(self, thread, slice > 0 ? slice : 0,
                                        request));
        if (failed != -ETIMEDOUT || left <= slice) {
            return first_exception(self) ? -ECANCELED : failed;
        }
        if (PyErr_CheckSignals()) {
            return -EINTR;
        }
    }
}

static int wait_get(QueueObject *self, uint32_t thread, int64_t timeout,
                    void **request)
{
    return threaded_workqueue_get_request_timed(self->queue, thread, timeout,
                                                request);
}

static int wait_collect(QueueObject *self, uint32_t thread, int64_t timeout,
                        void **request)
{
    (void)thread;
    return threaded_workqueue_collect_request(self->queue, timeout, request);
}

static int wait_all(QueueObject *self, uint32_t thread, int64_t timeout,
                    void **request)
{
    (void)thread;
    (void)request;
    return threaded_workqueue_wait_for_requests(self->queue, timeout);
}

/* The request as an object, which is the submitter's from now on; None for
 * those failures that are answers. */
static PyObject *answer(QueueObject *self, int failed, void *request,
                        int answer_too)
{
    if (!failed) {
        RequestObject *object = ((BoundRequest *)request)->object;

        if (is_page_handler(self->handler)) {
            Py_BEGIN_CRITICAL_SECTION(object);
            object->holder = Py_NewRef((PyObject *)self);
            Py_END_CRITICAL_SECTION();
        }
        return Py_NewRef((PyObject *)object);
    }
    if (failed == -ETIMEDOUT || failed == answer_too) {
        Py_RETURN_NONE;
    }
    if (failed != -EINTR) {
        raise_queue_error(self, failed);
    }
    return NULL;
}
