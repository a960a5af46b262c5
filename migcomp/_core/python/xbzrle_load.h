/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xbzrle_load: the receiving side of what XbzrleCache sends. */

/* What save returned, and how far it has been read. */
typedef struct XbzrleReceived {
    Py_buffer classes, sizes, payload;
    size_t at; /* in payload */
} XbzrleReceived;

/* Those from first up to end; 0, or a negative errno for page number. */
static int xbzrle_load_step(const XbzrleBatch *batch, size_t first, size_t end,
                            XbzrleReceived *received, uint64_t *number)
{
    for (size_t i = first; i < end; i++) {
        uint8_t *page = xbzrle_batch_page(batch, i, number);
        uint8_t class = ((const uint8_t *)received->classes.buf)[i];
        uint32_t size;

        memcpy(&size, (const char *)received->sizes.buf + i * sizeof(size),
               sizeof(size));
        if (!page) {
            return -ERANGE;
        }
        if (size > (size_t)received->payload.len - received->at) {
            return -EIO;
        }
        int failed = xbzrle_load(
            (XbzrleClass)class,
            (const uint8_t *)received->payload.buf + received->at, size, page,
            batch->page_size);

        if (failed) {
            return failed;
        }
        received->at += size;
    }
    return 0;
}

/* -1 with an exception. */
static int xbzrle_load_all(ModuleState *state, const XbzrleBatch *batch,
                           XbzrleReceived *received, uint64_t *cpu_ns)
{
    if ((size_t)received->classes.len != batch->pages ||
        (size_t)received->sizes.len != batch->pages * sizeof(uint32_t)) {
        PyErr_SetString(PyExc_ValueError,
                        "each page has a byte in classes and 4 in sizes");
        return -1;
    }
    for (size_t first = 0; first < batch->pages; first += XBZRLE_STEP) {
        size_t left = batch->pages - first;
        size_t end = first + (left < XBZRLE_STEP ? left : XBZRLE_STEP);
        uint64_t number = 0;
        int failed;

        Py_BEGIN_ALLOW_THREADS
        uint64_t start = thread_cpu_ns();

        failed = xbzrle_load_step(batch, first, end, received, &number);
        *cpu_ns += thread_cpu_ns() - start;
        Py_END_ALLOW_THREADS
        if (failed) {
            xbzrle_raise(state, failed, number, "it was sent malformed");
            return -1;
        }
        if (PyErr_CheckSignals()) {
            return -1;
        }
    }
    if (received->at != (size_t)received->payload.len) {
        PyErr_SetString(PyExc_ValueError,
                        "there is payload beyond the last page");
        return -1;
    }
    return 0;
}

/* xbzrle_load(memory, page_size, pages, classes, sizes, payload) */
static PyObject *core_xbzrle_load(PyObject *module, PyObject *args)
{
    ModuleState *state = PyModule_GetState(module);
    XbzrleBatch batch;
    XbzrleReceived received = {.at = 0};
    uint32_t page_size;
    uint64_t cpu_ns = 0;

    if (!PyArg_ParseTuple(args, "w*O&y*y*y*y*:xbzrle_load", &batch.memory,
                          to_uint32, &page_size, &batch.numbers,
                          &received.classes, &received.sizes,
                          &received.payload)) {
        return NULL;
    }
    int failed = check_page_size(page_size) ||
                 xbzrle_batch_check(&batch, page_size) ||
                 xbzrle_load_all(state, &batch, &received, &cpu_ns);

    PyBuffer_Release(&received.classes);
    PyBuffer_Release(&received.sizes);
    PyBuffer_Release(&received.payload);
    xbzrle_batch_release(&batch);
    return failed ? NULL : PyLong_FromUnsignedLongLong(cpu_ns);
}
