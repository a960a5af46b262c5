/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PageRequest: the entropy of its pages. */

/* entropies() -> two bytes for each page */
static PyObject *page_request_entropy(PyObject *object, PyObject *unused)
{
    RequestObject *self = (RequestObject *)object;
    ModuleState *state = state_of(object);
    BoundRequest *bound = state ? read_lock_for(self, true) : NULL;
    int failed = 0;

    (void)unused;
    if (!bound) {
        return NULL;
    }
    uint64_t first_page = bound->page.first_page;
    uint32_t pages = bound->page.input ? bound->page.pages : 0;
    PyObject *bytes = PyBytes_FromStringAndSize(
        NULL, (Py_ssize_t)(pages * sizeof(uint16_t)));

    if (bytes && pages) {
        Py_BEGIN_ALLOW_THREADS
        failed = page_request_entropies(self->job, &bound->page,
                                        (uint16_t *)PyBytes_AS_STRING(bytes));
        Py_END_ALLOW_THREADS
    }
    read_unlock(self);
    if (failed) {
        Py_CLEAR(bytes);
        raise_page_failure(state, first_page,
                           "the image became shorter while it was read");
    }
    return bytes;
}
