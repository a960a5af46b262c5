/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Library: a codec bound to a shared library, or to Python objects. */

static int library_traverse(PyObject *object, visitproc visit, void *arg)
{
    LibraryObject *self = (LibraryObject *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->python.factory);
    Py_VISIT(self->python.exception);
    return 0;
}

static int library_clear(PyObject *object)
{
    LibraryObject *self = (LibraryObject *)object;

    Py_CLEAR(self->python.exception);
    return 0;
}

static void library_dealloc(PyObject *object)
{
    LibraryObject *self = (LibraryObject *)object;

    PyObject_GC_UnTrack(object);
    library_clear(object);
    codec_library_close(self->library);
    Py_CLEAR(self->python.factory);
    Py_CLEAR(self->name_text);
    Py_CLEAR(self->provider_text);
    Py_CLEAR(self->path);
    free_object(object);
}

static PyObject *library_get(PyObject *object, void *which)
{
    LibraryObject *self = (LibraryObject *)object;
    const CodecLibrary *library = self->library;

    switch ((intptr_t)which) {
    case 0:
        return PyUnicode_FromString(library->ops->name);
    case 1:
        return PyUnicode_FromString(library->ops->provider);
    case 2:
        return PyUnicode_FromString(library->version);
    case 3:
        return Py_NewRef(self->path);
    case 4:
        return PyLong_FromLong(library->level_min);
    case 5:
        return PyLong_FromLong(library->level_max);
    case 6:
        return PyLong_FromLong(library->ops->level_default);
    case 7:
        return PyBool_FromLong(library->ops->streaming);
    default:
        return PyLong_FromUnsignedLong(library->version_number);
    }
}

static PyGetSetDef library_getset[] = {
    {"codec", library_get, NULL, NULL, (void *)0},
    {"provider", library_get, NULL, NULL, (void *)1},
    {"version", library_get, NULL, NULL, (void *)2},
    {"path", library_get, NULL, NULL, (void *)3},
    {"level_min", library_get, NULL, NULL, (void *)4},
    {"level_max", library_get, NULL, NULL, (void *)5},
    {"level_default", library_get, NULL, NULL, (void *)6},
    {"streaming", library_get, NULL, NULL, (void *)7},
    {"version_number", library_get, NULL, NULL, (void *)8},
    {0},
};

static PyType_Slot library_slots[] = {
    {Py_tp_dealloc, library_dealloc},
    {Py_tp_traverse, library_traverse},
    {Py_tp_clear, library_clear},
    {Py_tp_getset, library_getset},
    {0, NULL},
};

static PyType_Spec library_spec = {
    .name = "migcomp._core.Library",
    .basicsize = sizeof(LibraryObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = library_slots,
};

static LibraryObject *library_object(ModuleState *state, PyObject *path)
{
    LibraryObject *self = (LibraryObject *)state->library_type->tp_alloc(
        state->library_type, 0);

    if (self) {
        self->path = Py_NewRef(path);
    }
    return self;
}

static PyObject *core_bind(PyObject *module, PyObject *args)
{
    ModuleState *state = PyModule_GetState(module);
    const char *provider;
    CodecError error = {""};
    PyObject *path_text, *path;

    if (!PyArg_ParseTuple(args, "sU:bind", &provider, &path_text) ||
        !PyUnicode_FSConverter(path_text, &path)) {
        return NULL;
    }
    for (const CodecOps *const *ops = codec_all; *ops; ops++) {
        if (strcmp((*ops)->provider, provider)) {
            continue;
        }
        LibraryObject *self = library_object(state, path_text);

        if (!self) {
            Py_DECREF(path);
            return NULL;
        }
        self->library =
            codec_library_open(*ops, PyBytes_AS_STRING(path), &error);
        Py_DECREF(path);
        if (!self->library) {
            PyObject *reason = text_of(error.text);

            Py_DECREF(self);
            PyErr_SetObject(state->codec_unavailable, reason);
            Py_XDECREF(reason);
            return NULL;
        }
        return (PyObject *)self;
    }
    Py_DECREF(path);
    return PyErr_Format(PyExc_ValueError, "no codec provider '%s'", provider);
}

static PyObject *core_python_library(PyObject *module, PyObject *args)
{
    ModuleState *state = PyModule_GetState(module);
    PyObject *name, *provider, *path, *factory;
    const char *version;
    CodecError error;

    if (!PyArg_ParseTuple(args, "UUsUO:python_library", &name, &provider,
                          &version, &path, &factory)) {
        return NULL;
    }
    LibraryObject *self = library_object(state, path);

    if (!self) {
        return NULL;
    }
    self->name_text = Py_NewRef(name);
    self->provider_text = Py_NewRef(provider);
    self->python.factory = Py_NewRef(factory);
    self->ops = python_codec;
    self->ops.name = PyUnicode_AsUTF8(name);
    self->ops.provider = PyUnicode_AsUTF8(provider);
    self->library = codec_library_open(&self->ops, "", &error);
    if (!self->ops.name || !self->ops.provider || !self->library) {
        Py_DECREF(self);
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    }
    self->library->user = &self->python;
    snprintf(self->library->version, sizeof(self->library->version), "%s",
             version);
    return (PyObject *)self;
}
