/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PageRequest: what it is loaded with, from images and streams. */

/* -1 with an exception if the request cannot hold so many pages. */
static int check_room(const RequestObject *self, const BoundRequest *bound,
                      uint32_t pages, uint32_t channel)
{
    uint32_t channels = self->job->channels ? self->job->channels : 1;

    if (!pages || pages > self->job->pages_max) {
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
        return 0;
    }
    return -1;
}

/*
 * The C request, to be written, if it may hold so many pages; write_unlock must
 * follow.  It is empty, without anything of what it held, until its pages are
 * set.
 */
static PageRequest *lock_empty(RequestObject *self, bool compressing,
                                uint32_t pages, uint32_t channel)
{
    BoundRequest *bound = write_lock_for(self, compressing);

    if (!bound) {
        return NULL;
    }
    if (check_room(self, bound, pages, channel)) {
        write_unlock(self);
        return NULL;
    }
    drop_source(self);
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

typedef struct PagesToLoad {
    PyObject *source;           /* a PageMap */
    uint64_t first_page;
    uint32_t pages, stage;
    PyObject *holes, *previous; /* or None */
} PagesToLoad;

/* Fills a request that is empty; -1 with an exception. */
static int fill(RequestObject *self, const ModuleState *state,
                PageRequest *request, const PagesToLoad *load)
{
    const PageMap *map = &((PageMapObject *)load->source)->map;
    uint64_t first_page = load->first_page;
    uint32_t pages = load->pages;

    if (set_holes(request, pages, load->holes) ||
        !check_previous(self, state, load->previous, first_page, pages)) {
        return -1;
    }
    if (load->stage == STAGE_FRAME &&
        (self->job->grouping != GROUPING_PACKET || request->has_holes ||
         !self->job->library->ops->compress)) {
        PyErr_SetString(PyExc_ValueError,
                        "a frame needs a codec, grouping packet, and all of "
                        "its pages");
    } else if (map->page_size != self->job->page_size) {
        PyErr_Format(PyExc_ValueError,
                     "the map's pages have %u bytes, the handler's %u",
                     map->page_size, self->job->page_size);
    } else if (first_page >= map->pages || pages > map->pages - first_page) {
        PyErr_Format(PyExc_ValueError,
                     "%u pages from page %llu on are not in the map", pages,
                     (unsigned long long)first_page);
    } else if (page_map_encoded(map) && self->job->source != map) {
        PyErr_SetString(PyExc_ValueError,
                        "pages that are encoded must be those of the "
                        "handler's source");
    } else {
        set_previous(self, request, load->previous);
        /* With previous it is copied, so that reading it and reading that can
         * be guarded one after the other. */
        request->input = request->previous
                             ? NULL
                             : page_map_find(map, first_page, pages);
        request->first_page = first_page;
        request->pages = pages;
        request->stage = (Stage)load->stage;
        request->input_size = (size_t)pages * self->job->page_size;
        if (request->input) {
            request->mapped = map->mapped;
        } else {
            request->map = map;
        }
        self->source = Py_NewRef(load->source);
        return 0;
    }
    return -1;
}

/* load(page_map, first_page, pages, stage, channel, holes, previous) */
static PyObject *page_request_load(PyObject *object, PyObject *args)
{
    RequestObject *self = (RequestObject *)object;
    ModuleState *state = state_of(object);
    PagesToLoad load = {.holes = Py_None, .previous = Py_None};
    uint32_t channel;

    if (!state ||
        !PyArg_ParseTuple(args, "O!O&O&O&O&|OO:load", state->page_map_type,
                          &load.source, to_uint64, &load.first_page, to_uint32,
                          &load.pages, to_uint32, &load.stage, to_uint32,
                          &channel, &load.holes, &load.previous)) {
        return NULL;
    }
    if (load.stage > STAGE_FRAME ||
        (load.stage != STAGE_WHOLE &&
         (load.previous != Py_None || self->kind == HANDLER_TRANSFER))) {
        return PyErr_Format(PyExc_ValueError, "no such stage");
    }
    if (self->kind == HANDLER_TRANSFER && load.holes != Py_None) {
        return PyErr_Format(PyExc_ValueError,
                            "a handler that transfers takes no holes");
    }
    PageRequest *request = lock_empty(self, true, load.pages, channel);

    if (!request) {
        return NULL;
    }
    int failed = fill(self, state, request, &load);

    write_unlock(self);
    return failed ? NULL : Py_NewRef(Py_None);
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

/* Into a request that is empty; bytes read, with those held, or -1. */
static ssize_t read_pages(const RequestObject *self, PageRequest *request,
                          int fd, uint32_t pages, const char *taken,
                          size_t held)
{
    uint32_t page_size = self->job->page_size;

    if (held > (size_t)pages * page_size) {
        PyErr_SetString(PyExc_ValueError, "more taken than pages hold");
        return -1;
    }
    uint8_t *copy = page_request_copy(self->job, request);

    if (!copy) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(copy, taken, held);
    ssize_t got =
        read_fully(fd, copy + held, (size_t)pages * page_size - held);

    if (got < 0) {
        return -1;
    }
    size_t size = held + (size_t)got;
    uint32_t whole = (uint32_t)((size + page_size - 1) / page_size);

    memset(copy + size, 0, (size_t)whole * page_size - size);
    request->pages = whole;
    request->input = copy;
    request->input_size = (size_t)whole * page_size;
    return (ssize_t)size;
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
    PageRequest *request = lock_empty(self, true, pages, channel);

    if (!request) {
        return NULL;
    }
    request->first_page = first_page;
    ssize_t got = read_pages(self, request, fd, pages, taken, (size_t)held);

    write_unlock(self);
    return got < 0 ? NULL : PyLong_FromSsize_t(got);
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
    PageRequest *request = lock_empty(self, false, pages, channel);

    if (!request ||
        !check_previous(self, state, previous, first_page, pages)) {
        if (request) {
            write_unlock(self);
        }
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
    write_unlock(self);
    Py_RETURN_NONE;
}
