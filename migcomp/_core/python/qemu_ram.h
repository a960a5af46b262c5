/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QemuRam: the pages of a QEMU migration stream, found record by record. */

typedef struct QemuRamObject {
    PyObject_HEAD
    QemuRam ram;
    Py_buffer entries;
} QemuRamObject;

/* Records scanned between two looks for signals. */
enum { SCAN_STEP = 1 << 16 };

static void qemu_ram_dealloc(PyObject *object)
{
    QemuRamObject *self = (QemuRamObject *)object;

    qemu_ram_uninit(&self->ram);
    PyBuffer_Release(&self->entries);
    free_object(object);
}

/* A tuple of (name, pages); NULL with an exception. */
static QemuBlock *read_qemu_blocks(PyObject *tuple)
{
    Py_ssize_t count = PyTuple_GET_SIZE(tuple);
    QemuBlock *blocks = calloc((size_t)count + 1, sizeof(*blocks));

    if (!blocks) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_GET_ITEM(tuple, i);
        const char *name;
        Py_ssize_t size;

        if (!PyTuple_Check(item)) {
            PyErr_SetString(PyExc_TypeError, "a block must be a tuple");
            break;
        }
        if (!PyArg_ParseTuple(item, "y#O&", &name, &size, to_uint64,
                              &blocks[i].pages)) {
            break;
        }
        if (size > (Py_ssize_t)sizeof(blocks[i].name) ||
            blocks[i].pages > UINT32_MAX) {
            PyErr_SetString(PyExc_ValueError,
                            "a block's name or size is too long");
            break;
        }
        blocks[i].name_size = (uint8_t)size;
        memcpy(blocks[i].name, name, (size_t)size);
    }
    if (PyErr_Occurred()) {
        free(blocks);
        return NULL;
    }
    return blocks;
}

/* QemuRam(page_size, blocks, entries, logs) */
static PyObject *qemu_ram_new(PyTypeObject *type, PyObject *args,
                              PyObject *keywords)
{
    PyObject *tuple, *entries;
    uint32_t page_size;
    int logs;

    (void)keywords;
    if (!PyArg_ParseTuple(args, "O&O!Op:QemuRam", to_uint32, &page_size,
                          &PyTuple_Type, &tuple, &entries, &logs) ||
        check_page_size(page_size)) {
        return NULL;
    }
    if (PyTuple_GET_SIZE(tuple) > (Py_ssize_t)QEMU_BLOCKS_MAX) {
        return PyErr_Format(PyExc_ValueError, "at most %u RAM blocks",
                            QEMU_BLOCKS_MAX);
    }
    int failed = guard_install();

    if (failed) {
        errno = -failed;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    QemuBlock *blocks = read_qemu_blocks(tuple);
    QemuRamObject *self =
        blocks ? (QemuRamObject *)type->tp_alloc(type, 0) : NULL;

    if (!self) {
        free(blocks);
        return NULL;
    }
    if (qemu_ram_init(&self->ram, page_size, blocks,
                      (unsigned)PyTuple_GET_SIZE(tuple))) {
        self->ram = (QemuRam){0};
        PyErr_NoMemory();
    } else if (!PyObject_GetBuffer(entries, &self->entries,
                                   PyBUF_WRITABLE)) {
        if ((uint64_t)self->entries.len / sizeof(PageEntry) ==
            self->ram.pages) {
            self->ram.entries = self->entries.buf;
            self->ram.logs = logs;
            return (PyObject *)self;
        }
        PyErr_SetString(PyExc_ValueError, "entries has 16 bytes for a page");
    }
    Py_DECREF(self);
    return NULL;
}

/* scan(buffer, offset) -> (offset behind, whether the section ended) */
static PyObject *qemu_ram_scan_records(PyObject *object, PyObject *args)
{
    QemuRamObject *self = (QemuRamObject *)object;
    Py_buffer buffer;
    Py_ssize_t offset;
    CodecError error;
    int ended;

    if (!PyArg_ParseTuple(args, "y*n:scan", &buffer, &offset)) {
        return NULL;
    }
    if (offset < 0 || offset > buffer.len) {
        PyBuffer_Release(&buffer);
        PyErr_SetString(PyExc_ValueError, "offset exceeds the buffer");
        return NULL;
    }
    size_t at = (size_t)offset;

    Py_BEGIN_CRITICAL_SECTION(object);
    ended = qemu_ram_scan(&self->ram, buffer.buf, (size_t)buffer.len, &at,
                          SCAN_STEP, &error);
    Py_END_CRITICAL_SECTION();
    PyBuffer_Release(&buffer);
    if (ended < 0) {
        return PyErr_Format(PyExc_ValueError, "%s, at byte %zu", error.text,
                            at);
    }
    return Py_BuildValue("nN", (Py_ssize_t)at, PyBool_FromLong(ended));
}

/* map_block(block, bitmap, offset) */
static PyObject *qemu_ram_map(PyObject *object, PyObject *args)
{
    QemuRamObject *self = (QemuRamObject *)object;
    Py_buffer bitmap;
    CodecError error;
    uint64_t place;
    uint32_t block;
    int failed;

    if (!PyArg_ParseTuple(args, "O&y*O&:map_block", to_uint32, &block, &bitmap,
                          to_uint64, &place)) {
        return NULL;
    }
    if (block >= self->ram.blocks_nr) {
        PyBuffer_Release(&bitmap);
        PyErr_SetString(PyExc_ValueError, "no such block");
        return NULL;
    }
    Py_BEGIN_CRITICAL_SECTION(object);
    failed = qemu_ram_map_block(&self->ram, block, bitmap.buf,
                                (size_t)bitmap.len, place, &error);
    Py_END_CRITICAL_SECTION();
    PyBuffer_Release(&bitmap);
    if (failed) {
        PyErr_SetString(PyExc_ValueError, error.text);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *qemu_ram_deltas(PyObject *object, void *unused)
{
    const QemuRam *ram = &((QemuRamObject *)object)->ram;
    PyObject *bytes;

    (void)unused;
    Py_BEGIN_CRITICAL_SECTION(object);
    bytes = PyBytes_FromStringAndSize(
        (const char *)ram->deltas,
        (Py_ssize_t)(ram->deltas_nr * sizeof(PageDelta)));
    Py_END_CRITICAL_SECTION();
    return bytes;
}

static PyObject *qemu_ram_log(PyObject *object, void *unused)
{
    const QemuRam *ram = &((QemuRamObject *)object)->ram;
    PyObject *bytes;

    (void)unused;
    Py_BEGIN_CRITICAL_SECTION(object);
    bytes = PyBytes_FromStringAndSize(
        (const char *)ram->log,
        (Py_ssize_t)(ram->log_nr * sizeof(QemuLogged)));
    Py_END_CRITICAL_SECTION();
    return bytes;
}

static PyObject *qemu_ram_flushes(PyObject *object, void *unused)
{
    uint64_t flushes;

    (void)unused;
    Py_BEGIN_CRITICAL_SECTION(object);
    flushes = ((QemuRamObject *)object)->ram.flushes;
    Py_END_CRITICAL_SECTION();
    return PyLong_FromUnsignedLongLong(flushes);
}

static PyObject *list_rounds(const QemuRam *ram)
{
    PyObject *list = PyList_New((Py_ssize_t)ram->rounds_nr);

    for (uint32_t i = 0; list && i < ram->rounds_nr; i++) {
        const QemuRound *round = &ram->rounds[i];
        PyObject *item = Py_BuildValue(
            "(KKKK)(KKKK)", (unsigned long long)round->pages[0],
            (unsigned long long)round->pages[1],
            (unsigned long long)round->pages[2],
            (unsigned long long)round->pages[3],
            (unsigned long long)round->bytes[0],
            (unsigned long long)round->bytes[1],
            (unsigned long long)round->bytes[2],
            (unsigned long long)round->bytes[3]);

        if (!item) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
        }
    }
    return list;
}

static PyObject *qemu_ram_rounds(PyObject *object, void *unused)
{
    PyObject *list;

    (void)unused;
    Py_BEGIN_CRITICAL_SECTION(object);
    list = list_rounds(&((QemuRamObject *)object)->ram);
    Py_END_CRITICAL_SECTION();
    return list;
}

static PyMethodDef qemu_ram_methods[] = {
    {"scan", qemu_ram_scan_records, METH_VARARGS, NULL},
    {"map_block", qemu_ram_map, METH_VARARGS, NULL},
    {0},
};

static PyGetSetDef qemu_ram_getset[] = {
    {"deltas", qemu_ram_deltas, NULL, NULL, NULL},
    {"log", qemu_ram_log, NULL, NULL, NULL},
    {"flushes", qemu_ram_flushes, NULL, NULL, NULL},
    {"rounds", qemu_ram_rounds, NULL, NULL, NULL},
    {0},
};

static PyType_Slot qemu_ram_slots[] = {
    {Py_tp_new, qemu_ram_new},
    {Py_tp_dealloc, qemu_ram_dealloc},
    {Py_tp_methods, qemu_ram_methods},
    {Py_tp_getset, qemu_ram_getset},
    {0, NULL},
};

static PyType_Spec qemu_ram_spec = {
    .name = "migcomp._core.QemuRam",
    .basicsize = sizeof(QemuRamObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = qemu_ram_slots,
};
