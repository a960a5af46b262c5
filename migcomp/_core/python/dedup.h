/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* DedupTable: which pages of an image equal an earlier one. */

typedef struct DedupObject {
    PyObject_HEAD
    DedupTable *table;
    SignalWord entered; /* locked by the thread inside resolve */
} DedupObject;

static PyObject *dedup_object_new(PyTypeObject *type, PyObject *args,
                                  PyObject *keywords)
{
    DedupObject *self;

    (void)keywords;
    if (!PyArg_ParseTuple(args, ":DedupTable")) {
        return NULL;
    }
    self = (DedupObject *)type->tp_alloc(type, 0);
    if (self) {
        self->table = dedup_new();
        if (!self->table) {
            Py_DECREF(self);
            return PyErr_NoMemory();
        }
    }
    return (PyObject *)self;
}

static void dedup_dealloc(PyObject *object)
{
    dedup_free(((DedupObject *)object)->table);
    free_object(object);
}

/* Of a request that is the caller's; -1 with an exception. */
static int resolve_request(DedupObject *self, const ModuleState *state,
                           const PageJob *job, PageRequest *request,
                           const PageMap *map)
{
    uint64_t first_page = request->first_page;
    int failed = 0;

    if (map->page_size != job->page_size) {
        PyErr_Format(PyExc_ValueError,
                     "the map's pages have %u bytes, the handler's %u",
                     map->page_size, job->page_size);
        return -1;
    }
    if (!signal_try_lock(&self->entered)) {
        PyErr_SetString(state->workqueue_error,
                        "another thread is using the table");
        return -1;
    }
    if (request->input) {
        Py_BEGIN_ALLOW_THREADS
        failed = dedup_resolve(self->table, map, request);
        Py_END_ALLOW_THREADS
    }
    signal_unlock(&self->entered);
    if (failed) {
        raise_page_failure(state, first_page,
                           "the image became shorter while it was read");
    }
    return failed;
}

/* resolve(request, page_map) */
static PyObject *dedup_object_resolve(PyObject *object, PyObject *args)
{
    ModuleState *state = state_of(object);
    PyObject *request, *map;

    if (!state || !PyArg_ParseTuple(args, "O!O!:resolve",
                                    state->page_request_type, &request,
                                    state->page_map_type, &map)) {
        return NULL;
    }
    RequestObject *self = (RequestObject *)request;
    BoundRequest *bound = write_lock_for(self, true);

    if (!bound) {
        return NULL;
    }
    int failed =
        resolve_request((DedupObject *)object, state, self->job, &bound->page,
                        &((PageMapObject *)map)->map);

    write_unlock(self);
    return failed ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef dedup_methods[] = {
    {"resolve", dedup_object_resolve, METH_VARARGS, NULL},
    {0},
};

static PyType_Slot dedup_slots[] = {
    {Py_tp_new, dedup_object_new},
    {Py_tp_dealloc, dedup_dealloc},
    {Py_tp_methods, dedup_methods},
    {0, NULL},
};

static PyType_Spec dedup_spec = {
    .name = "migcomp._core.DedupTable",
    .basicsize = sizeof(DedupObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = dedup_slots,
};
