/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: the body of a PAGES record of our own stream, behind 3 bytes
 * that choose grouping, codec, salvage, deltas and number of pages.
 */
#include "handlers.h"
#include "spoil.h"
#include "xxh64.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, PAGES_MAX = 16, CHOICES = 3, LIBRARIES = 4 };

static unsigned bodies, refused;

/* previous: what the receiver has, for a job with deltas. */
static void handle(PageJob *job, uint32_t pages, const uint8_t *body,
                   size_t size, const PageMap *previous)
{
    ThreadedWorkqueueOps ops;

    page_decompress_ops(job, &ops);
    PageRequest *request = calloc(1, ops.request_size);
    void *state = calloc(1, ops.thread_state_size);

    if (!request || !state || ops.thread_init(state, 0, job) ||
        ops.thread_request_init(request, job)) {
        abort();
    }
    /* Twice, because a channel keeps what it had before. */
    for (int i = 0; i < 2; i++) {
        request->first_page = (uint64_t)i * pages;
        request->pages = pages;
        request->input = body;
        request->input_size = size;
        request->body_checksum = xxh64(body, size, 0);
        request->previous = previous;
        int failed = ops.thread_request_handler(request, state, job);

        bodies++;
        refused += failed || request->lost;
        if ((!failed && !request->lost &&
             request->data_size != (size_t)pages * PAGE) ||
            (failed && job->salvage && pages <= PAGES_MAX)) {
            abort();
        }
    }
    ops.thread_request_uninit(request, job);
    ops.thread_uninit(state, job);
    page_decompress_job_end(job);
    free(state);
    free(request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static CodecLibrary *libraries[LIBRARIES];
    static uint8_t had[2 * PAGES_MAX * PAGE];
    PageExtent extent = {0, 2 * PAGES_MAX, had};
    const PageMap previous = {
        .pages = 2 * PAGES_MAX,
        .page_size = PAGE,
        .extents = &extent,
        .extents_nr = 1,
    };
    CodecError error;

    if (!libraries[0]) {
        libraries[0] = codec_library_open(&codec_none, NULL, &error);
        libraries[1] = codec_library_open(&codec_zlib, "libz.so.1", &error);
        libraries[2] = codec_library_open(&codec_zstd, "libzstd.so.1", &error);
        libraries[3] = codec_library_open(&codec_lz4, "liblz4.so.1", &error);
        for (size_t i = 0; i < sizeof(had); i++) {
            had[i] = (uint8_t)(i * i >> 5);
        }
    }
    if (!libraries[0] || !libraries[1] || !libraries[2] || !libraries[3] ||
        codec_library_bind_deltas(libraries[2], &error) ||
        codec_library_bind_deltas(libraries[3], &error)) {
        fprintf(stderr, "%s\n", error.text);
        abort();
    }
    if (size < CHOICES) {
        return 0;
    }
    PageJob job = {
        .library = libraries[data[1] % LIBRARIES],
        .grouping = data[0] % GROUPINGS,
        .page_size = PAGE,
        .pages_max = PAGES_MAX,
        .fill_zeros = true,
        .dedup = true,
        .salvage = data[1] & 0x40,
        .output_fd = -1,
    };
    job.channels = job.grouping == GROUPING_STREAM;
    if (job.channels && !job.library->ops->streaming) {
        return 0;
    }
    job.deltas = data[1] & 0x80 && job.library->ops->decompress_delta &&
                 job.grouping != GROUPING_STREAM;
    /* One page more than there may be, too. */
    handle(&job, 1 + data[2] % (PAGES_MAX + 1), data + CHOICES, size - CHOICES,
           job.deltas ? &previous : NULL);
    return 0;
}

void fuzz_report(void)
{
    printf("bodies %u, refused %u\n", bodies, refused);
}
