/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* BenchJob, BenchWorker and BenchTally: bench.h for Python. */

typedef struct BenchJobObject {
    PyObject_HEAD
    BenchJob job;
    Py_buffer memory; /* obj is NULL when there is none */
    LibraryObject *library;
} BenchJobObject;

/* Lets signals through; what a handler raises stays raised. */
static bool bench_signals(void *opaque)
{
    PyThreadState **state = opaque;
    bool raised;

    PyEval_RestoreThread(*state);
    raised = PyErr_CheckSignals();
    *state = PyEval_SaveThread();
    return raised;
}

/* --- BenchJob ------------------------------------------------------------------ */

static void bench_job_dealloc(PyObject *object)
{
    BenchJobObject *self = (BenchJobObject *)object;

    bench_job_end(&self->job);
    PyBuffer_Release(&self->memory);
    Py_CLEAR(self->library);
    free_object(object);
}

/* Fills in what a codec needs; -1 with an exception. */
static int bench_job_use_codec(BenchJobObject *self, PyObject *memory,
                               PyObject *library, int level,
                               uint64_t request_size)
{
    BenchJob *job = &self->job;

    self->library = (LibraryObject *)Py_NewRef(library);
    if (PyObject_GetBuffer(memory, &self->memory, PyBUF_SIMPLE)) {
        return -1;
    }
    if (!self->memory.len || !request_size ||
        request_size > REQUEST_BYTES_MAX) {
        PyErr_Format(PyExc_ValueError,
                     "memory must not be empty, and requests hold 1 byte to "
                     "%u KiB",
                     REQUEST_BYTES_MAX >> 10);
        return -1;
    }
    if (is_python_codec(self->library) ||
        !self->library->library->ops->compress) {
        PyErr_SetString(PyExc_ValueError,
                        "only a native codec that compresses can be driven");
        return -1;
    }
    job->work = BENCH_CODEC;
    job->memory = self->memory.buf;
    job->memory_size = (size_t)self->memory.len;
    job->request_size = request_size;
    job->requests = (job->memory_size + request_size - 1) / request_size;
    job->library = self->library->library;
    job->level = level;
    return 0;
}

static int bench_job_start(BenchJobObject *self, ModuleState *state)
{
    PyThreadState *thread = PyEval_SaveThread();
    const BenchStop stop = {bench_signals, &thread};
    CodecError error = {""};
    int failed = bench_job_begin(&self->job, &stop, &error);

    PyEval_RestoreThread(thread);
    if (failed == -ENOMEM) {
        PyErr_NoMemory();
    } else if (failed == -EIO) {
        PyObject *reason = text_of(error.text);

        PyErr_SetObject(state->codec_unavailable, reason);
        Py_XDECREF(reason);
    }
    return failed;
}

static PyObject *bench_job_new(PyTypeObject *type, PyObject *args,
                               PyObject *keywords)
{
    static char *names[] = {"requests", "cost_ns",      "memory", "library",
                            "level",    "request_size", NULL};
    ModuleState *state = PyType_GetModuleState(type);
    uint64_t requests = 0, cost_ns = 0, request_size = 0;
    PyObject *memory = NULL, *library = NULL;
    int level = 0;

    if (!PyArg_ParseTupleAndKeywords(
            args, keywords, "|$O&O&OO!iO&", names, to_uint64, &requests,
            to_uint64, &cost_ns, &memory, state->library_type, &library,
            &level, to_uint64, &request_size)) {
        return NULL;
    }
    if (!memory != !library || !requests != !!memory) {
        PyErr_SetString(PyExc_ValueError,
                        "either a number of requests is given, or memory and "
                        "a library");
        return NULL;
    }
    BenchJobObject *self = (BenchJobObject *)type->tp_alloc(type, 0);

    if (!self) {
        return NULL;
    }
    self->job.requests = requests;
    self->job.work = cost_ns ? BENCH_FIXED : BENCH_EMPTY;
    if (cost_ns) {
        self->job.turns = bench_turns(cost_ns);
        self->job.slowest_ns = cost_ns;
    }
    if ((memory &&
         bench_job_use_codec(self, memory, library, level, request_size)) ||
        bench_job_start(self, state)) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static const BenchDesign *find_design(const char *name)
{
    for (const BenchDesign *const *design = bench_designs; *design; design++) {
        if (!strcmp((*design)->name, name)) {
            return *design;
        }
    }
    PyErr_Format(PyExc_ValueError, "no design '%s'", name);
    return NULL;
}

/* None where count is NULL. */
static PyObject *bench_count(void *count)
{
    return count ? PyLong_FromUnsignedLongLong(*(uint64_t *)count)
                 : Py_NewRef(Py_None);
}

static PyObject *bench_job_round(PyObject *object, PyObject *args)
{
    const BenchJob *job = &((BenchJobObject *)object)->job;
    const BenchDesign *design;
    const char *name;
    uint32_t threads, requests;
    uint64_t idle_ns;
    BenchRound round;

    if (!PyArg_ParseTuple(args, "sO&O&O&:round", &name, to_uint32, &threads,
                          to_uint32, &requests, to_uint64, &idle_ns) ||
        !(design = find_design(name))) {
        return NULL;
    }
    if (!threads || threads > MAX_THREADS_NR || !requests ||
        requests > MAX_THREAD_REQUEST_NR || idle_ns > 1000000000) {
        PyErr_SetString(PyExc_ValueError,
                        "threads, requests or idle_ns is out of range");
        return NULL;
    }
    PyThreadState *thread = PyEval_SaveThread();
    const BenchStop stop = {bench_signals, &thread};
    int failed = bench_round(design, job, threads, requests, (int64_t)idle_ns,
                             &stop, &round);

    PyEval_RestoreThread(thread);
    if (failed) {
        if (failed != -EINTR) {
            errno = -failed;
            PyErr_SetFromErrno(PyExc_OSError);
        }
        return NULL;
    }
    return Py_BuildValue(
        "{sLsLsLsLsLsKsKsKsO&sO&sKsKsK}", "wall_ns", (long long)round.wall_ns,
        "submitter_cpu_ns", (long long)round.submitter_cpu_ns, "cpu_ns",
        (long long)round.cpu_ns, "idle_ns", (long long)round.idle_ns,
        "idle_cpu_ns", (long long)round.idle_cpu_ns, "busy",
        (unsigned long long)round.busy, "worker_wakeups",
        (unsigned long long)round.counters.worker_wakeups,
        "submitter_wakeups",
        (unsigned long long)round.counters.submitter_wakeups, "worker_spins",
        bench_count, design->polls ? &round.counters.worker_spins : NULL,
        "submitter_spins", bench_count,
        design->polls ? &round.counters.submitter_spins : NULL, "lost",
        (unsigned long long)round.lost, "repeated",
        (unsigned long long)round.repeated, "wrong",
        (unsigned long long)round.wrong);
}

static PyObject *bench_job_patience_ns(PyObject *object, PyObject *number)
{
    uint32_t threads;

    return to_uint32(number, &threads)
               ? PyLong_FromLongLong(bench_patience_ns(
                     &((BenchJobObject *)object)->job, threads))
               : NULL;
}

static PyObject *bench_job_get(PyObject *object, void *which)
{
    const BenchJob *job = &((BenchJobObject *)object)->job;

    return PyLong_FromUnsignedLongLong(which ? job->bytes_out : job->requests);
}

static PyMethodDef bench_job_methods[] = {
    {"patience_ns", bench_job_patience_ns, METH_O, NULL},
    {"round", bench_job_round, METH_VARARGS, NULL},
    {0},
};

static PyGetSetDef bench_job_getset[] = {
    {"requests", bench_job_get, NULL, NULL, (void *)0},
    {"bytes_out", bench_job_get, NULL, NULL, (void *)1},
    {0},
};

static PyType_Slot bench_job_slots[] = {
    {Py_tp_new, bench_job_new},
    {Py_tp_dealloc, bench_job_dealloc},
    {Py_tp_methods, bench_job_methods},
    {Py_tp_getset, bench_job_getset},
    {0, NULL},
};

static PyType_Spec bench_job_spec = {
    .name = "migcomp._core.BenchJob",
    .basicsize = sizeof(BenchJobObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = bench_job_slots,
};

/* --- BenchWorker: one thread's, of a design in Python ---------------------------- */

typedef struct BenchWorkerObject {
    PyObject_HEAD
    BenchJobObject *job;
    BenchWorker worker;
    SignalWord serving; /* locked by the thread that serves */
} BenchWorkerObject;

static void bench_worker_dealloc(PyObject *object)
{
    BenchWorkerObject *self = (BenchWorkerObject *)object;

    bench_worker_uninit(&self->worker);
    Py_CLEAR(self->job);
    free_object(object);
}

static PyObject *bench_worker_new(PyTypeObject *type, PyObject *args,
                                  PyObject *keywords)
{
    static char *names[] = {"job", NULL};
    ModuleState *state = PyType_GetModuleState(type);
    PyObject *job;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!", names,
                                     state->bench_job_type, &job)) {
        return NULL;
    }
    BenchWorkerObject *self = (BenchWorkerObject *)type->tp_alloc(type, 0);

    if (!self) {
        return NULL;
    }
    self->job = (BenchJobObject *)Py_NewRef(job);
    if (bench_worker_init(&self->worker, &self->job->job)) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static PyObject *bench_worker_serve(PyObject *object, PyObject *number)
{
    BenchWorkerObject *self = (BenchWorkerObject *)object;
    const BenchJob *job = &self->job->job;
    uint64_t index, digest;

    if (!to_uint64(number, &index)) {
        return NULL;
    }
    if (index >= job->requests) {
        return PyErr_Format(PyExc_ValueError, "there is no request %S", number);
    }
    if (!signal_try_lock(&self->serving)) {
        PyErr_SetString(PyExc_ValueError, "another thread has this worker");
        return NULL;
    }
    if (job->work == BENCH_EMPTY) {
        digest = bench_serve(&self->worker, index);
    } else {
        Py_BEGIN_ALLOW_THREADS
        digest = bench_serve(&self->worker, index);
        Py_END_ALLOW_THREADS
    }
    signal_unlock(&self->serving);
    return PyLong_FromUnsignedLongLong(digest);
}

static PyMethodDef bench_worker_methods[] = {
    {"serve", bench_worker_serve, METH_O, NULL},
    {0},
};

static PyType_Slot bench_worker_slots[] = {
    {Py_tp_new, bench_worker_new},
    {Py_tp_dealloc, bench_worker_dealloc},
    {Py_tp_methods, bench_worker_methods},
    {0, NULL},
};

static PyType_Spec bench_worker_spec = {
    .name = "migcomp._core.BenchWorker",
    .basicsize = sizeof(BenchWorkerObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = bench_worker_slots,
};
