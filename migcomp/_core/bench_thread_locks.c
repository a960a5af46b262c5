/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A mutex and a condition for each thread, one lock more for all that is done,
 * and one request to a thread: how QEMU's compress capability worked until 9.0
 * (migration/ram-compress.c), with compress-wait-thread on.
 */
#define _GNU_SOURCE
#include "bench.h"
#include "bench_locks.h"

#include <errno.h>

typedef struct LockedThreads LockedThreads;

typedef struct LockedThread {
    _Alignas(CACHE_LINE) LockedThreads *queue;
    BenchWorker worker; /* the thread's */
    pthread_t thread;
    bool idle; /* the submitter's: has neither request nor result */
    pthread_mutex_t lock;
    pthread_cond_t has_work;
    /* Under lock. */
    bool wanted, quit;
    uint64_t index;
    uint64_t wakeups;
    /* Under the queue's done_lock. */
    bool done;
    BenchResult result;
} LockedThread;

struct LockedThreads {
    pthread_mutex_t done_lock;
    pthread_cond_t is_done;
    /* The submitter's. */
    unsigned threads_nr, submitted;
    uint64_t wakeups;
    LockedThread threads[];
};

static void *locked_thread_run(void *opaque)
{
    LockedThread *self = opaque;
    LockedThreads *queue = self->queue;

    pthread_mutex_lock(&self->lock);
    while (!self->quit) {
        if (!self->wanted) {
            pthread_cond_wait(&self->has_work, &self->lock);
            self->wakeups++;
            continue;
        }
        BenchResult result = {.index = self->index};

        self->wanted = false;
        pthread_mutex_unlock(&self->lock);
        result.digest = bench_serve(&self->worker, result.index);

        pthread_mutex_lock(&queue->done_lock);
        self->result = result;
        self->done = true;
        pthread_cond_signal(&queue->is_done);
        pthread_mutex_unlock(&queue->done_lock);
        pthread_mutex_lock(&self->lock);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

static void locked_threads_destroy(void *opaque)
{
    LockedThreads *queue = opaque;

    for (unsigned i = 0; i < queue->threads_nr; i++) {
        LockedThread *self = &queue->threads[i];

        pthread_mutex_lock(&self->lock);
        self->quit = true;
        pthread_cond_signal(&self->has_work);
        pthread_mutex_unlock(&self->lock);
        pthread_join(self->thread, NULL);
        bench_worker_uninit(&self->worker);
        pthread_cond_destroy(&self->has_work);
        pthread_mutex_destroy(&self->lock);
    }
    pthread_cond_destroy(&queue->is_done);
    pthread_mutex_destroy(&queue->done_lock);
    free(queue);
}

static int locked_thread_start(LockedThread *self, LockedThreads *queue,
                               const BenchJob *job)
{
    int failed = -bench_worker_init(&self->worker, job);

    if (failed) {
        return failed;
    }
    self->queue = queue;
    self->idle = true;
    pthread_mutex_init(&self->lock, NULL);
    condition_init(&self->has_work);
    failed = pthread_create(&self->thread, NULL, locked_thread_run, self);
    if (failed) {
        pthread_cond_destroy(&self->has_work);
        pthread_mutex_destroy(&self->lock);
        bench_worker_uninit(&self->worker);
    }
    return failed;
}

static void *locked_threads_create(const BenchJob *job, unsigned threads,
                                   unsigned requests)
{
    LockedThreads *queue =
        lines_alloc(sizeof(*queue) + threads * sizeof(LockedThread));

    (void)requests;
    if (!queue) {
        return NULL;
    }
    pthread_mutex_init(&queue->done_lock, NULL);
    condition_init(&queue->is_done);
    for (; queue->threads_nr < threads; queue->threads_nr++) {
        int failed = locked_thread_start(&queue->threads[queue->threads_nr],
                                         queue, job);

        if (failed) {
            locked_threads_destroy(queue);
            errno = failed;
            return NULL;
        }
    }
    return queue;
}

static bool locked_threads_submit(void *opaque, uint64_t index)
{
    LockedThreads *queue = opaque;

    for (unsigned i = 0; i < queue->threads_nr; i++) {
        LockedThread *thread = &queue->threads[i];

        if (thread->idle) {
            thread->idle = false;
            pthread_mutex_lock(&thread->lock);
            thread->index = index;
            thread->wanted = true;
            pthread_cond_signal(&thread->has_work);
            pthread_mutex_unlock(&thread->lock);
            queue->submitted++;
            return true;
        }
    }
    return false;
}

static bool take_done(LockedThreads *queue, BenchResult *result)
{
    for (unsigned i = 0; i < queue->threads_nr; i++) {
        LockedThread *thread = &queue->threads[i];

        if (thread->done) {
            thread->done = false;
            thread->idle = true;
            *result = thread->result;
            return true;
        }
    }
    return false;
}

static int locked_threads_collect(void *opaque, int64_t timeout_ns,
                                  BenchResult *result)
{
    LockedThreads *queue = opaque;
    int64_t deadline = 0;
    int failed = timeout_ns ? 0 : ETIMEDOUT;

    if (!queue->submitted) {
        return -ENOENT;
    }
    pthread_mutex_lock(&queue->done_lock);
    while (!take_done(queue, result)) {
        if (failed) {
            pthread_mutex_unlock(&queue->done_lock);
            return -ETIMEDOUT;
        }
        failed = condition_wait(&queue->is_done, &queue->done_lock, &deadline,
                                timeout_ns);
        queue->wakeups++;
    }
    pthread_mutex_unlock(&queue->done_lock);
    queue->submitted--;
    return 0;
}

static void locked_threads_counters(void *opaque, BenchCounters *counters)
{
    LockedThreads *queue = opaque;

    *counters = (BenchCounters){.submitter_wakeups = queue->wakeups};
    for (unsigned i = 0; i < queue->threads_nr; i++) {
        LockedThread *thread = &queue->threads[i];

        pthread_mutex_lock(&thread->lock);
        counters->worker_wakeups += thread->wakeups;
        pthread_mutex_unlock(&thread->lock);
    }
}

const BenchDesign bench_thread_locks = {
    .name = "thread-locks",
    .create = locked_threads_create,
    .submit = locked_threads_submit,
    .collect = locked_threads_collect,
    .counters = locked_threads_counters,
    .destroy = locked_threads_destroy,
};
