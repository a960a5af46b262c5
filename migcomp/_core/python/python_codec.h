/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A codec in Python, as a Library has it. */

/* A codec written in Python; user of its CodecLibrary. */
typedef struct PythonCodec {
    PyObject *factory;   /* (level) -> object with compress and decompress */
    PyObject *exception; /* the first that one of its methods raised; written in
                          * the library's critical section */
} PythonCodec;

typedef struct LibraryObject {
    PyObject_HEAD
    CodecLibrary *library;
    PyObject *path; /* str */
    CodecOps ops; /* of a Python codec; its texts are these two's */
    PyObject *name_text, *provider_text;
    PythonCodec python;
} LibraryObject;

static inline PyObject *library_of(PythonCodec *codec)
{
    return (PyObject *)((char *)codec - offsetof(LibraryObject, python));
}

/* --- A codec in Python: all functions run on workers without the GIL -------- */

typedef struct PythonContext {
    PythonCodec *codec;
    PyObject *object; /* what the factory made */
} PythonContext;

/* Those of several workers may fail at once; the first one's is kept. */
static void keep_codec_exception(PythonCodec *codec, PyObject *exception)
{
    PyObject *unused = exception;

    Py_BEGIN_CRITICAL_SECTION(library_of(codec));
    if (!codec->exception) {
        codec->exception = exception;
        unused = NULL;
    }
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(unused);
}

static void forget_codec_exception(PythonCodec *codec)
{
    PyObject *exception;

    Py_BEGIN_CRITICAL_SECTION(library_of(codec));
    exception = codec->exception;
    codec->exception = NULL;
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(exception);
}

/* A new reference, or NULL. */
static PyObject *codec_exception(PythonCodec *codec)
{
    PyObject *exception;

    Py_BEGIN_CRITICAL_SECTION(library_of(codec));
    exception = Py_XNewRef(codec->exception);
    Py_END_CRITICAL_SECTION();
    return exception;
}

static int python_codec_failed(PythonCodec *codec, CodecError *error)
{
    PyObject *exception = take_exception();
    PyObject *text = PyObject_Str(exception);
    const char *message = text ? PyUnicode_AsUTF8(text) : NULL;

    codec_fail(error, "%s: %s", Py_TYPE(exception)->tp_name,
               message ? message : "?");
    Py_XDECREF(text);
    PyErr_Clear();
    keep_codec_exception(codec, exception);
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
