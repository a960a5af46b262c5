/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PageMap, DedupTable and Xxh64: an image's pages in memory, and hashes. */

/* --- PageMap ------------------------------------------------------------------ */

typedef struct PageMapObject {
    PyObject_HEAD
    PageMap map;
    Py_buffer buffer;
} PageMapObject;

static void page_map_dealloc(PyObject *object)
{
    PageMapObject *self = (PageMapObject *)object;

    PyMem_Free(self->map.extents);
    PyBuffer_Release(&self->buffer);
    free_object(object);
}

/* Extents are (first page, pages, offset in the buffer), by first page. */
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
        uint64_t first, pages, offset, size, stop;
        PyObject *item = PyTuple_GET_ITEM(tuple, i);

        if (!PyTuple_Check(item)) {
            PyErr_SetString(PyExc_TypeError, "an extent must be a tuple");
            return -1;
        }
        if (!PyArg_ParseTuple(item, "O&O&O&", to_uint64, &first, to_uint64,
                              &pages, to_uint64, &offset)) {
            return -1;
        }
        if (first < end ||
            __builtin_mul_overflow(pages, self->map.page_size, &size) ||
            __builtin_add_overflow(offset, size, &stop) ||
            stop > (uint64_t)self->buffer.len ||
            __builtin_add_overflow(first, pages, &end)) {
            PyErr_SetString(PyExc_ValueError,
                            "extents overlap or exceed the buffer");
            return -1;
        }
        *extent = (PageExtent){
            .first_page = first,
            .pages = pages,
            .start = (const uint8_t *)self->buffer.buf + offset,
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

    if (!copy || PyObject_GetBuffer(buffer, &self->buffer, PyBUF_SIMPLE) ||
        read_extents(self, copy)) {
        Py_CLEAR(self);
    }
    Py_XDECREF(copy);
    return (PyObject *)self;
}

static PyType_Slot page_map_slots[] = {
    {Py_tp_new, page_map_new},
    {Py_tp_dealloc, page_map_dealloc},
    {0, NULL},
};

static PyType_Spec page_map_spec = {
    .name = "migcomp._core.PageMap",
    .basicsize = sizeof(PageMapObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = page_map_slots,
};

/* --- Xxh64 ------------------------------------------------------------------ */

typedef struct Xxh64Object {
    PyObject_HEAD
    Xxh64 state;
} Xxh64Object;

static PyObject *xxh64_new(PyTypeObject *type, PyObject *args,
                           PyObject *keywords)
{
    Xxh64Object *self;

    (void)keywords;
    if (!PyArg_ParseTuple(args, ":Xxh64")) {
        return NULL;
    }
    self = (Xxh64Object *)type->tp_alloc(type, 0);
    if (self) {
        xxh64_init(&self->state, 0);
    }
    return (PyObject *)self;
}

static PyObject *xxh64_update_buffer(PyObject *object, PyObject *data)
{
    Xxh64Object *self = (Xxh64Object *)object;
    Py_buffer buffer;

    if (PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)) {
        return NULL;
    }
    Py_BEGIN_CRITICAL_SECTION(object);
    xxh64_update(&self->state, buffer.buf, (size_t)buffer.len);
    Py_END_CRITICAL_SECTION();
    PyBuffer_Release(&buffer);
    Py_RETURN_NONE;
}

static PyObject *xxh64_digest(PyObject *object, PyObject *unused)
{
    uint64_t digest;

    (void)unused;
    Py_BEGIN_CRITICAL_SECTION(object);
    digest = xxh64_final(&((Xxh64Object *)object)->state);
    Py_END_CRITICAL_SECTION();
    return PyLong_FromUnsignedLongLong(digest);
}

static PyMethodDef xxh64_methods[] = {
    {"update", xxh64_update_buffer, METH_O, NULL},
    {"intdigest", xxh64_digest, METH_NOARGS, NULL},
    {0},
};

static PyType_Slot xxh64_slots[] = {
    {Py_tp_new, xxh64_new},
    {Py_tp_dealloc, free_object},
    {Py_tp_methods, xxh64_methods},
    {0, NULL},
};

static PyType_Spec xxh64_spec = {
    .name = "migcomp._core.Xxh64",
    .basicsize = sizeof(Xxh64Object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = xxh64_slots,
};

static PyObject *core_xxh64(PyObject *module, PyObject *data)
{
    Py_buffer buffer;
    uint64_t digest;

    (void)module;
    if (PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)) {
        return NULL;
    }
    digest = xxh64(buffer.buf, (size_t)buffer.len, 0);
    PyBuffer_Release(&buffer);
    return PyLong_FromUnsignedLongLong(digest);
}
