/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PageRequest: what it is loaded with, from images and streams. */

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
    } else if (self->job->grouping == GROUPING_STREAM &&
               threaded_workqueue_request_thread(bound) !=
                   channel_thread(self, channel)) {
        /* Two threads would use one history at once. */
        PyErr_Format(PyExc_ValueError, "channel %u needs a request of thread %u",
                     channel, channel_thread(self, channel));
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
    request->map = NULL;
    request->previous = NULL;
    request->has_holes = false;
    request->details_size = 0;
    request->data_size = 0;
    request->lost = false;
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

/* Whether previous, a PageMap or None, can be what the receiver has of these
 * pages; 0 with an exception if not. */
static int check_previous(const RequestObject *self, const ModuleState *state,
                          PyObject *previous, uint64_t first_page,
                          uint32_t pages)
{
    if (previous == Py_None) {
        return 1;
    }
    if (!PyObject_TypeCheck(previous, state->page_map_type)) {
        PyErr_SetString(PyExc_TypeError, "previous must be a PageMap");
        return 0;
    }
    const PageMap *map = &((PageMapObject *)previous)->map;

    if (!self->job->deltas) {
        PyErr_SetString(PyExc_ValueError, "the handler makes no deltas");
    } else if (map->page_size != self->job->page_size ||
               first_page > map->pages || pages > map->pages - first_page ||
               page_map_encoded(map)) {
        PyErr_SetString(PyExc_ValueError,
                        "previous must have these pages, of the handler's "
                        "size, and not encoded");
    } else {
        return 1;
    }
    return 0;
}

/* One that was checked. */
static void set_previous(RequestObject *self, PageRequest *request,
                         PyObject *previous)
{
    if (previous != Py_None) {
        self->previous = Py_NewRef(previous);
        request->previous = &((PageMapObject *)previous)->map;
    }
}

/* load(page_map, first_page, pages, stage, channel, holes, previous) */
static PyObject *page_request_load(PyObject *object, PyObject *args)
{
    RequestObject *self = (RequestObject *)object;
    ModuleState *state = state_of(object);
    uint64_t first_page;
    uint32_t pages, stage, channel;
    PageMapObject *map;
    PyObject *source, *holes = Py_None, *previous = Py_None;
    PageRequest *request;

    if (!state ||
        !PyArg_ParseTuple(args, "O!O&O&O&O&|OO:load", state->page_map_type,
                          &source, to_uint64, &first_page, to_uint32, &pages,
                          to_uint32, &stage, to_uint32, &channel, &holes,
                          &previous)) {
        return NULL;
    }
    if (stage > STAGE_FRAME ||
        (stage != STAGE_WHOLE &&
         (previous != Py_None || self->kind == HANDLER_TRANSFER))) {
        return PyErr_Format(PyExc_ValueError, "no such stage");
    }
    if (self->kind == HANDLER_TRANSFER && holes != Py_None) {
        return PyErr_Format(PyExc_ValueError,
                            "a handler that transfers takes no holes");
    }
    request = loadable(self, true, pages, channel);
    if (!request || set_holes(request, pages, holes) ||
        !check_previous(self, state, previous, first_page, pages)) {
        return NULL;
    }
    if (stage == STAGE_FRAME &&
        (self->job->grouping != GROUPING_PACKET || request->has_holes ||
         !self->job->library->ops->compress)) {
        return PyErr_Format(PyExc_ValueError,
                            "a frame needs a codec, grouping packet, and all "
                            "of its pages");
    }
    map = (PageMapObject *)source;
    if (map->map.page_size != self->job->page_size) {
        return PyErr_Format(PyExc_ValueError,
                            "the map's pages have %u bytes, the handler's %u",
                            map->map.page_size, self->job->page_size);
    }
    if (first_page >= map->map.pages ||
        pages > map->map.pages - first_page) {
        return PyErr_Format(PyExc_ValueError,
                            "%u pages from page %llu on are not in the map",
                            pages, (unsigned long long)first_page);
    }
    if (page_map_encoded(&map->map) && self->job->source != &map->map) {
        PyErr_SetString(PyExc_ValueError,
                        "pages that are encoded must be those of the "
                        "handler's source");
        return NULL;
    }
    set_previous(self, request, previous);
    /* With previous it is copied, so that reading it and reading that can be
     * guarded one after the other. */
    request->input = request->previous
                         ? NULL
                         : page_map_find(&map->map, first_page, pages);
    request->first_page = first_page;
    request->pages = pages;
    request->stage = (Stage)stage;
    request->input_size = (size_t)pages * self->job->page_size;
    if (request->input) {
        request->mapped = map->map.mapped;
    } else {
        request->map = &map->map;
    }
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

/* read(fd, first_page, pages, channel, taken) -> bytes read, those taken from
 * fd before included; a last page that is not whole is filled up with zeros. */
static PyObject *page_request_read(PyObject *object, PyObject *args)
{
    RequestObject *self = (RequestObject *)object;
    uint64_t first_page;
    uint32_t pages, channel;
    const char *taken = "";
    Py_ssize_t held = 0;
    int fd;

    if (!PyArg_ParseTuple(args, "iO&O&O&|y#:read", &fd, to_uint64, &first_page,
                          to_uint32, &pages, to_uint32, &channel, &taken,
                          &held)) {
        return NULL;
    }
    PageRequest *request = loadable(self, true, pages, channel);

    if (!request) {
        return NULL;
    }
    uint32_t page_size = self->job->page_size;
    size_t room = (size_t)pages * page_size;
    uint8_t *copy = page_request_copy(self->job, request);

    if (!copy) {
        return PyErr_NoMemory();
    }
    if ((size_t)held > room) {
        return PyErr_Format(PyExc_ValueError, "more taken than pages hold");
    }
    memcpy(copy, taken, (size_t)held);
    pin(self);
    ssize_t got = read_fully(fd, copy + held, room - (size_t)held);

    if (got < 0) {
        unpin(self);
        return NULL;
    }
    got += held;
    uint32_t whole = (uint32_t)(((size_t)got + page_size - 1) / page_size);

    memset(copy + got, 0, (size_t)whole * page_size - (size_t)got);
    request->first_page = first_page;
    request->pages = whole;
    request->input = copy;
    request->input_size = (size_t)whole * page_size;
    unpin(self);
    return PyLong_FromSsize_t(got);
}

/* load_record(body, first_page, pages, channel, checksum, mapped, previous) */
static PyObject *page_request_load_record(PyObject *object, PyObject *args)
{
    RequestObject *self = (RequestObject *)object;
    ModuleState *state = state_of(object);
    uint64_t first_page, checksum;
    uint32_t pages, channel;
    PyObject *body, *previous = Py_None;
    Py_buffer buffer;
    int mapped;

    if (!state ||
        !PyArg_ParseTuple(args, "OO&O&O&O&p|O:load_record", &body, to_uint64,
                          &first_page, to_uint32, &pages, to_uint32, &channel,
                          to_uint64, &checksum, &mapped, &previous)) {
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

    if (!request ||
        !check_previous(self, state, previous, first_page, pages)) {
        PyBuffer_Release(&buffer);
        return NULL;
    }
    set_previous(self, request, previous);
    self->body = buffer;
    request->first_page = first_page;
    request->pages = pages;
    request->input = self->body.buf;
    request->input_size = (size_t)self->body.len;
    request->body_checksum = checksum;
    request->mapped = mapped;
    Py_RETURN_NONE;
}
