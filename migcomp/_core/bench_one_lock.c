/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One queue of requests and one of results, under one mutex. */
#define _GNU_SOURCE
#include "bench.h"
#include "bench_locks.h"

#include <errno.h>

/* A queue of at most room results; those to be done have no digest yet. */
typedef struct Ring {
    BenchResult *entries;
    unsigned first, used;
} Ring;

typedef struct OneLock OneLock;

typedef struct OneLockThread {
    OneLock *queue;
    pthread_t thread;
    BenchWorker worker;
} OneLockThread;

struct OneLock {
    pthread_mutex_t lock;
    pthread_cond_t has_work, has_result;
    /* Under lock. */
    Ring work, results;
    bool quit;
    uint64_t worker_wakeups, submitter_wakeups;
    /* The submitter's. */
    unsigned submitted;
    /* Constant. */
    unsigned room, threads_nr;
    OneLockThread threads[];
};

static void ring_put(Ring *ring, unsigned room, BenchResult entry)
{
    ring->entries[(ring->first + ring->used++) % room] = entry;
}

static BenchResult ring_take(Ring *ring, unsigned room)
{
    BenchResult entry = ring->entries[ring->first];

    ring->first = (ring->first + 1) % room;
    ring->used--;
    return entry;
}

static void *one_lock_run(void *opaque)
{
    OneLockThread *self = opaque;
    OneLock *queue = self->queue;

    pthread_mutex_lock(&queue->lock);
    while (!queue->quit) {
        if (!queue->work.used) {
            pthread_cond_wait(&queue->has_work, &queue->lock);
            queue->worker_wakeups++;
            continue;
        }
        BenchResult result = ring_take(&queue->work, queue->room);

        pthread_mutex_unlock(&queue->lock);
        result.digest = bench_serve(&self->worker, result.index);
        pthread_mutex_lock(&queue->lock);
        ring_put(&queue->results, queue->room, result);
        pthread_cond_signal(&queue->has_result);
    }
    pthread_mutex_unlock(&queue->lock);
    return NULL;
}

static void one_lock_destroy(void *opaque)
{
    OneLock *queue = opaque;

    pthread_mutex_lock(&queue->lock);
    queue->quit = true;
    pthread_cond_broadcast(&queue->has_work);
    pthread_mutex_unlock(&queue->lock);
    for (unsigned i = 0; i < queue->threads_nr; i++) {
        pthread_join(queue->threads[i].thread, NULL);
        bench_worker_uninit(&queue->threads[i].worker);
    }
    pthread_cond_destroy(&queue->has_work);
    pthread_cond_destroy(&queue->has_result);
    pthread_mutex_destroy(&queue->lock);
    free(queue->work.entries);
    free(queue->results.entries);
    free(queue);
}

static int one_lock_start(OneLockThread *self, OneLock *queue,
                          const BenchJob *job)
{
    int failed = -bench_worker_init(&self->worker, job);

    if (failed) {
        return failed;
    }
    self->queue = queue;
    failed = pthread_create(&self->thread, NULL, one_lock_run, self);
    if (failed) {
        bench_worker_uninit(&self->worker);
    }
    return failed;
}

static void *one_lock_create(const BenchJob *job, unsigned threads,
                             unsigned requests)
{
    OneLock *queue =
        lines_alloc(sizeof(*queue) + threads * sizeof(OneLockThread));
    int failed = 0;

    if (!queue) {
        return NULL;
    }
    pthread_mutex_init(&queue->lock, NULL);
    condition_init(&queue->has_work);
    condition_init(&queue->has_result);
    queue->room = threads * requests;
    queue->work.entries = calloc(queue->room, sizeof(BenchResult));
    queue->results.entries = calloc(queue->room, sizeof(BenchResult));
    if (!queue->work.entries || !queue->results.entries) {
        failed = ENOMEM;
    }
    while (!failed && queue->threads_nr < threads) {
        failed = one_lock_start(&queue->threads[queue->threads_nr], queue, job);
        queue->threads_nr += !failed;
    }
    if (failed) {
        one_lock_destroy(queue);
        errno = failed;
        return NULL;
    }
    return queue;
}

static bool one_lock_submit(void *opaque, uint64_t index)
{
    OneLock *queue = opaque;

    if (queue->submitted == queue->room) {
        return false;
    }
    pthread_mutex_lock(&queue->lock);
    ring_put(&queue->work, queue->room, (BenchResult){.index = index});
    pthread_cond_signal(&queue->has_work);
    pthread_mutex_unlock(&queue->lock);
    queue->submitted++;
    return true;
}

static int one_lock_collect(void *opaque, int64_t timeout_ns,
                            BenchResult *result)
{
    OneLock *queue = opaque;
    int64_t deadline = 0;
    int failed = timeout_ns ? 0 : ETIMEDOUT;

    if (!queue->submitted) {
        return -ENOENT;
    }
    pthread_mutex_lock(&queue->lock);
    while (!queue->results.used && !failed) {
        failed = condition_wait(&queue->has_result, &queue->lock, &deadline,
                                timeout_ns);
        queue->submitter_wakeups++;
    }
    if (queue->results.used) {
        *result = ring_take(&queue->results, queue->room);
        queue->submitted--;
        failed = 0;
    }
    pthread_mutex_unlock(&queue->lock);
    return -failed;
}

static void one_lock_counters(void *opaque, BenchCounters *counters)
{
    OneLock *queue = opaque;

    pthread_mutex_lock(&queue->lock);
    *counters = (BenchCounters){
        .worker_wakeups = queue->worker_wakeups,
        .submitter_wakeups = queue->submitter_wakeups,
    };
    pthread_mutex_unlock(&queue->lock);
}

const BenchDesign bench_one_lock = {
    .name = "one-lock",
    .create = one_lock_create,
    .submit = one_lock_submit,
    .collect = one_lock_collect,
    .counters = one_lock_counters,
    .destroy = one_lock_destroy,
};
