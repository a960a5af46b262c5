/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PageRequest: a request that carries pages to a native handler; its results. */

static PyObject *page_request_counts(PyObject *object, void *unused)
{
    RequestObject *self = (RequestObject *)object;
    BoundRequest *bound = read_lock(self);

    (void)unused;
    if (!bound) {
        return NULL;
    }
    const uint32_t *counts = bound->page.counts;
    PyObject *tuple = Py_BuildValue("(IIIII)", counts[0], counts[1], counts[2],
                                    counts[3], counts[4]);

    read_unlock(self);
    return tuple;
}

enum {
    GET_CLASSES,
    GET_HASHES,
    GET_FRAME_HASH,
    GET_CHECKSUM,
    GET_DETAILS,
    GET_FIRST_PAGE,
    GET_PAGES,
    GET_DATA_SIZE,
    GET_ELAPSED,
    GET_LOST,
    GET_STAGE,
};

static PyObject *bytes_of(const void *data, size_t size)
{
    return PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
}

/* Number and hash of each page that is not zero: the image digest's input. */
static PyObject *hashes_of(const PageRequest *request, uint64_t zero_hash)
{
    size_t used = 0;
    PyObject *bytes;
    char *to;

    for (uint32_t i = 0; i < request->pages; i++) {
        used += request->hashes[i] != zero_hash;
    }
    bytes = bytes_of(NULL, used * 16);
    if (!bytes) {
        return NULL;
    }
    to = PyBytes_AS_STRING(bytes);
    for (uint32_t i = 0; i < request->pages; i++) {
        if (request->hashes[i] != zero_hash) {
            store_le64(to, request->first_page + i);
            store_le64(to + 8, request->hashes[i]);
            to += 16;
        }
    }
    return bytes;
}

static PyObject *page_request_value(const PageRequest *request,
                                    const PageJob *job, intptr_t which)
{
    switch (which) {
    case GET_CLASSES:
        return bytes_of(request->classes, request->pages);
    case GET_HASHES:
        return hashes_of(request, job->zero_hash);
    case GET_FRAME_HASH:
        return PyLong_FromUnsignedLongLong(request->hashes[0]);
    case GET_CHECKSUM:
        return PyLong_FromUnsignedLongLong(request->checksum);
    case GET_DETAILS:
        return bytes_of(request->details, request->details_size);
    case GET_FIRST_PAGE:
        return PyLong_FromUnsignedLongLong(request->first_page);
    case GET_PAGES:
        return PyLong_FromUnsignedLong(request->pages);
    case GET_DATA_SIZE:
        return PyLong_FromSize_t(request->data_size);
    case GET_LOST:
        return PyBool_FromLong(request->lost);
    case GET_STAGE:
        return PyLong_FromLong(request->stage);
    default:
        return PyLong_FromUnsignedLongLong(request->elapsed_ns);
    }
}

static PyObject *page_request_get(PyObject *object, void *which)
{
    RequestObject *self = (RequestObject *)object;
    BoundRequest *bound = read_lock(self);

    if (!bound) {
        return NULL;
    }
    PyObject *value =
        page_request_value(&bound->page, self->job, (intptr_t)which);

    read_unlock(self);
    return value;
}

static int page_request_set_stage(PyObject *object, PyObject *value,
                                  void *unused)
{
    uint32_t stage = STAGE_COMPRESS + 1;

    (void)unused;
    if (value && !to_uint32(value, &stage)) {
        return -1;
    }
    RequestObject *self = (RequestObject *)object;
    BoundRequest *bound = write_lock_for(self, true);

    if (!bound) {
        return -1;
    }
    bool known = stage <= STAGE_COMPRESS &&
                 (stage == STAGE_WHOLE || (!bound->page.previous &&
                                           self->kind != HANDLER_TRANSFER));

    if (known) {
        bound->page.stage = (Stage)stage;
    }
    write_unlock(self);
    if (!known) {
        PyErr_SetString(PyExc_ValueError, "no such stage");
    }
    return known ? 0 : -1;
}

static int page_request_getbuffer(PyObject *object, Py_buffer *view, int flags)
{
    RequestObject *self = (RequestObject *)object;
    BoundRequest *bound = read_lock(self);

    if (!bound) {
        view->obj = NULL;
        return -1;
    }
    if (PyBuffer_FillInfo(view, object, bound->page.data,
                          (Py_ssize_t)bound->page.data_size, 1, flags)) {
        read_unlock(self);
        return -1;
    }
    /* Shared until the view is released: the memory must outlive it. */
    return 0;
}

static void page_request_releasebuffer(PyObject *object, Py_buffer *view)
{
    (void)view;
    read_unlock((RequestObject *)object);
}

static PyMethodDef page_request_methods[] = {
#if PY_VERSION_HEX < 0x030C0000
    {"__buffer__", page_request_buffer, METH_O, NULL},
#endif
    {"load", page_request_load, METH_VARARGS, NULL},
    {"read", page_request_read, METH_VARARGS, NULL},
    {"load_record", page_request_load_record, METH_VARARGS, NULL},
    {"entropies", page_request_entropy, METH_NOARGS, NULL},
    {"write_pages", page_request_write_pages, METH_VARARGS, NULL},
    {"restore_deduplicated", page_request_restore, METH_O, NULL},
    {"write_deduplicated", page_request_write, METH_NOARGS, NULL},
    {0},
};

#define GET(name, which) \
    {name, page_request_get, NULL, NULL, (void *)(intptr_t)(which)}

static PyGetSetDef page_request_getset[] = {
    {"sequence", request_sequence, NULL, NULL, (void *)0},
    {"thread", request_sequence, NULL, NULL, (void *)1},
    GET("classes", GET_CLASSES),
    GET("hashes", GET_HASHES),
    GET("frame_hash", GET_FRAME_HASH),
    GET("checksum", GET_CHECKSUM),
    GET("details", GET_DETAILS),
    GET("first_page", GET_FIRST_PAGE),
    GET("pages", GET_PAGES),
    GET("data_size", GET_DATA_SIZE),
    GET("elapsed_ns", GET_ELAPSED),
    GET("lost", GET_LOST),
    {"counts", page_request_counts, NULL, NULL, NULL},
    {"stage", page_request_get, page_request_set_stage, NULL,
     (void *)GET_STAGE},
    {0},
};

static PyType_Slot page_request_slots[] = {
    {Py_tp_dealloc, request_dealloc},
    {Py_tp_traverse, request_traverse},
    {Py_tp_clear, request_clear},
    {Py_tp_methods, page_request_methods},
    {Py_tp_getset, page_request_getset},
    {Py_bf_getbuffer, page_request_getbuffer},
    {Py_bf_releasebuffer, page_request_releasebuffer},
    {0, NULL},
};

static PyType_Spec page_request_spec = {
    .name = "migcomp._core.PageRequest",
    .basicsize = sizeof(RequestObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = page_request_slots,
};
