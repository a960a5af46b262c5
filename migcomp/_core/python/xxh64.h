/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Xxh64: the hash of pages and streams, in pieces or at once. */

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
