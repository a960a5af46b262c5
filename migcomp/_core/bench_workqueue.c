/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The threaded workqueue as a benchmark drives it. */
#include "bench.h"
#include "workqueue.h"

#include <errno.h>
#include <stdlib.h>

/* The queue's request is a BenchResult: index going in, digest coming out. */
typedef struct Ours {
    ThreadedWorkqueueOps ops;
    ThreadedWorkqueue *queue;
} Ours;

static int serve(void *request, void *thread_state, void *opaque)
{
    BenchResult *result = request;

    (void)opaque;
    result->digest = bench_serve(thread_state, result->index);
    return 0;
}

static int thread_init(void *thread_state, unsigned index, void *job)
{
    (void)index;
    return bench_worker_init(thread_state, job);
}

static void thread_uninit(void *thread_state, void *job)
{
    (void)job;
    bench_worker_uninit(thread_state);
}

static void *ours_create(const BenchJob *job, unsigned threads,
                         unsigned requests)
{
    Ours *ours = calloc(1, sizeof(*ours));

    if (!ours) {
        return NULL;
    }
    ours->ops = (ThreadedWorkqueueOps){
        .thread_request_handler = serve,
        .thread_init = thread_init,
        .thread_uninit = thread_uninit,
        .request_size = sizeof(BenchResult),
        .thread_state_size = sizeof(BenchWorker),
        .opaque = (void *)job,
    };
    ours->queue =
        threaded_workqueue_create("bench", threads, requests, &ours->ops, NULL);
    if (!ours->queue) {
        int failed = errno;

        free(ours);
        errno = failed;
        return NULL;
    }
    return ours;
}

static bool ours_submit(void *opaque, uint64_t index)
{
    Ours *ours = opaque;
    BenchResult *request = threaded_workqueue_get_request(ours->queue);

    if (!request) {
        return false;
    }
    request->index = index;
    threaded_workqueue_submit_request(ours->queue, request);
    return true;
}

static int ours_collect(void *opaque, int64_t timeout_ns, BenchResult *result)
{
    Ours *ours = opaque;
    void *request;
    int failed = threaded_workqueue_collect_request(ours->queue, timeout_ns,
                                                    &request);

    if (!failed) {
        *result = *(BenchResult *)request;
        threaded_workqueue_release_request(ours->queue, request);
    }
    return failed;
}

static void ours_counters(void *opaque, BenchCounters *counters)
{
    const Ours *ours = opaque;
    ThreadedWorkqueueStats stats;
    ThreadedWorkqueueThreadStats thread;

    threaded_workqueue_stats(ours->queue, &stats);
    *counters = (BenchCounters){
        .worker_wakeups = stats.wakeups,
        .submitter_spins = stats.spins,
    };
    for (unsigned i = 0; i < stats.threads_nr; i++) {
        threaded_workqueue_thread_stats(ours->queue, i, &thread);
        counters->submitter_wakeups += thread.wakeups;
        counters->worker_spins += thread.spins;
    }
}

static void ours_destroy(void *opaque)
{
    Ours *ours = opaque;

    threaded_workqueue_destroy(ours->queue, WORKQUEUE_CANCEL);
    free(ours);
}

const BenchDesign bench_workqueue = {
    .name = "workqueue",
    .create = ours_create,
    .submit = ours_submit,
    .collect = ours_collect,
    .counters = ours_counters,
    .polls = true,
    .destroy = ours_destroy,
};
