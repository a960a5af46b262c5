/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PageRequest: a request that carries pages to a native handler. */

static BoundRequest *check_loadable(RequestObject *self, bool compressing,
                                    uint32_t pages, uint32_t channel)
{
    BoundRequest *bound = live_for(self, compressing);

    if (!bound) {
        return NULL;
    }
    uint32_t channels = self->job->channels ? self->job->channels : 1;

    if (self->exports) {
        PyErr_SetString(PyExc_BufferError,
                        "the request's data is still in use");
    } else if (!pages || pages > self->job->pages_max) {
        PyErr_Format(PyExc_ValueError, "a request holds 1 to %u pages",
                     self->job->pages_max);
    } else if (channel >= channels) {
        PyErr_Format(PyExc_ValueError, "channel must be 0 to %u",
                     channels - 1);
    } else {
        return bound;
    }
    return NULL;
}

/*
 * The C request if it is the submitter's and may hold so many pages.  It is
 * empty, without anything of the pages it held, until its pages are set.
 */
static PageRequest *loadable(RequestObject *self, bool compressing,
                             uint32_t pages, uint32_t channel)
{
    if (!check_loadable(self, compressing, pages, channel)) {
        return NULL;
    }
    drop_source(self);
    /* Again, because what held the source may have run code. */
    BoundRequest *bound = check_loadable(self, compressing, pages, channel);

    if (!bound) {
        return NULL;
    }
    PageRequest *request = &bound->page;

    request->first_page = 0;
    request->pages = 0;
    request->channel = channel;
    request->stage = STAGE_WHOLE;
    request->input = NULL;
    request->input_size = 0;
    request->mapped = false;
    request->has_holes = false;
    request->details_size = 0;
    request->data_size = 0;
    memset(request->classes, PAGE_ZERO, self->job->pages_max);
    memset(request->counts, 0, sizeof(request->counts));
    return request;
}

/* One byte for each page; those that are not 0 are not read. */
static int set_holes(PageRequest *request, uint32_t pages, PyObject *holes)
{
    char *flags;
    Py_ssize_t size;

    if (holes == Py_None) {
        return 0;
    }
    if (PyBytes_AsStringAndSize(holes, &flags, &size)) {
        return -1;
    }
    if (size != (Py_ssize_t)pages) {
        PyErr_SetString(PyExc_ValueError, "holes needs a byte for each page");
        return -1;
    }
    memcpy(request->holes, flags, (size_t)size);
    request->has_holes = true;
    return 0;
}

/* load(page_map, first_page, pages, stage, channel, holes) */
static PyObject *page_request_load(PyObject *object, PyObject *args)
{
    RequestObject *self = (RequestObject *)object;
    ModuleState *state = state_of(object);
    uint64_t first_page;
    uint32_t pages, stage, channel;
    PageMapObject *map;
    PyObject *source, *holes = Py_None;
    PageRequest *request;

    if (!state ||
        !PyArg_ParseTuple(args, "O!O&O&O&O&|O:load", state->page_map_type,
                          &source, to_uint64, &first_page, to_uint32, &pages,
                          to_uint32, &stage, to_uint32, &channel, &holes)) {
        return NULL;
    }
    if (stage > STAGE_COMPRESS) {
        return PyErr_Format(PyExc_ValueError, "no such stage");
    }
    request = loadable(self, true, pages, channel);
    if (!request || set_holes(request, pages, holes)) {
        return NULL;
    }
    map = (PageMapObject *)source;
    if (map->map.page_size != self->job->page_size) {
        return PyErr_Format(PyExc_ValueError,
                            "the map's pages have %u bytes, the handler's %u",
                            map->map.page_size, self->job->page_size);
    }
    request->input = page_map_find(&map->map, first_page, pages);
    if (!request->input) {
        return PyErr_Format(PyExc_ValueError,
                            "%u pages from page %llu on are not in the map",
                            pages, (unsigned long long)first_page);
    }
    request->first_page = first_page;
    request->pages = pages;
    request->stage = (Stage)stage;
    request->input_size = (size_t)pages * self->job->page_size;
    request->mapped = map->map.mapped;
    self->source = Py_NewRef(source);
    Py_RETURN_NONE;
}

/* Reads size bytes or up to the end of the file; bytes read or -1. */
static ssize_t read_fully(int fd, uint8_t *to, size_t size)
{
    size_t held = 0;

    while (held < size) {
        ssize_t got;

        Py_BEGIN_ALLOW_THREADS
        got = read(fd, to + held, size - held);
        Py_END_ALLOW_THREADS
        if (!got) {
            break;
        }
        if (got > 0) {
            held += (size_t)got;
        } else if (errno != EINTR) {
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        /* Also after a short read: the signal may be what cut it short. */
        if (PyErr_CheckSignals()) {
            return -1;
        }
    }
    return (ssize_t)held;
}

/* read(fd, first_page, pages, channel) -> bytes read; a last page that is not
 * whole is filled up with zeros. */
static PyObject *page_request_read(PyObject *object, PyObject *args)
{
    RequestObject *self = (RequestObject *)object;
    uint64_t first_page;
    uint32_t pages, channel;
    int fd;

    if (!PyArg_ParseTuple(args, "iO&O&O&:read", &fd, to_uint64, &first_page,
                          to_uint32, &pages, to_uint32, &channel)) {
        return NULL;
    }
    PageRequest *request = loadable(self, true, pages, channel);

    if (!request) {
        return NULL;
    }
    uint32_t page_size = self->job->page_size;
    uint8_t *copy = page_request_copy(self->job, request);

    if (!copy) {
        return PyErr_NoMemory();
    }
    pin(self);
    ssize_t got = read_fully(fd, copy, (size_t)pages * page_size);

    if (got < 0) {
        unpin(self);
        return NULL;
    }
    uint32_t whole = (uint32_t)(((size_t)got + page_size - 1) / page_size);

    memset(copy + got, 0, (size_t)whole * page_size - (size_t)got);
    request->first_page = first_page;
    request->pages = whole;
    request->input = copy;
    request->input_size = (size_t)whole * page_size;
    unpin(self);
    return PyLong_FromSsize_t(got);
}

/* load_record(body, first_page, pages, channel, checksum, mapped) */
static PyObject *page_request_load_record(PyObject *object, PyObject *args)
{
    RequestObject *self = (RequestObject *)object;
    uint64_t first_page, checksum;
    uint32_t pages, channel;
    PyObject *body;
    Py_buffer buffer;
    int mapped;

    if (!PyArg_ParseTuple(args, "OO&O&O&O&p:load_record", &body, to_uint64,
                          &first_page, to_uint32, &pages, to_uint32, &channel,
                          to_uint64, &checksum, &mapped)) {
        return NULL;
    }
    int failed = mapped ? guard_install() : 0;

    if (failed) {
        errno = -failed;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    /* First, because it may run code. */
    if (PyObject_GetBuffer(body, &buffer, PyBUF_SIMPLE)) {
        return NULL;
    }
    PageRequest *request = loadable(self, false, pages, channel);

    if (!request) {
        PyBuffer_Release(&buffer);
        return NULL;
    }
    self->body = buffer;
    request->first_page = first_page;
    request->pages = pages;
    request->input = self->body.buf;
    request->input_size = (size_t)self->body.len;
    request->body_checksum = checksum;
    request->mapped = mapped;
    Py_RETURN_NONE;
}

/* --- Results ------------------------------------------------------------------ */

static PyObject *page_request_counts(PyObject *object, void *unused)
{
    BoundRequest *bound = live((RequestObject *)object);
    const uint32_t *counts;

    (void)unused;
    if (!bound) {
        return NULL;
    }
    counts = bound->page.counts;
    return Py_BuildValue("(IIIII)", counts[0], counts[1], counts[2], counts[3],
                         counts[4]);
}

enum {
    GET_CLASSES,
    GET_HASHES,
    GET_DETAILS,
    GET_FIRST_PAGE,
    GET_PAGES,
    GET_DATA_SIZE,
    GET_ELAPSED,
};

static PyObject *bytes_of(const void *data, size_t size)
{
    return PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
}

static PyObject *page_request_get(PyObject *object, void *which)
{
    BoundRequest *bound = live((RequestObject *)object);
    const PageRequest *request;

    if (!bound) {
        return NULL;
    }
    request = &bound->page;
    switch ((intptr_t)which) {
    case GET_CLASSES:
        return bytes_of(request->classes, request->pages);
    case GET_HASHES:
        return bytes_of(request->hashes, (size_t)request->pages * 8);
    case GET_DETAILS:
        return bytes_of(request->details, request->details_size);
    case GET_FIRST_PAGE:
        return PyLong_FromUnsignedLongLong(request->first_page);
    case GET_PAGES:
        return PyLong_FromUnsignedLong(request->pages);
    case GET_DATA_SIZE:
        return PyLong_FromSize_t(request->data_size);
    default:
        return PyLong_FromUnsignedLongLong(request->elapsed_ns);
    }
}

static PyObject *page_request_get_stage(PyObject *object, void *unused)
{
    BoundRequest *bound = live((RequestObject *)object);

    (void)unused;
    return bound ? PyLong_FromLong(bound->page.stage) : NULL;
}

static int page_request_set_stage(PyObject *object, PyObject *value,
                                  void *unused)
{
    uint32_t stage = STAGE_COMPRESS + 1;

    (void)unused;
    if (value && !to_uint32(value, &stage)) {
        return -1;
    }
    BoundRequest *bound = live_for((RequestObject *)object, true);

    if (!bound) {
        return -1;
    }
    if (stage > STAGE_COMPRESS) {
        PyErr_SetString(PyExc_ValueError, "no such stage");
        return -1;
    }
    bound->page.stage = (Stage)stage;
    return 0;
}

static int page_request_getbuffer(PyObject *object, Py_buffer *view, int flags)
{
    RequestObject *self = (RequestObject *)object;
    BoundRequest *bound = live(self);

    if (!bound) {
        view->obj = NULL;
        return -1;
    }
    if (PyBuffer_FillInfo(view, object, bound->page.data,
                          (Py_ssize_t)bound->page.data_size, 1, flags)) {
        return -1;
    }
    /* The memory must outlive the view. */
    pin(self);
    return 0;
}

static void page_request_releasebuffer(PyObject *object, Py_buffer *view)
{
    (void)view;
    unpin((RequestObject *)object);
}

static PyMethodDef page_request_methods[] = {
#if PY_VERSION_HEX < 0x030C0000
    {"__buffer__", page_request_buffer, METH_O, NULL},
#endif
    {"load", page_request_load, METH_VARARGS, NULL},
    {"read", page_request_read, METH_VARARGS, NULL},
    {"load_record", page_request_load_record, METH_VARARGS, NULL},
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
    GET("details", GET_DETAILS),
    GET("first_page", GET_FIRST_PAGE),
    GET("pages", GET_PAGES),
    GET("data_size", GET_DATA_SIZE),
    GET("elapsed_ns", GET_ELAPSED),
    {"counts", page_request_counts, NULL, NULL, NULL},
    {"stage", page_request_get_stage, page_request_set_stage, NULL, NULL},
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
