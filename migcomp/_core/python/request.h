/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The requests of a queue, as Python sees them.  An object stands for the
 * same slot as long as the queue lives, and is dead afterwards.
 */
struct QueueObject;

/* Payload in the queue: the C request first, so that the handlers find it. */
typedef struct BoundRequest {
    PageRequest page;
    struct RequestObject *object; /* borrowed; the queue's list owns it */
} BoundRequest;

typedef struct RequestObject {
    PyObject_HEAD
    BoundRequest *bound;       /* NULL when the queue is gone */
    struct QueueObject *queue; /* NULL when the queue is gone; borrowed */
    PageJob *job;              /* of the queue's handler */
    HandlerKind kind;          /* of the queue's handler */
    PyObject *exported;        /* queue, while exports is not 0 */
    Py_ssize_t exports;        /* buffers of data in use, and pins */
    PyObject *source; /* what input points into: a PageMap or a buffer */
    Py_buffer body;   /* held while source is a buffer */
    PyObject *previous; /* the request's PageMap of what the receiver has */
    /* Of requests for Python handlers. */
    PyObject *payload, *result, *thread_state;
} RequestObject;

static bool is_submitters(const RequestObject *self);

/* Of a queue whose channels each have one thread: its channels' thread. */
static unsigned channel_thread(const RequestObject *self, uint32_t channel);

/* The C request when the submitter may read and write it. */
static BoundRequest *live(RequestObject *self)
{
    if (!self->bound) {
        PyErr_SetString(PyExc_ValueError,
                        "the request's workqueue has been destroyed");
        return NULL;
    }
    if (!is_submitters(self)) {
        PyErr_SetString(PyExc_ValueError,
                        "the request is submitted, or has been released");
        return NULL;
    }
    return self->bound;
}

/*
 * While it is pinned, a request can neither be handed over nor freed, and its
 * queue lives: whoever uses it without the GIL, or may run Python code
 * meanwhile, pins it.
 */
static void pin(RequestObject *self)
{
    Py_BEGIN_CRITICAL_SECTION(self);
    if (!self->exports++) {
        self->exported = Py_NewRef((PyObject *)self->queue);
    }
    Py_END_CRITICAL_SECTION();
}

static void unpin(RequestObject *self)
{
    PyObject *queue = NULL;

    Py_BEGIN_CRITICAL_SECTION(self);
    if (!--self->exports) {
        queue = self->exported;
        self->exported = NULL;
    }
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(queue);
}

/* May run Python code, which may come here again. */
static void drop_source(RequestObject *self)
{
    Py_buffer body = self->body;

    self->body = (Py_buffer){0};
    PyBuffer_Release(&body);
    Py_CLEAR(self->source);
    Py_CLEAR(self->previous);
}

static int request_traverse(PyObject *object, visitproc visit, void *arg)
{
    RequestObject *self = (RequestObject *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->exported);
    Py_VISIT(self->source);
    Py_VISIT(self->body.obj);
    Py_VISIT(self->previous);
    Py_VISIT(self->payload);
    Py_VISIT(self->result);
    Py_VISIT(self->thread_state);
    return 0;
}

static int request_clear(PyObject *object)
{
    RequestObject *self = (RequestObject *)object;

    Py_CLEAR(self->payload);
    Py_CLEAR(self->result);
    Py_CLEAR(self->thread_state);
    return 0;
}

static void request_dealloc(PyObject *object)
{
    RequestObject *self = (RequestObject *)object;

    PyObject_GC_UnTrack(object);
    request_clear(object);
    drop_source(self);
    free_object(object);
}

static PyObject *request_sequence(PyObject *object, void *which)
{
    const BoundRequest *bound = ((RequestObject *)object)->bound;

    if (!bound) {
        Py_RETURN_NONE;
    }
    return which ? PyLong_FromUnsignedLong(
                       threaded_workqueue_request_thread(bound))
                 : PyLong_FromUnsignedLongLong(
                       threaded_workqueue_request_sequence(bound));
}

/* --- ObjectRequest: for Python handlers --------------------------------------- */

static PyObject **request_slot(PyObject *object, void *offset)
{
    return (PyObject **)((char *)object + (uintptr_t)offset);
}

static PyObject *request_get_slot(PyObject *object, void *offset)
{
    PyObject *value = *request_slot(object, offset);

    return Py_NewRef(value ? value : Py_None);
}

static int request_set_slot(PyObject *object, PyObject *value, void *offset)
{
    PyObject **slot = request_slot(object, offset);
    PyObject *before = *slot;

    *slot = Py_XNewRef(value);
    Py_XDECREF(before);
    return 0;
}

#define SLOT(name) ((void *)offsetof(RequestObject, name))

static PyGetSetDef object_request_getset[] = {
    {"sequence", request_sequence, NULL, NULL, (void *)0},
    {"thread", request_sequence, NULL, NULL, (void *)1},
    {"payload", request_get_slot, request_set_slot, NULL, SLOT(payload)},
    {"result", request_get_slot, request_set_slot, NULL, SLOT(result)},
    {"thread_state", request_get_slot, NULL, NULL, SLOT(thread_state)},
    {0},
};

static PyType_Slot object_request_slots[] = {
    {Py_tp_dealloc, request_dealloc},
    {Py_tp_traverse, request_traverse},
    {Py_tp_clear, request_clear},
    {Py_tp_getset, object_request_getset},
    {0, NULL},
};

static PyType_Spec object_request_spec = {
    .name = "migcomp._core.ObjectRequest",
    .basicsize = sizeof(RequestObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = object_request_slots,
};
