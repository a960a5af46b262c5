/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The benchmark's designs take each request through once, its check catches
 * designs that do not, and whatever fails is reported and freed.  Linked with
 * --wrap=aligned_alloc,--wrap=calloc,--wrap=malloc,--wrap=pthread_create.
 */
#define _GNU_SOURCE
#include "bench.h"
#include "check.h"

#include <pthread.h>

enum { REQUEST_SIZE = 100, REQUESTS_LEAST = 100, REQUESTS_MOST = 30000 };

/* Of the jobs with a codec or a fixed cost; the last request is a short one. */
static unsigned requests_nr;
static size_t memory_size;

static unsigned failing_at; /* from 1; 0 for never */
static unsigned steps;      /* that could have failed */

void *__real_aligned_alloc(size_t alignment, size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_malloc(size_t size);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*start)(void *), void *argument);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*start)(void *), void *argument);

static bool fails(int reason)
{
    if (!failing_at || ++steps != failing_at) {
        return false;
    }
    errno = reason;
    return true;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return fails(ENOMEM) ? NULL : __real_aligned_alloc(alignment, size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails(ENOMEM) ? NULL : __real_calloc(count, size);
}

void *__wrap_malloc(size_t size)
{
    return fails(ENOMEM) ? NULL : __real_malloc(size);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*start)(void *), void *argument)
{
    return fails(EAGAIN) ? EAGAIN
                         : __real_pthread_create(thread, attr, start, argument);
}

/* --- A codec that turns bytes round, and can fail ------------------------------ */

static bool codec_broken, codec_spoils;
static int64_t codec_pause_ns; /* once */

static size_t turn_bound(const CodecLibrary *library, size_t size)
{
    (void)library;
    return size;
}

static void *turn_new(const CodecLibrary *library, int level, bool streaming)
{
    (void)library;
    (void)level;
    (void)streaming;
    return malloc(1);
}

static void *turn_back_new(const CodecLibrary *library, bool streaming)
{
    return turn_new(library, 0, streaming);
}

static ptrdiff_t turn(void *compressor, void *to, size_t room,
                      const void *from, size_t size, CodecError *error)
{
    const uint8_t *bytes = from;

    (void)compressor;
    (void)room;
    if (codec_broken) {
        snprintf(error->text, sizeof(error->text), "broken");
        return -1;
    }
    if (codec_pause_ns) {
        check_sleep(codec_pause_ns);
        codec_pause_ns = 0;
    }
    for (size_t i = 0; i < size; i++) {
        ((uint8_t *)to)[i] = bytes[size - 1 - i];
    }
    return (ptrdiff_t)size;
}

static int turn_back(void *decompressor, void *to, size_t size,
                     const void *from, size_t from_size, CodecError *error)
{
    turn(decompressor, to, size, from, from_size, error);
    ((uint8_t *)to)[0] ^= codec_spoils;
    return 0;
}

static const CodecOps turn_ops = {
    .name = "turn",
    .bound = turn_bound,
    .compressor_new = turn_new,
    .compressor_free = free,
    .compress = turn,
    .decompressor_new = turn_back_new,
    .decompressor_free = free,
    .decompress = turn_back,
};

/* --- Jobs ------------------------------------------------------------------------ */

static uint8_t memory[REQUESTS_MOST * REQUEST_SIZE];
static const CodecLibrary library = {.ops = &turn_ops};
static unsigned asked, stop_at; /* 0 for never */

static bool stop_asked(void *opaque)
{
    (void)opaque;
    check_alive();
    return ++asked == stop_at;
}

static const BenchStop stop = {.asked = stop_asked};

static BenchJob codec_job(void)
{
    return (BenchJob){
        .work = BENCH_CODEC,
        .requests = requests_nr,
        .memory = memory,
        .memory_size = memory_size,
        .request_size = REQUEST_SIZE,
        .library = &library,
    };
}

static void check_job_errors(void)
{
    BenchJob job = codec_job();
    CodecError error = {""};

    check_phase = "job";
    codec_broken = true;
    CHECK(bench_job_begin(&job, &stop, &error) == -EIO, "broken codec taken");
    CHECK(!strcmp(error.text, "broken"), "said %s", error.text);
    codec_broken = false;
    codec_spoils = true;
    CHECK(bench_job_begin(&job, &stop, &error) == -EIO, "spoilt pages taken");
    codec_spoils = false;
    asked = 0;
    stop_at = 7;
    CHECK(bench_job_begin(&job, &stop, &error) == -EINTR, "not stopped");
    stop_at = 0;
    for (failing_at = 1;; failing_at++) {
        steps = 0;
        int failed = bench_job_begin(&job, &stop, &error);

        if (!failed) {
            break;
        }
        CHECK(failed == -ENOMEM, "at %u: %d", failing_at, failed);
    }
    CHECK(failing_at == 6, "%u steps that can fail", failing_at - 1);
    failing_at = 0;
    bench_job_end(&job);
    codec_pause_ns = 20 * MS;
    CHECK(!bench_job_begin(&job, &stop, &error), "no job");
    CHECK(job.slowest_ns >= 20 * MS, "the slowest took %llu ns",
          (unsigned long long)job.slowest_ns);
    bench_job_end(&job);
}

/* --- Designs ----------------------------------------------------------------------- */

static const char *design_named(const BenchDesign *design)
{
    check_phase = design->name;
    return design->name;
}

static void check_design(const BenchDesign *design, const BenchJob *job)
{
    static const unsigned sizes[][2] = {{1, 1}, {1, 4}, {2, 4}, {5, 3}, {3, 64}};
    BenchRound round;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        int failed = bench_round(design, job, sizes[i][0], sizes[i][1], 1000,
                                 &stop, &round);

        CHECK(!failed, "%u x %u: %d", sizes[i][0], sizes[i][1], failed);
        CHECK(!round.lost && !round.repeated && !round.wrong,
              "lost %llu, repeated %llu, wrong %llu",
              (unsigned long long)round.lost,
              (unsigned long long)round.repeated,
              (unsigned long long)round.wrong);
        CHECK(round.wall_ns > 0 && round.idle_ns >= 1000, "no time went by");
        CHECK(round.busy < job->requests, "%llu of %llu were busy",
              (unsigned long long)round.busy,
              (unsigned long long)job->requests);
        check_operations += job->requests;
    }
}

/* At each step, until there is none left to fail. */
static void check_faults(const BenchDesign *design, const BenchJob *job)
{
    BenchRound round;
    int failed = -1;

    for (failing_at = 1; failed; failing_at++) {
        check_alive();
        steps = 0;
        failed = bench_round(design, job, 3, 2, 0, &stop, &round);
        CHECK(!failed || failed == -ENOMEM || failed == -EAGAIN, "at %u: %d",
              failing_at, failed);
    }
    CHECK(failing_at > 4, "only %u steps", failing_at);
    failing_at = 0;
}

static void check_stops(const BenchDesign *design, const BenchJob *job)
{
    BenchRound round;

    asked = 0;
    stop_at = 2;
    CHECK(bench_round(design, job, 2, 4, 0, &stop, &round) == -EINTR,
          "not stopped");
    stop_at = 0;
}

/* --- Designs that are wrong ----------------------------------------------------------- */

static enum { LOSE, REPEAT, SPOIL, INVENT } defect;
static BenchResult last;
static bool owed;

static int faulty_collect(void *queue, int64_t timeout_ns, BenchResult *result)
{
    if (owed) {
        owed = false;
        *result = last;
        return 0;
    }
    int failed = bench_one_lock.collect(queue, timeout_ns, result);

    if (!failed && result->index == requests_nr / 2) {
        switch (defect) {
        case LOSE:
            return bench_one_lock.collect(queue, timeout_ns, result);
        case REPEAT:
            last = *result;
            owed = true;
            break;
        case SPOIL:
            result->digest ^= 1;
            break;
        case INVENT:
            result->index = requests_nr;
            break;
        }
    }
    return failed;
}

static void check_defects(const BenchJob *job)
{
    BenchDesign faulty = bench_one_lock;
    BenchRound round;

    faulty.collect = faulty_collect;
    check_phase = "defects";
    for (defect = LOSE; defect <= INVENT; defect++) {
        CHECK(!bench_round(&faulty, job, 2, 4, 0, &stop, &round), "failed");
        CHECK(round.lost == (defect != REPEAT) &&
                  round.repeated == (defect == REPEAT) &&
                  round.wrong == (defect == SPOIL || defect == INVENT),
              "defect %d: lost %llu, repeated %llu, wrong %llu", (int)defect,
              (unsigned long long)round.lost,
              (unsigned long long)round.repeated,
              (unsigned long long)round.wrong);
    }
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    uint64_t seed = 1;

    requests_nr = REQUESTS_LEAST + check_count(3000);
    if (requests_nr > REQUESTS_MOST) {
        requests_nr = REQUESTS_MOST;
    }
    memory_size = requests_nr * REQUEST_SIZE - 30;
    for (size_t i = 0; i < memory_size; i++) {
        memory[i] = (uint8_t)check_random(&seed);
    }
    check_job_errors();

    BenchJob jobs[] = {
        codec_job(),
        {.work = BENCH_EMPTY, .requests = check_count(40000)},
        {.work = BENCH_FIXED, .requests = requests_nr, .turns = bench_turns(1000)},
    };
    CodecError error;

    CHECK(jobs[2].turns > 1, "work of no length");
    for (size_t i = 0; i < sizeof(jobs) / sizeof(*jobs); i++) {
        CHECK(!bench_job_begin(&jobs[i], &stop, &error), "no job");
        for (const BenchDesign *const *d = bench_designs; *d; d++) {
            CHECK(*design_named(*d), "a design without a name");
            check_design(*d, &jobs[i]);
            if (jobs[i].work == BENCH_CODEC) {
                check_faults(*d, &jobs[i]);
                check_stops(*d, &jobs[i]);
            }
        }
        CHECK(jobs[i].work != BENCH_CODEC || jobs[i].bytes_out == memory_size,
              "%llu bytes out", (unsigned long long)jobs[i].bytes_out);
    }
    check_defects(&jobs[0]);
    for (size_t i = 0; i < sizeof(jobs) / sizeof(*jobs); i++) {
        bench_job_end(&jobs[i]);
    }
    return check_end();
}
