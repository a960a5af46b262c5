/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PageRequest: what a restore does with the pages. */

/* The C request when the submitter may use it for the given purpose. */
static BoundRequest *live_for(RequestObject *self, bool compressing)
{
    BoundRequest *bound = live(self);

    if (bound && self->compresses != compressing) {
        PyErr_Format(PyExc_ValueError, "this is not for requests that %s",
                     compressing ? "decompress" : "compress");
        return NULL;
    }
    return bound;
}

/* Writes all of it; 0 or an errno value. */
static int write_fully(int fd, const uint8_t *from, size_t size, off_t offset)
{
    while (size) {
        ssize_t put = pwrite(fd, from, size, offset);

        if (put > 0) {
            from += put;
            size -= (size_t)put;
            offset += put;
        } else if (errno != EINTR) {
            return put ? errno : ENOSPC;
        }
    }
    return 0;
}

/* Every run of pages, which lie from pages on, that are not zero. */
static int write_runs(const PageRequest *request, const uint8_t *pages,
                      uint32_t page_size, int fd, off_t offset)
{
    uint32_t i = 0;

    while (i < request->pages) {
        uint32_t start = i;

        while (i < request->pages && request->classes[i] != PAGE_ZERO) {
            i++;
        }
        size_t begin = (size_t)start * page_size;
        size_t size = (size_t)(i - start) * page_size;
        int failed = write_fully(fd, pages + begin, size,
                                 offset + (off_t)begin);

        if (failed) {
            return failed;
        }
        while (i < request->pages && request->classes[i] == PAGE_ZERO) {
            i++;
        }
    }
    return 0;
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
        self->compresses ? bound->page.input : bound->page.data;

    pin(self);
    Py_BEGIN_ALLOW_THREADS
    failed = write_runs(&bound->page, pages, self->job->page_size, fd, offset);
    Py_END_ALLOW_THREADS
    unpin(self);
    if (failed) {
        errno = failed;
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

#if PY_VERSION_HEX < 0x030C0000
/* Later versions derive it from Py_bf_getbuffer. */
static PyObject *page_request_buffer(PyObject *object, PyObject *flags)
{
    (void)flags;
    return PyMemoryView_FromObject(object);
}
#endif
