/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: the body of a PAGES record of our own stream, behind 3 bytes
 * that choose grouping, codec and number of pages.
 */
#include "handlers.h"
#include "spoil.h"
#include "xxh64.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, PAGES_MAX = 16, CHOICES = 3 };

static unsigned bodies, refused;

static void handle(PageJob *job, uint32_t pages, const uint8_t *body,
                   size_t size)
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
        int failed = ops.thread_request_handler(request, state, job);

        bodies++;
        refused += !!failed;
        if (!failed && request->data_size != (size_t)pages * PAGE) {
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
    static CodecLibrary *libraries[2];
    CodecError error;

    if (!libraries[0]) {
        libraries[0] = codec_library_open(&codec_none, NULL, &error);
        libraries[1] = codec_library_open(&codec_zlib, "libz.so.1", &error);
    }
    if (!libraries[0] || !libraries[1]) {
        fprintf(stderr, "%s\n", error.text);
        abort();
    }
    if (size < CHOICES) {
        return 0;
    }
    PageJob job = {
        .library = libraries[data[1] % 2],
        .grouping = data[0] % GROUPINGS,
        .page_size = PAGE,
        .pages_max = PAGES_MAX,
        .fill_zeros = true,
        .dedup = true,
        .output_fd = -1,
    };
    job.channels = job.grouping == GROUPING_STREAM;
    if (job.channels && !job.library->ops->streaming) {
        return 0;
    }
    handle(&job, 1 + data[2] % PAGES_MAX, data + CHOICES, size - CHOICES);
    return 0;
}

void fuzz_report(void)
{
    printf("bodies %u, refused %u\n", bodies, refused);
}
