/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Library: a codec bound to a shared library, or to Python objects. */

/* A codec written in Python; user of its CodecLibrary. */
typedef struct PythonCodec {
    PyObject *factory;   /* (level) -> object with compress and decompress */
    PyObject *exception; /* the first that one of its methods raised */
} PythonCodec;

typedef struct LibraryObject {
    PyObject_HEAD
    CodecLibrary *library;
    PyObject *path; /* str */
    CodecOps ops; /* of a Python codec; its texts are these two's */
    PyObject *name_text, *provider_text;
    PythonCodec python;
} LibraryObject;

/* --- A codec in Python: all functions run on workers without the GIL -------- */

typedef struct PythonContext {
    PythonCodec *codec;
    PyObject *object; /* what the factory made */
} PythonContext;

static int python_codec_failed(PythonCodec *codec, CodecError *error)
{
    PyObject *exception = take_exception();
    PyObject *text = PyObject_Str(exception);
    const char *message = text ? PyUnicode_AsUTF8(text) : NULL;

    codec_fail(error, "%s: %s", Py_TYPE(exception)->tp_name,
               message ? message : "?");
    Py_XDECREF(text);
    PyErr_Clear();
    if (codec->exception) {
        Py_DECREF(exception);
    } else {
        codec->exception = exception;
    }
    return -1;
}

static int python_codec_describe(CodecLibrary *library, CodecError *error)
{
    (void)error;
    library->level_min = INT_MIN;
    library->level_max = INT_MAX;
    return 0;
}

/* Outputs larger than this count as pages that do not shrink. */
static size_t python_codec_bound(const CodecLibrary *library, size_t size)
{
    (void)library;
    return size;
}

static void *python_context_new(const CodecLibrary *library, int level,
                                bool streaming)
{
    PythonContext *context = calloc(1, sizeof(*context));

    (void)streaming;
    if (!context) {
        return NULL;
    }
    context->codec = library->user;
    python_enter();
    context->object =
        PyObject_CallFunction(context->codec->factory, "i", level);
    if (!context->object) {
        CodecError ignored;

        python_codec_failed(context->codec, &ignored);
        free(context);
        context = NULL;
    }
    python_leave();
    return context;
}

static void *python_decompressor_new(const CodecLibrary *library,
                                     bool streaming)
{
    return python_context_new(library, library->ops->level_default, streaming);
}

static void python_context_free(void *opaque)
{
    PythonContext *context = opaque;

    if (context) {
        python_enter();
        Py_DECREF(context->object);
        python_leave();
        free(context);
    }
}

/* Calls object.method(from, extra...) and copies the bytes it returns; the
 * size, or -1 with an exception. */
static ptrdiff_t python_transform(const PythonContext *context,
                                  const char *method, void *to, size_t room,
                                  const void *from, size_t size,
                                  PyObject *extra)
{
    /* A copy: slices of a view cannot be released, and whoever keeps one must
     * not read the request's memory later. */
    PyObject *copy = PyBytes_FromStringAndSize(from, (Py_ssize_t)size);
    PyObject *view = copy ? PyMemoryView_FromObject(copy) : NULL;
    PyObject *name = PyUnicode_FromString(method);
    PyObject *result = NULL;
    Py_buffer bytes;
    ptrdiff_t written = -1;

    if (view && name) {
        result = PyObject_CallMethodObjArgs(context->object, name, view, extra,
                                            NULL);
    }
    if (result && !PyObject_GetBuffer(result, &bytes, PyBUF_SIMPLE)) {
        written = bytes.len;
        if ((size_t)written <= room) {
            memcpy(to, bytes.buf, (size_t)written);
        }
        PyBuffer_Release(&bytes);
    }
    Py_XDECREF(result);
    Py_XDECREF(name);
    Py_XDECREF(view);
    Py_XDECREF(copy);
    return written;
}

static ptrdiff_t python_codec_compress(void *opaque, void *to, size_t room,
                                       const void *from, size_t size,
                                       CodecError *error)
{
    const PythonContext *context = opaque;
    ptrdiff_t written;

    python_enter();
    written =
        python_transform(context, "compress", to, room, from, size, NULL);
    if (written < 0) {
        python_codec_failed(context->codec, error);
    }
    python_leave();
    return written;
}

static int python_codec_decompress(void *opaque, void *to, size_t size,
                                   const void *from, size_t from_size,
                                   CodecError *error)
{
    const PythonContext *context = opaque;
    ptrdiff_t written = -1;
    PyObject *expected;

    python_enter();
    expected = PyLong_FromSize_t(size);
    if (expected) {
        written = python_transform(context, "decompress", to, size, from,
                                   from_size, expected);
        Py_DECREF(expected);
    }
    if (written < 0) {
        python_codec_failed(context->codec, error);
    } else if ((size_t)written != size) {
        codec_fail(error, "%zd bytes where %zu were expected", written, size);
        written = -1;
    }
    python_leave();
    return written < 0 ? -1 : 0;
}

static const CodecOps python_codec = {
    .provider = "python",
    .level_default = 1,
    .describe = python_codec_describe,
    .bound = python_codec_bound,
    .compressor_new = python_context_new,
    .compressor_free = python_context_free,
    .compress = python_codec_compress,
    .decompressor_new = python_decompressor_new,
    .decompressor_free = python_context_free,
    .decompress = python_codec_decompress,
};

static bool is_python_codec(const LibraryObject *library)
{
    return library->python.factory;
}

/* --- The type --------------------------------------------------------------- */

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
