/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* DedupTable: which pages of an image equal an earlier one. */

typedef struct DedupObject {
    PyObject_HEAD
    DedupTable *table;
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

/* resolve(request, page_map) */
static PyObject *dedup_object_resolve(PyObject *object, PyObject *args)
{
    ModuleState *state = state_of(object);
    PyObject *request, *map;
    int failed;

    if (!state || !PyArg_ParseTuple(args, "O!O!:resolve",
                                    state->page_request_type, &request,
                                    state->page_map_type, &map)) {
        return NULL;
    }
    BoundRequest *bound = live((RequestObject *)request);

    if (!bound) {
        return NULL;
    }
    if (!bound->page.input) {
        Py_RETURN_NONE;
    }
    Py_BEGIN_CRITICAL_SECTION(object);
    Py_BEGIN_ALLOW_THREADS
    failed = dedup_resolve(((DedupObject *)object)->table,
                           &((PageMapObject *)map)->map, &bound->page);
    Py_END_ALLOW_THREADS
    Py_END_CRITICAL_SECTION();
    if (failed) {
        PyObject *raised = PyObject_CallFunction(
            state->page_error, "KsO",
            (unsigned long long)bound->page.first_page,
            "the image became shorter while it was read", Py_True);

        if (raised) {
            raise_exception(raised);
            Py_DECREF(raised);
        }
        return NULL;
    }
    Py_RETURN_NONE;
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
