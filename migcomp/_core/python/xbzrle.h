/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* XBZRLE: single deltas, XbzrleCache to send pages, xbzrle_load for them. */

/* Pages between two looks for signals. */
enum { XBZRLE_STEP = 1 << 14 };

/* --- xbzrle_encode ------------------------------------------------------------- */

/* xbzrle_encode(old, new, room) */
static PyObject *core_xbzrle_encode(PyObject *module, PyObject *args)
{
    Py_buffer old, new;
    Py_ssize_t room;
    uint8_t *to = NULL;
    PyObject *delta = NULL;

    (void)module;
    if (!PyArg_ParseTuple(args, "y*y*n:xbzrle_encode", &old, &new, &room)) {
        return NULL;
    }
    if (old.len != new.len || old.len < (Py_ssize_t)PAGE_SIZE_MIN ||
        old.len > (Py_ssize_t)PAGE_SIZE_MAX || old.len % XBZRLE_WORD) {
        PyErr_Format(PyExc_ValueError,
                     "both pages must have one size, of %u to %u bytes, a "
                     "multiple of %u",
                     PAGE_SIZE_MIN, PAGE_SIZE_MAX, XBZRLE_WORD);
    } else if (room < 0 || room > old.len) {
        PyErr_SetString(PyExc_ValueError, "room must be 0 to the page size");
    } else if (!(to = malloc((size_t)room + 1))) {
        PyErr_NoMemory();
    } else {
        int size = xbzrle_encode(xbzrle_compare_best(), old.buf, new.buf,
                                 (size_t)old.len, to, (size_t)room);

        delta = size < 0 ? Py_NewRef(Py_None)
                         : PyBytes_FromStringAndSize((char *)to, size);
    }
    free(to);
    PyBuffer_Release(&old);
    PyBuffer_Release(&new);
    return delta;
}

/* --- Batches of pages ---------------------------------------------------------- */

/* Guest memory, page i at i * page_size, and numbers of some of its pages. */
typedef struct XbzrleBatch {
    Py_buffer memory, numbers;
    uint32_t page_size;
    size_t pages;
} XbzrleBatch;

static void xbzrle_batch_release(XbzrleBatch *batch)
{
    PyBuffer_Release(&batch->memory);
    PyBuffer_Release(&batch->numbers);
}

/* memory and numbers are held already; -1 with an exception. */
static int xbzrle_batch_check(XbzrleBatch *batch, uint32_t page_size)
{
    batch->page_size = page_size;
    batch->pages = (size_t)batch->numbers.len / sizeof(uint64_t);
    if ((size_t)batch->numbers.len % sizeof(uint64_t)) {
        PyErr_SetString(PyExc_ValueError, "a page's number has 8 bytes");
        return -1;
    }
    if (batch->pages > (size_t)PY_SSIZE_T_MAX / page_size) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* Where the batch's page i lies; NULL if it is not in the memory. */
static uint8_t *xbzrle_batch_page(const XbzrleBatch *batch, size_t i,
                                  uint64_t *number)
{
    memcpy(number, (const char *)batch->numbers.buf + i * sizeof(*number),
           sizeof(*number));
    return *number < (size_t)batch->memory.len / batch->page_size
               ? (uint8_t *)batch->memory.buf + *number * batch->page_size
               : NULL;
}

/* Raises what a page's failure means. */
static void xbzrle_raise(ModuleState *state, int failed, uint64_t number,
                         const char *reason)
{
    if (failed == -ENOMEM) {
        PyErr_NoMemory();
    } else if (failed == -ERANGE) {
        PyErr_Format(PyExc_ValueError, "page %llu is not in the memory",
                     (unsigned long long)number);
    } else {
        raise_page_failure(state, number, reason);
    }
}

/* --- XbzrleCache --------------------------------------------------------------- */

typedef struct XbzrleCacheObject {
    PyObject_HEAD
    XbzrleCache cache;
    SignalWord entered; /* locked by the thread that uses the cache */
} XbzrleCacheObject;

static void xbzrle_cache_dealloc(PyObject *object)
{
    xbzrle_cache_uninit(&((XbzrleCacheObject *)object)->cache);
    free_object(object);
}

/* XbzrleCache(cache_bytes, page_size) */
static PyObject *xbzrle_cache_new(PyTypeObject *type, PyObject *args,
                                  PyObject *keywords)
{
    static char *names[] = {"cache_bytes", "page_size", NULL};
    uint64_t cache_bytes;
    uint32_t page_size;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&O&:XbzrleCache", names,
                                     to_uint64, &cache_bytes, to_uint32,
                                     &page_size) ||
        check_page_size(page_size)) {
        return NULL;
    }
    if (cache_bytes < page_size || cache_bytes & (cache_bytes - 1)) {
        PyErr_SetString(PyExc_ValueError,
                        "cache_bytes must be a power of two, and one page at "
                        "least");
        return NULL;
    }
    int failed = guard_install();

    if (failed) {
        errno = -failed;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    XbzrleCacheObject *self = (XbzrleCacheObject *)type->tp_alloc(type, 0);

    if (self && xbzrle_cache_init(&self->cache, page_size,
                                  cache_bytes / page_size)) {
        self->cache = (XbzrleCache){0};
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static int xbzrle_cache_enter(XbzrleCacheObject *self)
{
    if (!signal_try_lock(&self->entered)) {
        PyErr_SetString(PyExc_ValueError, "another thread is using the cache");
        return -1;
    }
    return 0;
}

/* Where a batch's results go, and how far they have come. */
typedef struct XbzrleSent {
    char *classes, *sizes, *payload;
    size_t payload_size;
    uint64_t cpu_ns;
} XbzrleSent;

/* Those from first up to end; 0, or a negative errno for page number. */
static int xbzrle_cache_step(XbzrleCache *cache, const XbzrleBatch *batch,
                             size_t first, size_t end, uint64_t sync_count,
                             bool last_stage, XbzrleSent *sent,
                             uint64_t *number)
{
    uint64_t start = thread_cpu_ns();

    for (size_t i = first; i < end; i++) {
        const uint8_t *content = xbzrle_batch_page(batch, i, number);
        uint32_t size;

        if (!content) {
            return -ERANGE;
        }
        int class = xbzrle_cache_save(
            cache, *number, content, sync_count, last_stage,
            (uint8_t *)sent->payload + sent->payload_size, &size);

        if (class < 0) {
            return class;
        }
        sent->classes[i] = (char)class;
        memcpy(sent->sizes + i * sizeof(size), &size, sizeof(size));
        sent->payload_size += size;
    }
    sent->cpu_ns += thread_cpu_ns() - start;
    return 0;
}

/* All of them, letting signals through; -1 with an exception. */
static int xbzrle_cache_run(XbzrleCacheObject *self, ModuleState *state,
                            const XbzrleBatch *batch, uint64_t sync_count,
                            bool last_stage, XbzrleSent *sent)
{
    for (size_t first = 0; first < batch->pages; first += XBZRLE_STEP) {
        size_t left = batch->pages - first;
        size_t end = first + (left < XBZRLE_STEP ? left : XBZRLE_STEP);
        uint64_t number = 0;
        int failed;

        Py_BEGIN_ALLOW_THREADS
        failed = xbzrle_cache_step(&self->cache, batch, first, end, sync_count,
                                   last_stage, sent, &number);
        Py_END_ALLOW_THREADS
        if (failed) {
            xbzrle_raise(state, failed, number,
                         "the memory became shorter while it was read");
            return -1;
        }
        if (PyErr_CheckSignals()) {
            return -1;
        }
    }
    return 0;
}

static PyObject *xbzrle_cache_send(XbzrleCacheObject *self, ModuleState *state,
                                   const XbzrleBatch *batch,
                                   uint64_t sync_count, bool last_stage)
{
    Py_ssize_t pages = (Py_ssize_t)batch->pages;
    PyObject *classes = PyBytes_FromStringAndSize(NULL, pages);
    PyObject *sizes = PyBytes_FromStringAndSize(
        NULL, pages * (Py_ssize_t)sizeof(uint32_t));
    PyObject *payload =
        PyBytes_FromStringAndSize(NULL, pages * (Py_ssize_t)batch->page_size);

    if (classes && sizes && payload) {
        XbzrleSent sent = {
            .classes = PyBytes_AS_STRING(classes),
            .sizes = PyBytes_AS_STRING(sizes),
            .payload = PyBytes_AS_STRING(payload),
        };

        if (!xbzrle_cache_run(self, state, batch, sync_count, last_stage,
                              &sent) &&
            !_PyBytes_Resize(&payload, (Py_ssize_t)sent.payload_size)) {
            return Py_BuildValue("NNNK", classes, sizes, payload,
                                 (unsigned long long)sent.cpu_ns);
        }
    }
    Py_XDECREF(classes);
    Py_XDECREF(sizes);
    Py_XDECREF(payload);
    return NULL;
}

/* save(memory, pages, dirty_sync_count, last_stage) */
static PyObject *xbzrle_cache_save_pages(PyObject *object, PyObject *args)
{
    XbzrleCacheObject *self = (XbzrleCacheObject *)object;
    ModuleState *state = state_of(object);
    uint64_t sync_count;
    int last_stage;
    XbzrleBatch batch;
    PyObject *sent = NULL;

    if (!state ||
        !PyArg_ParseTuple(args, "y*y*O&p:save", &batch.memory, &batch.numbers,
                          to_uint64, &sync_count, &last_stage)) {
        return NULL;
    }
    if (!xbzrle_batch_check(&batch, self->cache.page_size) &&
        !xbzrle_cache_enter(self)) {
        sent = xbzrle_cache_send(self, state, &batch, sync_count, last_stage);
        signal_unlock(&self->entered);
    }
    xbzrle_batch_release(&batch);
    return sent;
}

static PyObject *xbzrle_cache_counters(PyObject *object, void *unused)
{
    XbzrleCacheObject *self = (XbzrleCacheObject *)object;

    (void)unused;
    if (xbzrle_cache_enter(self)) {
        return NULL;
    }
    XbzrleCounters counters = self->cache.counters;

    signal_unlock(&self->entered);
    return Py_BuildValue("{sKsKsKsK}", "pages",
                         (unsigned long long)counters.pages, "bytes",
                         (unsigned long long)counters.bytes, "cache_miss",
                         (unsigned long long)counters.cache_miss, "overflow",
                         (unsigned long long)counters.overflow);
}

static PyObject *xbzrle_cache_cached(PyObject *object, void *unused)
{
    XbzrleCacheObject *self = (XbzrleCacheObject *)object;

    (void)unused;
    if (xbzrle_cache_enter(self)) {
        return NULL;
    }
    uint64_t cached = self->cache.cached;

    signal_unlock(&self->entered);
    return PyLong_FromUnsignedLongLong(cached);
}

static PyMethodDef xbzrle_cache_methods[] = {
    {"save", xbzrle_cache_save_pages, METH_VARARGS, NULL},
    {0},
};

static PyGetSetDef xbzrle_cache_getset[] = {
    {"counters", xbzrle_cache_counters, NULL, NULL, NULL},
    {"cached_pages", xbzrle_cache_cached, NULL, NULL, NULL},
    {0},
};

static PyType_Slot xbzrle_cache_slots[] = {
    {Py_tp_new, xbzrle_cache_new},
    {Py_tp_dealloc, xbzrle_cache_dealloc},
    {Py_tp_methods, xbzrle_cache_methods},
    {Py_tp_getset, xbzrle_cache_getset},
    {0, NULL},
};

static PyType_Spec xbzrle_cache_spec = {
    .name = "migcomp._core.XbzrleCache",
    .basicsize = sizeof(XbzrleCacheObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = xbzrle_cache_slots,
};
