/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the submitter's side (workqueue.c) and the threads (worker.c) share. */
#ifndef MIGCOMP_WORKQUEUE_PRIVATE_H
#define MIGCOMP_WORKQUEUE_PRIVATE_H

#include "atomics.h"
#include "event.h"
#include "workqueue.h"

#include <pthread.h>
#include <sched.h>
#include <sys/types.h>

/*
 * Precedes each request's payload on a cache line of its own.  Written by the
 * submitter, except status.
 */
typedef struct RequestHeader {
    _Alignas(CACHE_LINE) uint64_t sequence;
    struct RequestHeader *older, *newer; /* in the list of submitted ones */
    uint32_t thread_index;               /* constant */
    uint32_t slot;                       /* constant */
    /* Written by the worker before done is flipped, and only on an error. */
    int status;
} RequestHeader;

/* How long to poll before a sleep, in ns; 0 when spinning is of no use. */
typedef struct Spin {
    int64_t allowed_ns; /* constant: the most that may be spent */
    int64_t limit_ns;   /* adapts; written by the spinning side */
} Spin;

typedef struct Worker {
    /* Constant while the thread runs. */
    _Alignas(CACHE_LINE) ThreadedWorkqueue *queue;
    unsigned index;
    char *requests;
    void *state;
    pthread_t thread;
    /* Written by the worker before it first sets request_free, read by create
     * after that. */
    int init_status;

    /* Written by the submitter. */
    _Alignas(CACHE_LINE) SharedWord fill;
    uint64_t in_use;    /* slots that are not free */
    uint64_t submitted; /* slots handed over and not collected since */
    unsigned next_slot; /* where get_request looks first */
    unsigned poll_slot; /* where poll_request looks first */

    /* Written by the worker. */
    _Alignas(CACHE_LINE) SharedWord done;
    unsigned cursor; /* slot that is handled next if it is valid */
    Spin spin;
    Counter handled, sleeps, spins, wakeups;

    /* Set by the submitter, reset and awaited by the worker. */
    _Alignas(CACHE_LINE) Event request_valid;
    /* Set by the worker, reset and awaited by the submitter. */
    _Alignas(CACHE_LINE) Event request_free;
} Worker;

enum { CONTROL_RUN, CONTROL_DRAIN, CONTROL_CANCEL };

struct ThreadedWorkqueue {
    /* Constant after create. */
    _Alignas(CACHE_LINE) const ThreadedWorkqueueOps *ops;
    unsigned threads_nr;
    unsigned thread_requests_nr;
    uint64_t slots_mask;
    size_t request_stride; /* header and payload, a multiple of CACHE_LINE */
    pid_t creator;

    /* Written once in a queue's life: control by destroy, error by a worker.
     * error is 1 + thread * MAX_THREAD_REQUEST_NR + slot of the failure. */
    _Alignas(CACHE_LINE) SharedWord control;
    SharedWord error;

    /* Written by the submitter. */
    _Alignas(CACHE_LINE) uint64_t next_sequence;
    unsigned next_thread; /* where get_request looks first */
    unsigned poll_thread; /* where poll_request looks first */
    unsigned free_nr;     /* requests that are free */
    unsigned depth;       /* requests submitted and not collected */
    RequestHeader *oldest, *newest;
    Spin spin;
    ThreadedWorkqueueStats stats;

    Worker workers[];
};

static inline RequestHeader *worker_header(const Worker *worker, unsigned slot)
{
    return (RequestHeader *)(worker->requests +
                             slot * worker->queue->request_stride);
}

static inline void *header_payload(RequestHeader *header)
{
    return header + 1;
}

/* The slots whose requests are submitted and not yet handled. */
static inline uint64_t worker_valid(const Worker *worker)
{
    return word_observe(&worker->fill) ^ word_observe(&worker->done);
}

/*
 * The first of the slots, of which there is one at least, at or after the
 * given one, else before it: each slot is reached in one turn round them.
 */
static inline unsigned first_slot_from(uint64_t slots, unsigned first)
{
    uint64_t ahead = slots & (UINT64_MAX << first);

    return (unsigned)__builtin_ctzll(ahead ? ahead : slots);
}

/*
 * About what it costs to fall asleep and be woken: a few microseconds on bare
 * metal, 50 and more where waking a CPU leaves a virtual machine.  Polling
 * for that long costs at most twice what the best choice would have cost.
 */
#define SPIN_MOST_NS 100000
/* Turns of cpu_relax between two looks at the clock. */
#define SPIN_TURNS 32

/*
 * The scheduler may have put both sides on one CPU, though others are idle:
 * then the other cannot get on unless we let it.
 */
static inline bool spin_goes_on(int64_t end)
{
    sched_yield();
    return event_clock() < end;
}

/* The spin found what it waited for, or the sleep after it was a short one. */
static inline void spin_paid(Spin *spin)
{
    int64_t more = spin->limit_ns * 2 + 1000;

    spin->limit_ns = more < spin->allowed_ns ? more : spin->allowed_ns;
}

static inline void spin_wasted(Spin *spin)
{
    spin->limit_ns /= 2;
}

/* After a sleep of slept_ns. */
static inline void spin_learn(Spin *spin, int64_t slept_ns)
{
    if (slept_ns < SPIN_MOST_NS) {
        spin_paid(spin);
    }
}

/* Body of a worker's thread. */
void *worker_run(void *worker);

#endif
