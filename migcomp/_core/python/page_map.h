/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PageMap: where an image's pages lie in buffers. */

typedef struct PageMapObject {
    PyObject_HEAD
    PageMap map;
    Py_buffer *buffers;
    size_t buffers_nr; /* held */
} PageMapObject;

static void page_map_dealloc(PyObject *object)
{
    PageMapObject *self = (PageMapObject *)object;

    PyMem_Free(self->map.extents);
    while (self->buffers_nr) {
        PyBuffer_Release(&self->buffers[--self->buffers_nr]);
    }
    PyMem_Free(self->buffers);
    free_object(object);
}

/* One buffer, or a tuple of them. */
static int hold_buffers(PageMapObject *self, PyObject *given)
{
    bool many = PyTuple_Check(given);
    Py_ssize_t count = many ? PyTuple_GET_SIZE(given) : 1;

    self->buffers = PyMem_Calloc((size_t)count + 1, sizeof(Py_buffer));
    if (!self->buffers) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *buffer = many ? PyTuple_GET_ITEM(given, i) : given;

        if (PyObject_GetBuffer(buffer, &self->buffers[i], PyBUF_SIMPLE)) {
            return -1;
        }
        self->buffers_nr++;
    }
    return 0;
}

/* Extents are (first page, pages, offset in the buffer, number of the buffer),
 * by first page; without a number it is the first buffer. */
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
        uint64_t first, pages, offset, size, stop, number = 0;
        PyObject *item = PyTuple_GET_ITEM(tuple, i);

        if (!PyTuple_Check(item)) {
            PyErr_SetString(PyExc_TypeError, "an extent must be a tuple");
            return -1;
        }
        if (!PyArg_ParseTuple(item, "O&O&O&|O&", to_uint64, &first, to_uint64,
                              &pages, to_uint64, &offset, to_uint64,
                              &number)) {
            return -1;
        }
        if (first < end || number >= self->buffers_nr ||
            __builtin_mul_overflow(pages, self->map.page_size, &size) ||
            __builtin_add_overflow(offset, size, &stop) ||
            stop > (uint64_t)self->buffers[number].len ||
            __builtin_add_overflow(first, pages, &end)) {
            PyErr_SetString(PyExc_ValueError,
                            "extents overlap or exceed their buffer");
            return -1;
        }
        *extent = (PageExtent){
            .first_page = first,
            .pages = pages,
            .start = (const uint8_t *)self->buffers[number].buf + offset,
        };
        self->map.extents_nr++;
    }
    return 0;
}

static PyObject *page_map_new(PyTypeObject *type, PyObject *args,
                              PyObject *keywords)
{
    static char *names[] = {"buffer", "extents", "page_size", "mapped", NULL};
    PyObject *buffer, *extents;
    uint32_t page_size;
    int mapped;
    PageMapObject *self;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OO!O&p:PageMap", names,
                                     &buffer, &PyList_Type, &extents,
                                     to_uint32, &page_size, &mapped) ||
        check_page_size(page_size)) {
        return NULL;
    }
    self = (PageMapObject *)type->tp_alloc(type, 0);
    if (!self) {
        return NULL;
    }
    self->map.page_size = page_size;
    self->map.mapped = mapped;
    int failed = mapped ? guard_install() : 0;

    if (failed) {
        errno = -failed;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    /* A copy, because reading numbers may run code that changes the list. */
    PyObject *copy = failed ? NULL : PyList_AsTuple(extents);

    if (!copy || hold_buffers(self, buffer) || read_extents(self, copy)) {
        Py_CLEAR(self);
    }
    Py_XDECREF(copy);
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

/* read(first_page, pages) -> bytes */
static PyObject *page_map_read(PyObject *object, PyObject *args)
{
    const PageMap *map = &((PageMapObject *)object)->map;
    uint64_t first;
    uint32_t pages;
    int failed;

    if (!PyArg_ParseTuple(args, "O&O&:read", to_uint64, &first, to_uint32,
                          &pages)) {
        return NULL;
    }
    if (pages > REQUEST_BYTES_MAX / map->page_size) {
        return PyErr_Format(PyExc_ValueError, "at most %u KiB at once",
                            REQUEST_BYTES_MAX >> 10);
    }
    PyObject *bytes = PyBytes_FromStringAndSize(
        NULL, (Py_ssize_t)((size_t)pages * map->page_size));

    if (!bytes) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    failed = page_map_copy(map, first, pages,
                           (uint8_t *)PyBytes_AS_STRING(bytes));
    Py_END_ALLOW_THREADS
    if (failed) {
        Py_DECREF(bytes);
        errno = -failed;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return bytes;
}

static PyMethodDef page_map_methods[] = {
    {"run", page_map_run_of, METH_VARARGS, NULL},
    {"read", page_map_read, METH_VARARGS, NULL},
    {0},
};

static PyType_Slot page_map_slots[] = {
    {Py_tp_new, page_map_new},
    {Py_tp_dealloc, page_map_dealloc},
    {Py_tp_methods, page_map_methods},
    {0, NULL},
};

static PyType_Spec page_map_spec = {
    .name = "migcomp._core.PageMap",
    .basicsize = sizeof(PageMapObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = page_map_slots,
};
