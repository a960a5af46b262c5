/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PageMap: where an image's pages lie in buffers. */

typedef struct PageMapObject {
    PyObject_HEAD
    PageMap map;
    Py_buffer *buffers; /* of map.buffers_nr */
    Py_buffer entries, deltas, blocks, checksums;
    LibraryObject *libraries[PAGE_CODECS_MAX]; /* of the map's codecs */
} PageMapObject;

static void page_map_dealloc(PyObject *object)
{
    PageMapObject *self = (PageMapObject *)object;

    PyMem_Free(self->map.extents);
    while (self->map.buffers_nr) {
        PyBuffer_Release(&self->buffers[--self->map.buffers_nr]);
    }
    PyMem_Free(self->map.buffers);
    PyMem_Free(self->buffers);
    PyBuffer_Release(&self->entries);
    PyBuffer_Release(&self->deltas);
    PyBuffer_Release(&self->blocks);
    PyBuffer_Release(&self->checksums);
    for (unsigned i = 0; i < PAGE_CODECS_MAX; i++) {
        Py_CLEAR(self->libraries[i]);
    }
    free_object(object);
}

/* One buffer, or a tuple of them. */
static int hold_buffers(PageMapObject *self, PyObject *given)
{
    bool many = PyTuple_Check(given);
    Py_ssize_t count = many ? PyTuple_GET_SIZE(given) : 1;

    self->buffers = PyMem_Calloc((size_t)count + 1, sizeof(Py_buffer));
    self->map.buffers = PyMem_Calloc((size_t)count + 1, sizeof(PageBuffer));
    if (!self->buffers || !self->map.buffers) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *buffer = many ? PyTuple_GET_ITEM(given, i) : given;
        Py_buffer *view = &self->buffers[i];

        if (PyObject_GetBuffer(buffer, view, PyBUF_SIMPLE)) {
            return -1;
        }
        self->map.buffers[i] =
            (PageBuffer){.start = view->buf, .size = (size_t)view->len};
        self->map.buffers_nr++;
    }
    return 0;
}

/* Extents are (first page, pages, place), by first page. */
static int read_extents(PageMapObject *self, PyObject *tuple)
{
    Py_ssize_t count = PyTuple_GET_SIZE(tuple);
    uint64_t end = 0;

    self->map.extents = PyMem_Calloc((size_t)count + 1, sizeof(PageExtent));
    if (!self->map.extents) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PageExtent *extent = &self->map.extents[i];
        uint64_t first, pages, place, size;
        const uint8_t *start = NULL;
        PyObject *item = PyTuple_GET_ITEM(tuple, i);

        if (!PyTuple_Check(item)) {
            PyErr_SetString(PyExc_TypeError, "an extent must be a tuple");
            return -1;
        }
        if (!PyArg_ParseTuple(item, "O&O&O&", to_uint64, &first, to_uint64,
                              &pages, to_uint64, &place)) {
            return -1;
        }
        if (!__builtin_mul_overflow(pages, self->map.page_size, &size)) {
            start = page_map_at(&self->map, place, size);
        }
        if (first < end || (!start && pages) ||
            __builtin_add_overflow(first, pages, &end)) {
            PyErr_SetString(PyExc_ValueError,
                            "extents overlap or exceed their buffer");
            return -1;
        }
        *extent = (PageExtent){
            .first_page = first,
            .pages = pages,
            .start = start,
        };
        self->map.extents_nr++;
    }
    self->map.pages = self->map.pages > end ? self->map.pages : end;
    return 0;
}

enum { ITEM = 16 };

/* A table of items of that many bytes; None is an empty one.  Their number or
 * -1. */
static Py_ssize_t read_table(PyObject *table, Py_ssize_t item,
                             Py_buffer *buffer)
{
    _Static_assert(sizeof(PageEntry) == ITEM && sizeof(PageDelta) == ITEM &&
                       sizeof(PageBlock) == ITEM,
                   "they are written by others, too");
    if (table == Py_None) {
        return 0;
    }
    if (PyObject_GetBuffer(table, buffer, PyBUF_SIMPLE)) {
        return -1;
    }
    if (buffer->len % item || buffer->len / item > UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "a table has items of %zd bytes", item);
        return -1;
    }
    return buffer->len / item;
}

static int read_codecs(PageMapObject *self, PyObject *codecs,
                       PyTypeObject *library_type)
{
    Py_ssize_t count = PyTuple_GET_SIZE(codecs);

    if (count > (Py_ssize_t)PAGE_CODECS_MAX) {
        PyErr_Format(PyExc_ValueError, "at most %u codecs", PAGE_CODECS_MAX);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *library = PyTuple_GET_ITEM(codecs, i);

        if (!PyObject_TypeCheck(library, library_type)) {
            PyErr_SetString(PyExc_TypeError, "a codec must be a Library");
            return -1;
        }
        self->libraries[i] = (LibraryObject *)Py_NewRef(library);
        self->map.codecs[i] = self->libraries[i]->library;
        if (!self->map.codecs[i]->ops->decompress) {
            PyErr_SetString(PyExc_ValueError, "it cannot decompress");
            return -1;
        }
        self->map.codecs_nr++;
    }
    return 0;
}

static int read_tables(PageMapObject *self, PyObject *entries,
                       PyObject *deltas, PyObject *blocks, PyObject *checksums,
                       PyObject *codecs, PyTypeObject *library_type)
{
    Py_ssize_t pages = read_table(entries, ITEM, &self->entries);
    Py_ssize_t changes =
        pages < 0 ? -1 : read_table(deltas, ITEM, &self->deltas);
    Py_ssize_t count =
        changes < 0 ? -1 : read_table(blocks, ITEM, &self->blocks);
    Py_ssize_t sums =
        count < 0 ? -1
                  : read_table(checksums, (Py_ssize_t)sizeof(uint32_t),
                               &self->checksums);

    if (sums < 0 || read_codecs(self, codecs, library_type)) {
        return -1;
    }
    if (entries == Py_None) {
        return 0;
    }
    if (self->map.pages) {
        PyErr_SetString(PyExc_ValueError,
                        "entries stand for extents and pages");
        return -1;
    }
    if (checksums != Py_None && sums != count) {
        PyErr_SetString(PyExc_ValueError, "each block has a checksum");
        return -1;
    }
    self->map.entries = self->entries.buf;
    self->map.deltas = self->deltas.buf;
    self->map.deltas_nr = (uint32_t)changes;
    self->map.blocks = self->blocks.buf;
    self->map.blocks_nr = (uint32_t)count;
    self->map.checksums = self->checksums.buf;
    self->map.pages = (uint64_t)pages;
    return 0;
}

static PyObject *page_map_new(PyTypeObject *type, PyObject *args,
                              PyObject *keywords)
{
    static char *names[] = {"buffer", "extents", "page_size", "mapped",
                            "pages",  "entries", "deltas",    "blocks",
                            "codecs", "checksums", "crc32c",  NULL};
    PyObject *module = PyType_GetModuleByDef(type, &core_module);
    PyObject *buffer, *extents, *entries = Py_None, *deltas = Py_None;
    PyObject *blocks = Py_None, *codecs = NULL, *copy = NULL, *libraries = NULL;
    PyObject *checksums = Py_None;
    uint32_t page_size;
    uint64_t pages = 0;
    int mapped, crc32c_sums = 0;
    PageMapObject *self;

    if (!module ||
        !PyArg_ParseTupleAndKeywords(args, keywords, "OO!O&p|$O&OOOO!Op:PageMap",
                                     names, &buffer, &PyList_Type, &extents,
                                     to_uint32, &page_size, &mapped, to_uint64,
                                     &pages, &entries, &deltas, &blocks,
                                     &PyTuple_Type, &codecs, &checksums,
                                     &crc32c_sums) ||
        check_page_size(page_size)) {
        return NULL;
    }
    self = (PageMapObject *)type->tp_alloc(type, 0);
    if (!self) {
        return NULL;
    }
    self->map.pages = pages;
    self->map.page_size = page_size;
    self->map.mapped = mapped;
    self->map.crc32c = crc32c_sums;
    int failed = mapped ? guard_install() : 0;

    if (failed) {
        errno = -failed;
        PyErr_SetFromErrno(PyExc_OSError);
    } else {
        /* A copy, because reading numbers may run code that changes it. */
        copy = PyList_AsTuple(extents);
        libraries = codecs ? Py_NewRef(codecs) : PyTuple_New(0);
    }
    ModuleState *state = PyModule_GetState(module);

    if (!copy || !libraries || hold_buffers(self, buffer) ||
        read_extents(self, copy) ||
        read_tables(self, entries, deltas, blocks, checksums, libraries,
                    state->library_type)) {
        Py_CLEAR(self);
    }
    Py_XDECREF(copy);
    Py_XDECREF(libraries);
    return (PyObject *)self;
}

/* run(first_page, end) -> (pages like the first of them, whether a hole) */
static PyObject *page_map_run_of(PyObject *object, PyObject *args)
{
    const PageMap *map = &((PageMapObject *)object)->map;
    uint64_t first, end;
    bool hole;

    if (!PyArg_ParseTuple(args, "O&O&:run", to_uint64, &first, to_uint64,
                          &end)) {
        return NULL;
    }
    if (first >= end) {
        PyErr_SetString(PyExc_ValueError, "a run has at least one page");
        return NULL;
    }
    uint64_t pages = page_map_run(map, first, end, &hole);

    return Py_BuildValue("KN", (unsigned long long)pages,
                         PyBool_FromLong(hole));
}

/* Copies pages of a map that is not encoded; how many, which are not all where
 * error says why. */
static uint32_t copy_pages(const PageMap *map, uint64_t first, uint32_t pages,
                           char *to, CodecError *error)
{
    const PageFetcher plain = {.map = map};
    uint32_t copied = 0;

    while (copied < pages &&
           !page_fetch(&plain, first + copied,
                       (uint8_t *)to + (size_t)copied * map->page_size,
                       error)) {
        copied++;
    }
    return copied;
}

/* read(first_page, pages) -> bytes */
static PyObject *page_map_read(PyObject *object, PyObject *args)
{
    const PageMap *map = &((PageMapObject *)object)->map;
    ModuleState *state = state_of(object);
    CodecError error;
    uint64_t first;
    uint32_t pages, copied;

    if (!state || !PyArg_ParseTuple(args, "O&O&:read", to_uint64, &first,
                                    to_uint32, &pages)) {
        return NULL;
    }
    if (pages > REQUEST_BYTES_MAX / map->page_size || first >= map->pages ||
        pages > map->pages - first || page_map_encoded(map)) {
        PyErr_SetString(PyExc_ValueError,
                        "these pages cannot be read without a queue");
        return NULL;
    }
    PyObject *bytes = PyBytes_FromStringAndSize(
        NULL, (Py_ssize_t)((size_t)pages * map->page_size));

    if (!bytes) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    copied =
        copy_pages(map, first, pages, PyBytes_AS_STRING(bytes), &error);
    Py_END_ALLOW_THREADS
    if (copied < pages) {
        Py_CLEAR(bytes);
        raise_page_failure(state, first + copied, error.text);
    }
    return bytes;
}

static PyObject *page_map_get(PyObject *object, void *which)
{
    const PageMap *map = &((PageMapObject *)object)->map;

    return which ? PyBool_FromLong(page_map_encoded(map))
                 : PyLong_FromUnsignedLongLong(map->pages);
}

static PyGetSetDef page_map_getset[] = {
    {"pages", page_map_get, NULL, NULL, (void *)0},
    {"encoded", page_map_get, NULL, NULL, (void *)1},
    {0},
};

static PyMethodDef page_map_methods[] = {
    {"run", page_map_run_of, METH_VARARGS, NULL},
    {"read", page_map_read, METH_VARARGS, NULL},
    {0},
};

static PyType_Slot page_map_slots[] = {
    {Py_tp_new, page_map_new},
    {Py_tp_dealloc, page_map_dealloc},
    {Py_tp_methods, page_map_methods},
    {Py_tp_getset, page_map_getset},
    {0, NULL},
};

static PyType_Spec page_map_spec = {
    .name = "migcomp._core.PageMap",
    .basicsize = sizeof(PageMapObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = page_map_slots,
};
