/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A round of the benchmark reports what its design counted while it was timed,
 * and can be stopped while results come in.  The design here does nothing but
 * what it is told.
 */
#include "bench.h"
#include "check.h"

enum { REQUESTS = 100, ROOM = 4, SLOW = 3 }; /* each SLOW-th look is in vain */

static unsigned asked, stop_at; /* 0 for never */

static bool stop_asked(void *opaque)
{
    (void)opaque;
    return ++asked == stop_at;
}

static const BenchStop stop = {.asked = stop_asked};

static unsigned room, counted, looks, waits;
static uint64_t in_hand, next_out;
static int64_t late_ns; /* the next result keeps a waiter so long */

static void *scripted_create(const BenchJob *job, unsigned threads,
                             unsigned requests)
{
    (void)threads;
    (void)requests;
    counted = looks = waits = 0;
    in_hand = next_out = 0;
    return (void *)job;
}

static bool scripted_submit(void *job, uint64_t index)
{
    (void)job;
    if (in_hand == room) {
        return false;
    }
    if (!index) {
        next_out = looks = waits = 0;
    }
    in_hand++;
    return true;
}

static int scripted_collect(void *job, int64_t timeout_ns, BenchResult *result)
{
    BenchWorker worker = {.job = job}; /* empty requests need no more */

    if (!in_hand) {
        return -ENOENT;
    }
    if (!timeout_ns && ++looks % SLOW == 0) {
        waits++;
        return -ETIMEDOUT;
    }
    if (timeout_ns && late_ns > 0) {
        late_ns -= timeout_ns;
        return -ETIMEDOUT;
    }
    in_hand--;
    *result = (BenchResult){next_out, bench_serve(&worker, next_out)};
    next_out++;
    return 0;
}

/* Before and after the warm-up, before and after what is timed. */
static void scripted_counters(void *job, BenchCounters *counters)
{
    static const BenchCounters script[] = {
        {1, 2, 3, 4},
        {50, 60, 70, 80},
        {100, 200, 300, 400},
        {1100, 2300, 3500, 4700},
    };

    (void)job;
    CHECK(counted < 4, "counted too often");
    *counters = script[counted++ % 4];
}

static void scripted_destroy(void *job)
{
    (void)job;
}

static const BenchDesign scripted = {
    .name = "scripted",
    .create = scripted_create,
    .submit = scripted_submit,
    .collect = scripted_collect,
    .counters = scripted_counters,
    .destroy = scripted_destroy,
};

static void check_counts(const BenchJob *job)
{
    BenchRound round;

    check_phase = "counts";
    room = ROOM;
    CHECK(!bench_round(&scripted, job, 1, ROOM, 0, &stop, &round), "failed");
    CHECK(!round.lost && !round.repeated && !round.wrong, "not all came");
    CHECK(looks == REQUESTS - ROOM, "%u looks", looks);
    CHECK(waits == looks / SLOW && round.busy == waits,
          "%llu busy, but %u waits", (unsigned long long)round.busy, waits);
    CHECK(round.counters.worker_wakeups == 1000 &&
              round.counters.submitter_wakeups == 2100 &&
              round.counters.worker_spins == 3200 &&
              round.counters.submitter_spins == 4300,
          "wake-ups %llu and %llu, spins %llu and %llu",
          (unsigned long long)round.counters.worker_wakeups,
          (unsigned long long)round.counters.submitter_wakeups,
          (unsigned long long)round.counters.worker_spins,
          (unsigned long long)round.counters.submitter_spins);
    check_operations += REQUESTS;
}

/* Whether one of requests that take a second, on three threads, is lost. */
static bool is_lost(const BenchJob *job, int64_t late)
{
    BenchJob slow = *job;
    BenchRound round;

    slow.slowest_ns = SECOND;
    room = ROOM;
    late_ns = late;
    CHECK(!bench_round(&scripted, &slow, 3, 1, 0, &stop, &round), "failed");
    return round.lost;
}

static void check_waiting(const BenchJob *job)
{
    BenchJob other = *job;

    check_phase = "patience";
    CHECK(bench_patience_ns(&other, 3) == 10 * SECOND, "empty requests");
    other.slowest_ns = UINT64_MAX / 5;
    CHECK(bench_patience_ns(&other, 3) == INT64_MAX, "requests of years");
    CHECK(!is_lost(job, 39 * SECOND), "a slow request was lost");
    CHECK(is_lost(job, 41 * SECOND), "waited too long");
}

/* There is room for all, so that results come in when all are submitted. */
static void check_stops(const BenchJob *job)
{
    BenchRound round;

    check_phase = "stops";
    room = REQUESTS;
    asked = 0;
    stop_at = 1;
    CHECK(bench_round(&scripted, job, 1, 1, 0, &stop, &round) == -EINTR,
          "not stopped");
    CHECK(!next_out, "%llu came first", (unsigned long long)next_out);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    BenchJob job = {.work = BENCH_EMPTY, .requests = REQUESTS};
    CodecError error;

    CHECK(!bench_job_begin(&job, &stop, &error), "no job");
    check_counts(&job);
    check_waiting(&job);
    check_stops(&job);
    bench_job_end(&job);
    return check_end();
}
