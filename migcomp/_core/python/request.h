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

/* How many use a request while one writes it, or hands it over. */
enum { WRITTEN = -1 };

typedef struct RequestObject {
    PyObject_HEAD
    /* Constant, of the queue's handler; job is valid as long as bound. */
    PageJob *job;
    HandlerKind kind;
    /* Written in the request's critical section. */
    BoundRequest *bound;       /* NULL when the queue is gone */
    struct QueueObject *queue; /* NULL when the queue is gone; borrowed */
    PyObject *holder;  /* a PageRequest's queue, while it is the submitter's */
    Py_ssize_t users;  /* methods and buffers that read it, or WRITTEN */
    /* Written by who has it alone. */
    PyObject *source; /* what input points into: a PageMap or a buffer */
    Py_buffer body;   /* held while source is a buffer */
    PyObject *previous; /* the request's PageMap of what the receiver has */
    /* Of requests for Python handlers. */
    PyObject *payload, *result, *thread_state;
} RequestObject;

/* Of a queue whose channels each have one thread: its channels' thread. */
static unsigned channel_thread(const RequestObject *self, uint32_t channel);

/* 0 when the calling thread may use the queue; leave() must follow. */
static int enter(struct QueueObject *queue);
static void leave(struct QueueObject *queue);

/*
 * The C request.  Every use of a PageRequest goes through here, from whatever
 * thread: several may read it, and who writes it, hands it over or ends its
 * queue has it alone.  Nobody waits for the lock.  While somebody has it, the
 * request stays the submitter's and its queue lives, also where there is no GIL
 * or Python code runs meanwhile.
 */
static BoundRequest *try_lock(RequestObject *self, bool alone)
{
    BoundRequest *bound = NULL;
    PyObject *kind = PyExc_ValueError;
    const char *problem = NULL;

    Py_BEGIN_CRITICAL_SECTION(self);
    if (!self->bound) {
        problem = "the request's workqueue has been destroyed";
    } else if (!self->holder) {
        problem = "the request is submitted, or has been released";
    } else if (alone ? self->users != 0 : self->users == WRITTEN) {
        kind = PyExc_BufferError;
        problem = "the request's data is still in use";
    } else {
        self->users = alone ? WRITTEN : self->users + 1;
        bound = self->bound;
    }
    Py_END_CRITICAL_SECTION();
    if (!bound) {
        PyErr_SetString(kind, problem);
    }
    return bound;
}

/* To be read; read_unlock must follow. */
static BoundRequest *read_lock(RequestObject *self)
{
    return try_lock(self, false);
}

static void read_unlock(RequestObject *self)
{
    Py_BEGIN_CRITICAL_SECTION(self);
    self->users--;
    Py_END_CRITICAL_SECTION();
}

static void write_unlock(RequestObject *self)
{
    Py_BEGIN_CRITICAL_SECTION(self);
    self->users = 0;
    Py_END_CRITICAL_SECTION();
}

/* May run Python code. */
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
    Py_VISIT(self->holder);
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
    const RequestObject *self = (RequestObject *)object;
    uint64_t number = 0;
    bool lives;

    Py_BEGIN_CRITICAL_SECTION(object);
    lives = self->bound;
    if (lives) {
        number = which ? threaded_workqueue_request_thread(self->bound)
                       : threaded_workqueue_request_sequence(self->bound);
    }
    Py_END_CRITICAL_SECTION();
    return lives ? PyLong_FromUnsignedLongLong(number) : Py_NewRef(Py_None);
}

/* --- ObjectRequest: for Python handlers --------------------------------------- */

static PyObject **request_slot(PyObject *object, void *offset)
{
    return (PyObject **)((char *)object + (uintptr_t)offset);
}

static PyObject *request_get_slot(PyObject *object, void *offset)
{
    PyObject *value;

    Py_BEGIN_CRITICAL_SECTION(object);
    value = *request_slot(object, offset);
    value = Py_NewRef(value ? value : Py_None);
    Py_END_CRITICAL_SECTION();
    return value;
}

static int request_set_slot(PyObject *object, PyObject *value, void *offset)
{
    PyObject *before;

    Py_BEGIN_CRITICAL_SECTION(object);
    before = *request_slot(object, offset);
    *request_slot(object, offset) = Py_XNewRef(value);
    Py_END_CRITICAL_SECTION();
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
