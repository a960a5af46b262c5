/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* BenchTally: the check of what a design in Python gives back. */

typedef struct BenchTallyObject {
    PyObject_HEAD
    BenchJobObject *job;
    BenchTally tally;
} BenchTallyObject;

static void bench_tally_dealloc(PyObject *object)
{
    BenchTallyObject *self = (BenchTallyObject *)object;

    bench_tally_uninit(&self->tally);
    Py_CLEAR(self->job);
    free_object(object);
}

static PyObject *bench_tally_new(PyTypeObject *type, PyObject *args,
                                 PyObject *keywords)
{
    static char *names[] = {"job", "requests", NULL};
    ModuleState *state = PyType_GetModuleState(type);
    PyObject *object;
    uint64_t requests;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!O&", names,
                                     state->bench_job_type, &object,
                                     to_uint64, &requests)) {
        return NULL;
    }
    BenchJobObject *job = (BenchJobObject *)object;

    if (requests > job->job.requests) {
        PyErr_SetString(PyExc_ValueError, "the job has not as many requests");
        return NULL;
    }
    BenchTallyObject *self = (BenchTallyObject *)type->tp_alloc(type, 0);

    if (!self) {
        return NULL;
    }
    self->job = (BenchJobObject *)Py_NewRef(object);
    if (bench_tally_init(&self->tally, &job->job, requests)) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static PyObject *bench_tally_add_result(PyObject *object, PyObject *args)
{
    BenchTallyObject *self = (BenchTallyObject *)object;
    uint64_t index, digest;

    if (!PyArg_ParseTuple(args, "O&O&:add", to_uint64, &index, to_uint64,
                          &digest)) {
        return NULL;
    }
    Py_BEGIN_CRITICAL_SECTION(object);
    bench_tally_add(&self->tally, index, digest);
    Py_END_CRITICAL_SECTION();
    Py_RETURN_NONE;
}

static PyObject *bench_tally_get(PyObject *object, void *which)
{
    BenchTally tally;

    /* Another thread may be adding a result. */
    Py_BEGIN_CRITICAL_SECTION(object);
    tally = ((BenchTallyObject *)object)->tally;
    Py_END_CRITICAL_SECTION();
    switch ((intptr_t)which) {
    case 0:
        return PyLong_FromUnsignedLongLong(tally.requests - tally.good);
    case 1:
        return PyLong_FromUnsignedLongLong(tally.repeated);
    default:
        return PyLong_FromUnsignedLongLong(tally.wrong);
    }
}

static PyMethodDef bench_tally_methods[] = {
    {"add", bench_tally_add_result, METH_VARARGS, NULL},
    {0},
};

static PyGetSetDef bench_tally_getset[] = {
    {"lost", bench_tally_get, NULL, NULL, (void *)0},
    {"repeated", bench_tally_get, NULL, NULL, (void *)1},
    {"wrong", bench_tally_get, NULL, NULL, (void *)2},
    {0},
};

static PyType_Slot bench_tally_slots[] = {
    {Py_tp_new, bench_tally_new},
    {Py_tp_dealloc, bench_tally_dealloc},
    {Py_tp_methods, bench_tally_methods},
    {Py_tp_getset, bench_tally_getset},
    {0, NULL},
};

static PyType_Spec bench_tally_spec = {
    .name = "migcomp._core.BenchTally",
    .basicsize = sizeof(BenchTallyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = bench_tally_slots,
};
