/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PageRequest: what a restore does with the pages. */

/* Whether its input are pages, and not a record. */
static bool compresses(const RequestObject *self)
{
    return self->kind == HANDLER_COMPRESS || self->kind == HANDLER_TRANSFER;
}

/* Of a request for the given purpose. */
static BoundRequest *lock_for(RequestObject *self, bool alone,
                              bool compressing)
{
    if (compresses(self) != compressing) {
        PyErr_Format(PyExc_ValueError, "this is not for requests that %s",
                     compressing ? "decompress" : "compress");
        return NULL;
    }
    return try_lock(self, alone);
}

static BoundRequest *read_lock_for(RequestObject *self, bool compressing)
{
    return lock_for(self, false, compressing);
}

/* To be written; write_unlock must follow. */
static BoundRequest *write_lock_for(RequestObject *self, bool compressing)
{
    return lock_for(self, true, compressing);
}

static PyObject *none_or_errno(int failed)
{
    if (failed) {
        errno = -failed;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
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
    bound = read_lock(self);
    if (!bound) {
        return NULL;
    }
    const uint8_t *pages =
        compresses(self) ? bound->page.input : bound->page.data;

    Py_BEGIN_ALLOW_THREADS
    failed = page_write(&bound->page, pages, self->job->page_size, fd, offset,
                        ~(1u << PAGE_ZERO));
    Py_END_ALLOW_THREADS
    read_unlock(self);
    return none_or_errno(failed);
}

/* restore_deduplicated(fd) */
static PyObject *page_request_restore(PyObject *object, PyObject *fd_object)
{
    RequestObject *self = (RequestObject *)object;
    int fd = PyObject_AsFileDescriptor(fd_object);
    BoundRequest *bound = fd < 0 ? NULL : write_lock_for(self, false);
    int failed = -1;

    if (!bound) {
        return NULL;
    }
    /* The job's set of deduplicated pages is the submitter's. */
    bool entered = !enter(self->queue);

    if (entered) {
        Py_BEGIN_ALLOW_THREADS
        failed = dedup_restore(self->job, &bound->page, fd);
        Py_END_ALLOW_THREADS
        leave(self->queue);
    }
    write_unlock(self);
    return !entered ? NULL : none_or_errno(failed);
}

/* write_deduplicated() */
static PyObject *page_request_write(PyObject *object, PyObject *unused)
{
    RequestObject *self = (RequestObject *)object;
    BoundRequest *bound = read_lock_for(self, false);
    int failed = 0;

    (void)unused;
    if (!bound) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    if (self->job->output_fd >= 0) {
        failed =
            page_write_output(&bound->page, self->job, DEDUPLICATED_CLASS);
    }
    Py_END_ALLOW_THREADS
    read_unlock(self);
    return none_or_errno(failed);
}

#if PY_VERSION_HEX < 0x030C0000
/* Later versions derive it from Py_bf_getbuffer. */
static PyObject *page_request_buffer(PyObject *object, PyObject *flags)
{
    (void)flags;
    return PyMemoryView_FromObject(object);
}
#endif
