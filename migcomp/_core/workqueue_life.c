/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Creating a queue, destroying it, and reading its counters. */
#define _GNU_SOURCE
#include "workqueue_private.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* pthread_setname_np's limit, with the final 0. */
#define THREAD_NAME_SIZE 16

static bool align_up(size_t size, size_t *aligned)
{
    if (__builtin_add_overflow(size, CACHE_LINE - 1, aligned)) {
        return false;
    }
    *aligned &= ~(size_t)(CACHE_LINE - 1);
    return true;
}

/* Zeroed, aligned to CACHE_LINE; NULL with errno ENOMEM. */
static void *allocate(size_t count, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(count, size, &total) ||
        !align_up(total, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    void *memory = aligned_alloc(CACHE_LINE, total);

    if (memory) {
        memset(memory, 0, total);
    }
    return memory;
}

/* --- One worker ------------------------------------------------------------ */

static void uninit_requests(Worker *worker, unsigned initialised)
{
    const ThreadedWorkqueueOps *ops = worker->queue->ops;

    for (unsigned slot = 0; slot < initialised; slot++) {
        if (ops->thread_request_uninit) {
            ops->thread_request_uninit(
                header_payload(worker_header(worker, slot)), ops->opaque);
        }
    }
    free(worker->requests);
    free(worker->state);
}

static int init_requests(Worker *worker)
{
    const ThreadedWorkqueue *queue = worker->queue;
    const ThreadedWorkqueueOps *ops = queue->ops;

    worker->requests =
        allocate(queue->thread_requests_nr, queue->request_stride);
    worker->state = allocate(1, ops->thread_state_size ? ops->thread_state_size
                                                       : CACHE_LINE);
    if (!worker->requests || !worker->state) {
        uninit_requests(worker, 0);
        return -ENOMEM;
    }
    for (unsigned slot = 0; slot < queue->thread_requests_nr; slot++) {
        RequestHeader *header = worker_header(worker, slot);
        int failed = 0;

        header->thread_index = worker->index;
        header->slot = slot;
        if (ops->thread_request_init) {
            failed = ops->thread_request_init(header_payload(header),
                                              ops->opaque);
        }
        if (failed) {
            uninit_requests(worker, slot);
            return failed;
        }
    }
    return 0;
}

static int set_affinity(pthread_attr_t *attr, unsigned index,
                        const ThreadedWorkqueueOptions *options)
{
    cpu_set_t set;

    if (!options || !options->cpus_nr) {
        return 0;
    }
    unsigned cpu = options->cpus[index % options->cpus_nr];

    if (cpu >= CPU_SETSIZE) {
        return EINVAL;
    }
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return pthread_attr_setaffinity_np(attr, sizeof(set), &set);
}

static void name_thread(const Worker *worker, const char *name)
{
    char suffix[THREAD_NAME_SIZE], whole[THREAD_NAME_SIZE];
    int length = snprintf(suffix, sizeof(suffix), "/%u", worker->index);

    snprintf(whole, sizeof(whole), "%.*s%s", THREAD_NAME_SIZE - 1 - length,
             name ? name : "", suffix);
    pthread_setname_np(worker->thread, whole);
}

/*
 * Signals that are sent to the process are the program's affair.  Those that
 * an instruction raises must stay deliverable, also for guard.c: blocked, they
 * end the process without a word.
 */
static void fill_with_sent_signals(sigset_t *set)
{
    static const int raised[] = {SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP};

    sigfillset(set);
    for (size_t i = 0; i < sizeof(raised) / sizeof(*raised); i++) {
        sigdelset(set, raised[i]);
    }
}

static int start_thread(Worker *worker, const char *name,
                        const ThreadedWorkqueueOptions *options)
{
    pthread_attr_t attr;
    sigset_t sent, before;
    int failed = pthread_attr_init(&attr);

    if (failed) {
        return -failed;
    }
    failed = set_affinity(&attr, worker->index, options);
    if (!failed) {
        fill_with_sent_signals(&sent);
        pthread_sigmask(SIG_SETMASK, &sent, &before);
        failed = pthread_create(&worker->thread, &attr, worker_run, worker);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    pthread_attr_destroy(&attr);
    if (!failed) {
        name_thread(worker, name);
    }
    return -failed;
}

/* On success the thread has run thread_init. */
static int init_worker(Worker *worker, const char *name,
                       const ThreadedWorkqueueOptions *options)
{
    int failed;

    event_init(&worker->request_valid);
    event_init(&worker->request_free);
    failed = init_requests(worker);
    if (failed) {
        return failed;
    }
    failed = start_thread(worker, name, options);
    if (!failed) {
        event_wait(&worker->request_free, DEADLINE_NEVER);
        failed = worker->init_status;
        if (failed) {
            pthread_join(worker->thread, NULL);
        }
    }
    if (failed) {
        uninit_requests(worker, worker->queue->thread_requests_nr);
    }
    return failed;
}

static void stop_workers(ThreadedWorkqueue *queue, unsigned started,
                         uint64_t control)
{
    word_publish(&queue->control, control);
    for (unsigned i = 0; i < started; i++) {
        event_set(&queue->workers[i].request_valid);
    }
    for (unsigned i = 0; i < started; i++) {
        pthread_join(queue->workers[i].thread, NULL);
    }
}

static void free_queue(ThreadedWorkqueue *queue, unsigned initialised)
{
    for (unsigned i = 0; i < initialised; i++) {
        uninit_requests(&queue->workers[i], queue->thread_requests_nr);
    }
    free(queue);
}

/* --- The queue ------------------------------------------------------------- */

/* With as many busy threads as CPUs, spinning takes the CPU from the thread
 * that is waited for. */
static int64_t spin_allowed_ns(unsigned threads_nr,
                               const ThreadedWorkqueueOptions *options)
{
    cpu_set_t set;
    unsigned cpus = 1;

    if (options && options->cpus_nr) {
        /* Each counts once, however often it is named. */
        CPU_ZERO(&set);
        for (unsigned i = 0; i < options->cpus_nr; i++) {
            if (options->cpus[i] < CPU_SETSIZE) {
                CPU_SET(options->cpus[i], &set);
            }
        }
        cpus = (unsigned)CPU_COUNT(&set);
    } else if (!sched_getaffinity(0, sizeof(set), &set)) {
        cpus = (unsigned)CPU_COUNT(&set);
    }
    return threads_nr < cpus ? SPIN_MOST_NS : 0;
}

static ThreadedWorkqueue *allocate_queue(unsigned threads_nr,
                                         unsigned thread_requests_nr,
                                         const ThreadedWorkqueueOps *ops)
{
    size_t stride;

    if (!threads_nr || threads_nr > MAX_THREADS_NR || !thread_requests_nr ||
        thread_requests_nr > MAX_THREAD_REQUEST_NR || !ops ||
        !ops->thread_request_handler ||
        !align_up(ops->request_size, &stride) ||
        __builtin_add_overflow(stride, sizeof(RequestHeader), &stride)) {
        errno = EINVAL;
        return NULL;
    }
    ThreadedWorkqueue *queue =
        allocate(1, sizeof(*queue) + threads_nr * sizeof(Worker));

    if (queue) {
        queue->ops = ops;
        queue->threads_nr = threads_nr;
        queue->thread_requests_nr = thread_requests_nr;
        queue->slots_mask =
            UINT64_MAX >> (MAX_THREAD_REQUEST_NR - thread_requests_nr);
        queue->request_stride = stride;
        queue->creator = getpid();
        queue->free_nr = threads_nr * thread_requests_nr;
    }
    return queue;
}

ThreadedWorkqueue *
threaded_workqueue_create(const char *name, unsigned threads_nr,
                          unsigned thread_requests_nr,
                          const ThreadedWorkqueueOps *ops,
                          const ThreadedWorkqueueOptions *options)
{
    ThreadedWorkqueue *queue =
        allocate_queue(threads_nr, thread_requests_nr, ops);

    if (!queue) {
        return NULL;
    }
    int64_t allowed = spin_allowed_ns(threads_nr, options);

    queue->spin.allowed_ns = allowed;
    queue->spin.limit_ns = allowed;
    for (unsigned i = 0; i < threads_nr; i++) {
        Worker *worker = &queue->workers[i];

        worker->queue = queue;
        worker->index = i;
        worker->spin = queue->spin;

        int failed = init_worker(worker, name, options);

        if (failed) {
            stop_workers(queue, i, CONTROL_CANCEL);
            free_queue(queue, i);
            errno = -failed;
            return NULL;
        }
    }
    return queue;
}

/* Delivers what the drained threads have handled, in order. */
static void deliver_drained(ThreadedWorkqueue *queue)
{
    if (queue->ops->thread_request_done) {
        threaded_workqueue_wait_for_requests(queue, 0);
    }
}

unsigned threaded_workqueue_destroy(ThreadedWorkqueue *queue,
                                    ThreadedWorkqueueEnd end)
{
    if (!queue) {
        return 0;
    }
    if (queue->creator == getpid()) {
        stop_workers(queue, queue->threads_nr,
                     end == WORKQUEUE_DRAIN ? CONTROL_DRAIN : CONTROL_CANCEL);
        if (end == WORKQUEUE_DRAIN) {
            deliver_drained(queue);
        }
    }
    unsigned unseen = queue->depth;

    free_queue(queue, queue->threads_nr);
    return unseen;
}

/* --- Counters -------------------------------------------------------------- */

void threaded_workqueue_stats(const ThreadedWorkqueue *queue,
                              ThreadedWorkqueueStats *stats)
{
    *stats = queue->stats;
    stats->threads_nr = queue->threads_nr;
    stats->thread_requests_nr = queue->thread_requests_nr;
}

void threaded_workqueue_thread_stats(const ThreadedWorkqueue *queue,
                                     unsigned thread,
                                     ThreadedWorkqueueThreadStats *stats)
{
    const Worker *worker = &queue->workers[thread];
    struct timespec used = {0};
    clockid_t clock;

    if (!pthread_getcpuclockid(worker->thread, &clock)) {
        clock_gettime(clock, &used);
    }
    *stats = (ThreadedWorkqueueThreadStats){
        .requests = counter_read(&worker->handled),
        .sleeps = counter_read(&worker->sleeps),
        .spins = counter_read(&worker->spins),
        .wakeups = counter_read(&worker->wakeups),
        .cpu_ns = (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec,
    };
}
