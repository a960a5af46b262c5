/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A benchmark of work queues: numbered requests through a queue of some
 * design, each answered with a digest of what its worker made.
 *
 * The timed loop, the work and the check are the same for every design; only
 * the hand-over differs.  The loop is the submitter: it submits as long as
 * there is room, else collects one result, as pipeline.py does.
 */
#ifndef MIGCOMP_BENCH_H
#define MIGCOMP_BENCH_H

#include "codec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- The work ---------------------------------------------------------------- */

typedef enum BenchWork {
    BENCH_EMPTY, /* the digest follows from the request's number */
    BENCH_FIXED, /* so, after a fixed number of multiplications */
    BENCH_CODEC, /* the request's pages, compressed as one block */
} BenchWork;

/* Constant once bench_job_begin has succeeded. */
typedef struct BenchJob {
    BenchWork work;
    uint64_t requests;
    /* BENCH_FIXED. */
    uint64_t turns; /* multiplications, each of which needs the one before */
    /* BENCH_CODEC; memory is borrowed. */
    const uint8_t *memory;
    size_t memory_size;
    size_t request_size; /* the last request may be smaller */
    const CodecLibrary *library;
    int level;
    uint64_t *digests;  /* [requests] what each request must give */
    uint64_t bytes_out; /* of all requests */
    /* What the slowest request takes, alone on a CPU: BENCH_FIXED, as stated;
     * BENCH_CODEC, as found by bench_job_begin. */
    uint64_t slowest_ns;
} BenchJob;

/* Asked now and then; true ends what is under way. */
typedef struct BenchStop {
    bool (*asked)(void *opaque);
    void *opaque;
} BenchStop;

/*
 * Finds what each request must give, by doing it once and, with a codec,
 * decompressing and comparing it.  -ENOMEM, -EINTR when stopped, -EIO with
 * error filled in.
 */
int bench_job_begin(BenchJob *job, const BenchStop *stop, CodecError *error);
void bench_job_end(BenchJob *job);

/* How many multiplications take ns nanoseconds, by the fastest of a few tries. */
uint64_t bench_turns(uint64_t ns);

/* A worker's own memory; zeroed before init. */
typedef struct BenchWorker {
    const BenchJob *job;
    void *compressor;
    uint8_t *output;
    size_t output_room;
} BenchWorker;

int bench_worker_init(BenchWorker *worker, const BenchJob *job); /* -ENOMEM */
void bench_worker_uninit(BenchWorker *worker);

/* What the worker makes of request index: its digest. */
uint64_t bench_serve(BenchWorker *worker, uint64_t index);

/* --- The check --------------------------------------------------------------- */

/* Every request from 0 to requests must come once, with its digest. */
typedef struct BenchTally {
    const BenchJob *job;
    uint64_t requests;
    uint64_t *seen;    /* a bit for each request */
    uint64_t good;     /* requests that came, the first time */
    uint64_t repeated; /* that came again */
    uint64_t wrong;    /* that have another digest, or do not exist */
} BenchTally;

int bench_tally_init(BenchTally *tally, const BenchJob *job,
                     uint64_t requests); /* -ENOMEM */
void bench_tally_uninit(BenchTally *tally);
void bench_tally_add(BenchTally *tally, uint64_t index, uint64_t digest);

/* --- The designs -------------------------------------------------------------- */

typedef struct BenchResult {
    uint64_t index;
    uint64_t digest;
} BenchResult;

typedef struct BenchCounters {
    uint64_t worker_wakeups;    /* times a worker slept and was woken */
    uint64_t submitter_wakeups; /* times the submitter did */
    uint64_t worker_spins;      /* turns of polling */
    uint64_t submitter_spins;
} BenchCounters;

/* All functions are for one thread, the submitter. */
typedef struct BenchDesign {
    const char *name;
    /* NULL with errno set. */
    void *(*create)(const BenchJob *job, unsigned threads, unsigned requests);
    /* False when there is no room. */
    bool (*submit)(void *queue, uint64_t index);
    /* Waits for a result, or only looks if timeout_ns is 0: 0, -ETIMEDOUT,
     * -ENOENT when nothing is submitted, or another error. */
    int (*collect)(void *queue, int64_t timeout_ns, BenchResult *result);
    void (*counters)(void *queue, BenchCounters *counters);
    bool polls; /* else there are no spins to count */
    /* Handles what is being handled, and drops the rest. */
    void (*destroy)(void *queue);
} BenchDesign;

/* Ends with NULL. */
extern const BenchDesign *const bench_designs[];

extern const BenchDesign bench_loop, bench_workqueue, bench_thread_locks,
    bench_one_lock;

/* --- A round ------------------------------------------------------------------- */

typedef struct BenchRound {
    int64_t wall_ns;
    int64_t submitter_cpu_ns;
    int64_t cpu_ns; /* of the whole process */
    int64_t idle_ns, idle_cpu_ns; /* while the queue had nothing to do */
    uint64_t busy; /* submissions that found no room and no finished result */
    BenchCounters counters;
    uint64_t lost, repeated, wrong;
} BenchRound;

/*
 * How long to wait for a result before it is lost: ten times what the slowest
 * request takes when all threads share one CPU, and 10 s for all else.
 */
int64_t bench_patience_ns(const BenchJob *job, unsigned threads);

/*
 * Makes a queue, warms it up with a tenth of the requests, and times them
 * all.  -EINTR when stopped; other negative errno values when the queue
 * failed.
 */
int bench_round(const BenchDesign *design, const BenchJob *job,
                unsigned threads, unsigned requests, int64_t idle_ns,
                const BenchStop *stop, BenchRound *round);

#endif
