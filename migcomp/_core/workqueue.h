/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The threaded workqueue: one submitter, many workers, no lock.
 *
 * After the design that Xiao Guangrong proposed for QEMU in November 2018
 * ("util: introduce threaded workqueue", patch v3 2/5): its objects, names
 * and the idea of the two bitmaps are kept, the code is not.
 *
 * A *request* is pre-allocated memory that holds the input and has room for
 * the result.  Each worker owns a fixed partition of the requests, so no two
 * workers ever compete for one.  A request is, in turn,
 *
 *   free       nobody's
 *   reserved   the submitter's: between get and submit, or after collect
 *   submitted  the worker's
 *   handled    waiting to be collected, or to be given to thread_request_done
 *
 * All functions are for one thread, the submitter, except the operations
 * that are said to run on a worker.  None may be called from an operation.
 * Functions that return an int return 0 or a negative errno value.
 */
#ifndef MIGCOMP_WORKQUEUE_H
#define MIGCOMP_WORKQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ThreadedWorkqueue ThreadedWorkqueue;

#define DEFAULT_THREAD_REQUEST_NR 4
#define MAX_THREAD_REQUEST_NR 64 /* bits in a worker's bitmaps */
#define MAX_THREADS_NR 1024

/*
 * What the user of the queue does with requests.  Only the handler is
 * required.  opaque is passed through as it is.  request and thread_state
 * point to zeroed memory, aligned to 64 bytes at least.
 */
typedef struct ThreadedWorkqueueOps {
    /* On the creating thread, once per request.  Failure: negative errno. */
    int (*thread_request_init)(void *request, void *opaque);
    /* On the destroying thread, once per request that init succeeded for. */
    void (*thread_request_uninit)(void *request, void *opaque);
    /* On the worker.  Anything but 0 is an error and stops the queue. */
    int (*thread_request_handler)(void *request, void *thread_state,
                                  void *opaque);
    /*
     * On the submitter, once per handled request, in the order of submission,
     * from within get_request, wait_for_requests or a draining destroy.  With
     * this operation the queue collects by itself; without it the submitter
     * uses collect_request or poll_request.
     */
    void (*thread_request_done)(void *request, void *opaque);
    /* On the worker, once, before and after all requests. */
    int (*thread_init)(void *thread_state, unsigned thread_index, void *opaque);
    void (*thread_uninit)(void *thread_state, void *opaque);

    size_t request_size;
    size_t thread_state_size;
    void *opaque;
} ThreadedWorkqueueOps;

typedef struct ThreadedWorkqueueOptions {
    /* Worker i is bound to cpus[i % cpus_nr]; none when cpus_nr is 0. */
    const unsigned *cpus;
    unsigned cpus_nr;
} ThreadedWorkqueueOptions;

/*
 * Creates the threads and requests.  name (cut to fit, with the index kept
 * whole) names the threads.  ops must outlive the queue; options may be NULL.
 * Returns NULL with errno set: EINVAL (a limit or a missing handler), ENOMEM,
 * EAGAIN (no thread), or what an init operation returned.
 */
ThreadedWorkqueue *
threaded_workqueue_create(const char *name, unsigned threads_nr,
                          unsigned thread_requests_nr,
                          const ThreadedWorkqueueOps *ops,
                          const ThreadedWorkqueueOptions *options);

typedef enum ThreadedWorkqueueEnd {
    WORKQUEUE_DRAIN,  /* handle everything that was submitted */
    WORKQUEUE_CANCEL, /* finish only the requests being handled right now */
} ThreadedWorkqueueEnd;

/*
 * Stops and joins the threads and frees everything; NULL is allowed.  Returns
 * the number of submitted requests whose result nobody has seen.  A handler
 * that is running is waited for.  In a child process made by fork, where the
 * threads do not exist, it only frees; no other function may be called there.
 */
unsigned threaded_workqueue_destroy(ThreadedWorkqueue *queue,
                                    ThreadedWorkqueueEnd end);

/*
 * Reserves a free request, round-robin over the threads, passing over those
 * that have none.  NULL when all are busy (which is counted) or the queue has
 * stopped on an error.
 */
void *threaded_workqueue_get_request(ThreadedWorkqueue *queue);

#define ANY_THREAD UINT32_MAX
#define WAIT_FOREVER INT64_MAX

/*
 * The same, from one thread's partition or from ANY_THREAD's, waiting for at
 * most timeout_ns.  -ETIMEDOUT; -ECANCELED when the queue has stopped on an
 * error; -EDEADLK when waiting cannot help, because the submitter itself
 * holds the requests: it has to submit, collect or release first.
 */
int threaded_workqueue_get_request_timed(ThreadedWorkqueue *queue,
                                         uint32_t thread, int64_t timeout_ns,
                                         void **request);

/*
 * Hands a reserved request to its thread.  -EINVAL when it is not reserved.
 * After collect, a request may be submitted again: it keeps its thread.  A
 * thread handles its requests in the order of submission as long as they are
 * submitted in the order of get and taken by collect; poll breaks that order.
 */
int threaded_workqueue_submit_request(ThreadedWorkqueue *queue, void *request);

/*
 * Takes the oldest submitted request once it is handled; it is then reserved.
 * -ETIMEDOUT; -ENOENT when nothing is submitted; -ECANCELED after an error.
 */
int threaded_workqueue_collect_request(ThreadedWorkqueue *queue,
                                       int64_t timeout_ns, void **request);

/*
 * Takes any handled request, whatever the order; NULL when there is none, and
 * after an error: who polls in a loop asks threaded_workqueue_error as well.
 */
void *threaded_workqueue_poll_request(ThreadedWorkqueue *queue);

/* Makes a reserved request free.  -EINVAL when it is not reserved. */
int threaded_workqueue_release_request(ThreadedWorkqueue *queue, void *request);

/*
 * Waits until every submitted request is handled, and done where there is
 * thread_request_done.  -ETIMEDOUT, -ECANCELED.
 */
int threaded_workqueue_wait_for_requests(ThreadedWorkqueue *queue,
                                         int64_t timeout_ns);

/* Position in the order of submission, from 0; counts resubmissions. */
uint64_t threaded_workqueue_request_sequence(const void *request);

/* The thread that handles the request. */
unsigned threaded_workqueue_request_thread(const void *request);

/*
 * The first error in time.  Workers hand back, unhandled, what they find
 * after it; results that were not collected by then cannot be any more.  The
 * submitter notices at the next call, or when the request it waits for ends.
 * False when there was none.
 */
typedef struct ThreadedWorkqueueError {
    int status;        /* what the handler returned */
    uint64_t sequence; /* of the request that failed */
    void *request;     /* that request; the submitter may read it */
} ThreadedWorkqueueError;

bool threaded_workqueue_error(const ThreadedWorkqueue *queue,
                              ThreadedWorkqueueError *error);

typedef struct ThreadedWorkqueueStats {
    uint64_t submitted; /* submit_request calls that succeeded */
    uint64_t collected; /* requests whose result the submitter has taken */
    uint64_t busy;      /* get_request calls that found no free request */
    uint64_t waits;     /* times the submitter slept */
    uint64_t spins;     /* cpu_relax turns of the submitter */
    uint64_t wakeups;   /* workers woken by submit_request */
    uint64_t depth_sum; /* requests in the queue, added up at each submit */
    unsigned depth_max;
    unsigned threads_nr;
    unsigned thread_requests_nr;
} ThreadedWorkqueueStats;

typedef struct ThreadedWorkqueueThreadStats {
    uint64_t requests; /* handled, also those that failed */
    uint64_t sleeps;   /* waits on the event */
    uint64_t spins;    /* cpu_relax turns */
    uint64_t wakeups;  /* times this worker woke the submitter */
    uint64_t cpu_ns;   /* CPU time of the thread so far */
} ThreadedWorkqueueThreadStats;

void threaded_workqueue_stats(const ThreadedWorkqueue *queue,
                              ThreadedWorkqueueStats *stats);
/* thread < threads_nr */
void threaded_workqueue_thread_stats(const ThreadedWorkqueue *queue,
                                     unsigned thread,
                                     ThreadedWorkqueueThreadStats *stats);

#endif
