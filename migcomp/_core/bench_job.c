/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The work of a benchmark's requests, and the check of what came of it. */
#define _GNU_SOURCE
#include "bench.h"
#include "event.h"
#include "xxh64.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Both odd, and of no other meaning. */
#define MULTIPLIER UINT64_C(0x9E3779B97F4A7C15)
#define INCREMENT UINT64_C(0xD1B54A32D192ED03)

static uint64_t chain(uint64_t value, uint64_t turns)
{
    for (; turns; turns--) {
        value = value * MULTIPLIER + INCREMENT;
        /* Or the compiler finds out where the chain ends. */
        __asm__ volatile("" : "+r"(value));
    }
    return value;
}

uint64_t bench_turns(uint64_t ns)
{
    enum { TRIES = 5, TURNS = 200000 };
    int64_t best = INT64_MAX;

    for (int i = 0; i < TRIES; i++) {
        int64_t elapsed = -event_clock();

        chain((uint64_t)i, TURNS);
        elapsed += event_clock();
        if (elapsed < best) {
            best = elapsed;
        }
    }
    return (uint64_t)((double)ns * TURNS / (double)(best > 0 ? best : 1));
}

/* --- Workers ------------------------------------------------------------------- */

static const uint8_t *request_pages(const BenchJob *job, uint64_t index,
                                    size_t *size)
{
    size_t offset = index * job->request_size;
    size_t left = job->memory_size - offset;

    *size = left < job->request_size ? left : job->request_size;
    return job->memory + offset;
}

int bench_worker_init(BenchWorker *worker, const BenchJob *job)
{
    worker->job = job;
    if (job->work != BENCH_CODEC) {
        return 0;
    }
    const CodecOps *codec = job->library->ops;

    worker->output_room = codec->bound(job->library, job->request_size);
    worker->output = malloc(worker->output_room);
    worker->compressor =
        codec->compressor_new(job->library, job->level, false);
    if (!worker->output || !worker->compressor) {
        bench_worker_uninit(worker);
        return -ENOMEM;
    }
    return 0;
}

void bench_worker_uninit(BenchWorker *worker)
{
    if (worker->compressor) {
        worker->job->library->ops->compressor_free(worker->compressor);
    }
    free(worker->output);
    worker->compressor = NULL;
    worker->output = NULL;
}

/* The size of the output, or -1. */
static ptrdiff_t compress_request(BenchWorker *worker, uint64_t index,
                                  CodecError *error)
{
    size_t size;
    const uint8_t *pages = request_pages(worker->job, index, &size);

    return worker->job->library->ops->compress(worker->compressor,
                                               worker->output,
                                               worker->output_room, pages,
                                               size, error);
}

/* Outputs that happen to be equal still have digests of their own. */
static uint64_t output_digest(const BenchWorker *worker, size_t size,
                              uint64_t index)
{
    return xxh64(worker->output, size, index);
}

uint64_t bench_serve(BenchWorker *worker, uint64_t index)
{
    const BenchJob *job = worker->job;
    CodecError error;

    if (job->work != BENCH_CODEC) {
        chain(index, job->turns);
        return chain(index, 1);
    }
    ptrdiff_t size = compress_request(worker, index, &error);

    /* A codec that fails gives the digest of nothing, which is wrong. */
    return output_digest(worker, size < 0 ? 0 : (size_t)size, index);
}

/* --- The job ------------------------------------------------------------------- */

static int find_digest(BenchJob *job, BenchWorker *worker, void *decompressor,
                       uint8_t *back, uint64_t index, CodecError *error)
{
    size_t size;
    const uint8_t *pages = request_pages(job, index, &size);
    ptrdiff_t packed = compress_request(worker, index, error);

    if (packed < 0 || job->library->ops->decompress(
                          decompressor, back, size, worker->output,
                          (size_t)packed, error)) {
        return -EIO;
    }
    if (memcmp(back, pages, size)) {
        snprintf(error->text, sizeof(error->text),
                 "request %llu does not decompress to its pages",
                 (unsigned long long)index);
        return -EIO;
    }
    job->digests[index] = output_digest(worker, (size_t)packed, index);
    job->bytes_out += (uint64_t)packed;
    return 0;
}

int bench_job_begin(BenchJob *job, const BenchStop *stop, CodecError *error)
{
    BenchWorker worker = {0};

    job->digests = NULL;
    job->bytes_out = 0;
    if (job->work != BENCH_CODEC) {
        return 0;
    }
    const CodecOps *codec = job->library->ops;
    void *decompressor = codec->decompressor_new(job->library, false);
    uint8_t *back = malloc(job->request_size);
    int failed = bench_worker_init(&worker, job);

    job->digests = calloc(job->requests, sizeof(*job->digests));
    if (!decompressor || !back || !job->digests) {
        failed = -ENOMEM;
    }
    job->slowest_ns = 0;
    for (uint64_t index = 0; !failed && index < job->requests; index++) {
        int64_t begun = event_clock();

        failed = stop->asked(stop->opaque)
                     ? -EINTR
                     : find_digest(job, &worker, decompressor, back, index,
                                   error);
        uint64_t took = (uint64_t)(event_clock() - begun);

        if (took > job->slowest_ns) {
            job->slowest_ns = took;
        }
    }
    bench_worker_uninit(&worker);
    free(back);
    if (decompressor) {
        codec->decompressor_free(decompressor);
    }
    if (failed) {
        bench_job_end(job);
    }
    return failed;
}

void bench_job_end(BenchJob *job)
{
    free(job->digests);
    job->digests = NULL;
}

/* --- The check ----------------------------------------------------------------- */

int bench_tally_init(BenchTally *tally, const BenchJob *job, uint64_t requests)
{
    *tally = (BenchTally){.job = job, .requests = requests};
    tally->seen = calloc(requests / 64 + 1, sizeof(*tally->seen));
    return tally->seen ? 0 : -ENOMEM;
}

void bench_tally_uninit(BenchTally *tally)
{
    free(tally->seen);
    tally->seen = NULL;
}

void bench_tally_add(BenchTally *tally, uint64_t index, uint64_t digest)
{
    const BenchJob *job = tally->job;

    if (index >= tally->requests ||
        digest != (job->digests ? job->digests[index] : chain(index, 1))) {
        tally->wrong++;
        return;
    }
    uint64_t *seen = &tally->seen[index / 64], bit = UINT64_C(1) << index % 64;

    if (*seen & bit) {
        tally->repeated++;
    } else {
        *seen |= bit;
        tally->good++;
    }
}
