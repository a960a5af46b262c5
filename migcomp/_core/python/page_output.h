/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PageRequest: what a restore does with the pages. */

/* Whether its input are pages, and not a record. */
static bool compresses(const RequestObject *self)
{
    return self->kind == HANDLER_COMPRESS || self->kind == HANDLER_TRANSFER;
}

/* The C request when the submitter may use it for the given purpose. */
static BoundRequest *live_for(RequestObject *self, bool compressing)
{
    BoundRequest *bound = live(self);

    if (bound && compresses(self) != compressing) {
        PyErr_Format(PyExc_ValueError, "this is not for requests that %s",
                     compressing ? "decompress" : "compress");
        return NULL;
    }
    return bound;
}

/* write_pages(fd, offset): leaves holes for zero pages.  Those of a request
 * that compresses are as they came, once they are classified. */
static PyObject *page_request_write_pages(PyObject *object, PyObject *args)
{
    RequestObject *self = (RequestObject *)object;
    BoundRequest *bound;
    long long offset;
    int fd, failed;

    if (!PyArg_ParseTuple(args, "iL:write_pages", &fd, &offset)) {
        return NULL;
    }
    bound = live(self);
    if (!bound) {
        return NULL;
    }
    const uint8_t *pages =
        compresses(self) ? bound->page.input : bound->page.data;

    pin(self);
    Py_BEGIN_ALLOW_THREADS
    failed = page_write(&bound->page, pages, self->job->page_size, fd, offset,
                        ~(1u << PAGE_ZERO));
    Py_END_ALLOW_THREADS
    unpin(self);
    if (failed) {
        errno = -failed;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

/* restore_deduplicated(fd) */
static PyObject *page_request_restore(PyObject *object, PyObject *fd_object)
{
    RequestObject *self = (RequestObject *)object;
    int fd = PyObject_AsFileDescriptor(fd_object);
    BoundRequest *bound = fd < 0 ? NULL : live_for(self, false);
    int failed;

    if (!bound) {
        return NULL;
    }
    pin(self);
    Py_BEGIN_ALLOW_THREADS
    failed = dedup_restore(self->job, &bound->page, fd);
    Py_END_ALLOW_THREADS
    unpin(self);
    if (failed) {
        errno = -failed;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

/* write_deduplicated() */
static PyObject *page_request_write(PyObject *object, PyObject *unused)
{
    RequestObject *self = (RequestObject *)object;
    BoundRequest *bound = live_for(self, false);
    int failed = 0;

    (void)unused;
    if (!bound) {
        return NULL;
    }
    pin(self);
    Py_BEGIN_ALLOW_THREADS
    if (self->job->output_fd >= 0) {
        failed =
            page_write_output(&bound->page, self->job, DEDUPLICATED_CLASS);
    }
    Py_END_ALLOW_THREADS
    unpin(self);
    if (failed) {
        errno = -failed;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

#if PY_VERSION_HEX < 0x030C0000
/* Later versions derive it from Py_bf_getbuffer. */
static PyObject *page_request_buffer(PyObject *object, PyObject *flags)
{
    (void)flags;
    return PyMemoryView_FromObject(object);
}
#endif
