/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The timed loop of a benchmark, and the designs it knows. */
#define _GNU_SOURCE
#include "bench.h"
#include "clock.h"
#include "event.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

const BenchDesign *const bench_designs[] = {
    &bench_loop, &bench_workqueue, &bench_thread_locks, &bench_one_lock, NULL,
};

/* --- Stopping ------------------------------------------------------------------ */

/* How often to ask: about each millisecond, at the pace of the requests; and
 * how long to wait for one of them. */
typedef struct Pace {
    const BenchStop *stop;
    uint64_t every, left;
    int64_t asked_at;
    int64_t patience_ns;
} Pace;

#define PACE_NS 1000000

static bool pace_stops(Pace *pace)
{
    if (--pace->left) {
        return false;
    }
    int64_t now = event_clock();

    if (now - pace->asked_at < PACE_NS) {
        pace->every *= 2;
    } else if (pace->every > 1) {
        pace->every /= 2;
    }
    pace->left = pace->every;
    pace->asked_at = now;
    return pace->stop->asked(pace->stop->opaque);
}

int64_t bench_patience_ns(const BenchJob *job, unsigned threads)
{
    const uint64_t least = UINT64_C(10000000000);
    uint64_t patience;

    if (__builtin_mul_overflow(job->slowest_ns, UINT64_C(10) * threads,
                               &patience) ||
        patience > INT64_MAX - least) {
        return INT64_MAX;
    }
    return (int64_t)(patience + least);
}

/* --- The loop ------------------------------------------------------------------ */

#define SLICE_NS 20000000 /* so long a wait goes on before stop is asked */

static int collect(const BenchDesign *design, void *queue, int64_t timeout_ns,
                   BenchTally *tally)
{
    BenchResult result;
    int failed = design->collect(queue, timeout_ns, &result);

    if (!failed) {
        bench_tally_add(tally, result.index, result.digest);
    }
    return failed;
}

/* 0; -ENOENT when nothing more will come; or an error. */
static int collect_one(const BenchDesign *design, void *queue,
                       BenchTally *tally, Pace *pace)
{
    for (int64_t waited = 0; waited < pace->patience_ns; waited += SLICE_NS) {
        int failed = collect(design, queue, SLICE_NS, tally);

        if (failed != -ETIMEDOUT) {
            return failed;
        }
        pace->left = 1;
        if (pace_stops(pace)) {
            return -EINTR;
        }
    }
    return -ENOENT;
}

static int pass(const BenchDesign *design, void *queue, BenchTally *tally,
                Pace pace, uint64_t *busy)
{
    uint64_t index = 0;
    int failed = 0;

    while (!failed && index < tally->requests) {
        if (design->submit(queue, index)) {
            index++;
            continue;
        }
        failed = pace_stops(&pace) ? -EINTR : collect(design, queue, 0, tally);
        if (failed == -ETIMEDOUT) {
            ++*busy;
            failed = collect_one(design, queue, tally, &pace);
        }
    }
    while (!failed) {
        failed = pace_stops(&pace) ? -EINTR
                                   : collect_one(design, queue, tally, &pace);
    }
    return failed == -ENOENT ? 0 : failed;
}

static int checked_pass(const BenchDesign *design, void *queue,
                        const BenchJob *job, uint64_t requests,
                        const Pace *pace, BenchRound *round)
{
    BenchTally tally;
    BenchCounters before, after;
    int failed = bench_tally_init(&tally, job, requests);

    if (failed) {
        return failed;
    }
    design->counters(queue, &before);
    round->busy = 0;
    round->cpu_ns = -clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    round->submitter_cpu_ns = -clock_ns(CLOCK_THREAD_CPUTIME_ID);
    round->wall_ns = -event_clock();
    failed = pass(design, queue, &tally, *pace, &round->busy);
    round->wall_ns += event_clock();
    round->submitter_cpu_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID);
    round->cpu_ns += clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    design->counters(queue, &after);

    round->counters = (BenchCounters){
        .worker_wakeups = after.worker_wakeups - before.worker_wakeups,
        .submitter_wakeups = after.submitter_wakeups - before.submitter_wakeups,
        .worker_spins = after.worker_spins - before.worker_spins,
        .submitter_spins = after.submitter_spins - before.submitter_spins,
    };
    round->lost += requests - tally.good;
    round->repeated += tally.repeated;
    round->wrong += tally.wrong;
    bench_tally_uninit(&tally);
    return failed;
}

static void idle(int64_t idle_ns, BenchRound *round)
{
    struct timespec time = {idle_ns / 1000000000, idle_ns % 1000000000};

    round->idle_cpu_ns = -clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    round->idle_ns = -event_clock();
    nanosleep(&time, NULL);
    round->idle_ns += event_clock();
    round->idle_cpu_ns += clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

int bench_round(const BenchDesign *design, const BenchJob *job,
                unsigned threads, unsigned requests, int64_t idle_ns,
                const BenchStop *stop, BenchRound *round)
{
    void *queue = design->create(job, threads, requests);
    const Pace pace = {stop, 1, 1, event_clock(),
                       bench_patience_ns(job, threads)};

    *round = (BenchRound){0};
    if (!queue) {
        return -errno;
    }
    int failed =
        checked_pass(design, queue, job, job->requests / 10, &pace, round);

    if (!failed) {
        failed = checked_pass(design, queue, job, job->requests, &pace, round);
    }
    if (!failed) {
        idle(idle_ns, round);
    }
    design->destroy(queue);
    return failed;
}

/* --- The bare loop: no queue, the submitter does the work ------------------------ */

typedef struct Loop {
    BenchWorker worker;
    BenchResult result;
    bool full;
} Loop;

static void loop_destroy(void *opaque)
{
    Loop *loop = opaque;

    bench_worker_uninit(&loop->worker);
    free(loop);
}

static void *loop_create(const BenchJob *job, unsigned threads,
                         unsigned requests)
{
    Loop *loop = calloc(1, sizeof(*loop));

    (void)threads;
    (void)requests;
    if (loop && bench_worker_init(&loop->worker, job)) {
        loop_destroy(loop);
        errno = ENOMEM;
        return NULL;
    }
    return loop;
}

static bool loop_submit(void *opaque, uint64_t index)
{
    Loop *loop = opaque;

    if (loop->full) {
        return false;
    }
    loop->result = (BenchResult){index, bench_serve(&loop->worker, index)};
    loop->full = true;
    return true;
}

static int loop_collect(void *opaque, int64_t timeout_ns, BenchResult *result)
{
    Loop *loop = opaque;

    (void)timeout_ns;
    if (!loop->full) {
        return -ENOENT;
    }
    *result = loop->result;
    loop->full = false;
    return 0;
}

static void loop_counters(void *opaque, BenchCounters *counters)
{
    (void)opaque;
    *counters = (BenchCounters){0};
}

const BenchDesign bench_loop = {
    .name = "loop",
    .create = loop_create,
    .submit = loop_submit,
    .collect = loop_collect,
    .counters = loop_counters,
    .destroy = loop_destroy,
};
