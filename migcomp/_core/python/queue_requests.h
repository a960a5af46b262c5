/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Workqueue: all of its requests at once. */

static void forget_requests(QueueObject *self)
{
    PyObject *requests = self->requests;
    Py_ssize_t count = requests ? PyList_GET_SIZE(requests) : 0;

    self->requests = NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        RequestObject *request = (RequestObject *)PyList_GET_ITEM(requests, i);
        PyObject *holder;

        Py_BEGIN_CRITICAL_SECTION(request);
        request->bound = NULL;
        request->queue = NULL;
        holder = request->holder;
        request->holder = NULL;
        Py_END_CRITICAL_SECTION();
        drop_source(request);
        Py_XDECREF(holder);
    }
    Py_XDECREF(requests);
}

/* Locks all requests; false, and none is locked, if somebody has one. */
static bool lock_all(const QueueObject *self)
{
    Py_ssize_t count = self->requests ? PyList_GET_SIZE(self->requests) : 0;

    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyList_GET_ITEM(self->requests, i);
        RequestObject *request = (RequestObject *)item;
        bool used;

        Py_BEGIN_CRITICAL_SECTION(item);
        used = request->users;
        request->users = used ? request->users : WRITTEN;
        Py_END_CRITICAL_SECTION();
        while (used && i--) {
            write_unlock((RequestObject *)PyList_GET_ITEM(self->requests, i));
        }
        if (used) {
            return false;
        }
    }
    return true;
}
