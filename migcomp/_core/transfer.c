/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handler of a simulated migration: pages are compressed as a sender would,
 * and decompressed again as the receiver would.  What a request leaves behind
 * are the pages that arrived, in data; the sizes of what was sent, in details;
 * and the CPU time that the sender spent, in elapsed_ns.
 *
 * Every page but a zero page is compressed, whether it shrinks or not: QEMU
 * does that, and who does not can tell by the size.
 */
#define _GNU_SOURCE
#include "bytes.h"
#include "guard.h"
#include "handlers.h"
#include "page_fetch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A thread's own memory. */
typedef struct TransferState {
    void *compressor, *decompressor; /* NULL for codec none, and with streams */
    uint8_t *content;                /* pages side by side, to be sent */
    uint8_t *packed;                 /* what is sent for them */
    uint8_t *arrived;                /* pages side by side, decompressed */
} TransferState;

static uint64_t cpu_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint32_t classify(const PageJob *job, PageRequest *request)
{
    uint32_t content = 0;
    uint64_t pattern;

    for (uint32_t i = 0; i < request->pages; i++) {
        const uint8_t *page = request->input + (size_t)i * job->page_size;
        bool zero = page_same_filled(page, job->page_size, &pattern) &&
                    !pattern;

        request->classes[i] = zero ? PAGE_ZERO : PAGE_NORMAL;
        request->sizes[i] = 0;
        content += !zero;
    }
    return content;
}

/* Compresses size bytes; the size of the block or -1. */
static ptrdiff_t send_block(const PageJob *job, PageRequest *request,
                            void *compressor, const uint8_t *from, size_t size,
                            uint8_t *to)
{
    const CodecOps *codec = job->library->ops;

    if (!codec->compress) {
        memcpy(to, from, size);
        return (ptrdiff_t)size;
    }
    return codec->compress(compressor, to, codec->bound(job->library, size),
                           from, size, &request->failure.error);
}

static int receive_block(const PageJob *job, PageRequest *request,
                         void *decompressor, const uint8_t *from,
                         size_t from_size, uint8_t *to, size_t size)
{
    const CodecOps *codec = job->library->ops;

    if (!codec->compress) {
        memcpy(to, from, size);
        return 0;
    }
    return codec->decompress(decompressor, to, size, from, from_size,
                             &request->failure.error);
}

/* Apart from receiving them, because the clock costs as much as a page. */
static int send_pages(const PageJob *job, PageRequest *request,
                      const TransferState *state)
{
    uint8_t *to = state->packed;

    for (uint32_t i = 0; i < request->pages; i++) {
        if (request->classes[i] == PAGE_ZERO) {
            continue;
        }
        ptrdiff_t size =
            send_block(job, request, state->compressor,
                       request->input + (size_t)i * job->page_size,
                       job->page_size, to);

        if (size < 0) {
            request->failure.page = request->first_page + i;
            return -EIO;
        }
        request->sizes[i] = (uint32_t)size;
        if ((size_t)size < job->page_size) {
            request->classes[i] = PAGE_COMPRESSED;
        }
        to += size;
    }
    return 0;
}

static int receive_pages(const PageJob *job, PageRequest *request,
                         const TransferState *state)
{
    const uint8_t *from = state->packed;

    for (uint32_t i = 0; i < request->pages; i++) {
        if (request->classes[i] != PAGE_ZERO &&
            receive_block(job, request, state->decompressor, from,
                          request->sizes[i],
                          request->data + (size_t)i * job->page_size,
                          job->page_size)) {
            request->failure.page = request->first_page + i;
            return -EIO;
        }
        from += request->sizes[i];
    }
    return 0;
}

static int transfer_pages(const PageJob *job, PageRequest *request,
                          const TransferState *state)
{
    uint64_t start = cpu_clock();
    int failed = send_pages(job, request, state);

    request->elapsed_ns += cpu_clock() - start;
    return failed ? failed : receive_pages(job, request, state);
}

static int channel_codec(PageJob *job, uint32_t channel, void **compressor,
                         void **decompressor)
{
    const CodecOps *codec = job->library->ops;

    if (!job->channel_contexts[channel]) {
        job->channel_contexts[channel] =
            codec->compressor_new(job->library, job->level, true);
    }
    if (!job->channel_decompressors[channel]) {
        job->channel_decompressors[channel] =
            codec->decompressor_new(job->library, true);
    }
    *compressor = job->channel_contexts[channel];
    *decompressor = job->channel_decompressors[channel];
    return *compressor && *decompressor ? 0 : -ENOMEM;
}

/* Between the request's pages, which have gaps, and those side by side. */
static void move_content(const PageJob *job, PageRequest *request,
                         uint8_t *together, bool gather)
{
    for (uint32_t i = 0; i < request->pages; i++) {
        size_t at = (size_t)i * job->page_size;

        if (request->classes[i] == PAGE_ZERO) {
            continue;
        }
        if (gather) {
            memcpy(together, request->input + at, job->page_size);
        } else {
            memcpy(request->data + at, together, job->page_size);
        }
        together += job->page_size;
    }
}

static int transfer_packet(PageJob *job, PageRequest *request,
                           const TransferState *state, uint32_t content)
{
    size_t room = (size_t)content * job->page_size;
    void *compressor = state->compressor, *decompressor = state->decompressor;

    if (!content) {
        return 0;
    }
    request->failure.page = request->first_page;
    if (job->grouping == GROUPING_STREAM && job->library->ops->compress &&
        channel_codec(job, request->channel, &compressor, &decompressor)) {
        return page_request_fail(request, request->first_page, false,
                                 "no memory for channel %u", request->channel);
    }
    uint64_t start = cpu_clock();

    move_content(job, request, state->content, true);
    ptrdiff_t size = send_block(job, request, compressor, state->content, room,
                                state->packed);

    request->elapsed_ns += cpu_clock() - start;
    if (size < 0 || receive_block(job, request, decompressor, state->packed,
                                  (size_t)size, state->arrived, room)) {
        return -EIO;
    }
    move_content(job, request, state->arrived, false);
    bool first = true;

    for (uint32_t i = 0; i < request->pages; i++) {
        if (request->classes[i] != PAGE_ZERO) {
            request->sizes[i] = first ? (uint32_t)size : 0;
            first = false;
            if ((size_t)size < room) {
                request->classes[i] = PAGE_COMPRESSED;
            }
        }
    }
    return 0;
}

/* The guest's memory may be a mapped file, and zlib reads its input twice. */
static int fetch_input(const PageJob *job, PageRequest *request)
{
    const PageFetcher plain = {.map = NULL};
    Guard guard;

    if (request->map) {
        return page_fetch_input(&plain, job, request);
    }
    if (!page_request_copy(job, request)) {
        return page_request_fail(request, request->first_page, false,
                                 "no memory for a copy of the pages");
    }
    if (!GUARD_ENTER(&guard, request->input, request->input_size)) {
        return page_request_fail(request, request->first_page, true,
                                 "the image became shorter while it was read");
    }
    memcpy(request->copy, request->input, request->input_size);
    guard_leave(&guard);
    request->input = request->copy;
    request->mapped = false;
    return 0;
}

static int transfer_handler(void *opaque, void *thread_state, void *job_opaque)
{
    PageJob *job = job_opaque;
    PageRequest *request = opaque;

    request->failure = (PageFailure){0};
    request->elapsed_ns = 0;
    int failed = fetch_input(job, request);

    if (failed) {
        return failed;
    }
    request->data_size = (size_t)request->pages * job->page_size;
    memset(request->data, 0, request->data_size);
    uint64_t start = cpu_clock();
    uint32_t content = classify(job, request);

    request->elapsed_ns = cpu_clock() - start;
    failed = job->grouping == GROUPING_PAGE
                 ? transfer_pages(job, request, thread_state)
                 : transfer_packet(job, request, thread_state, content);
    memset(request->counts, 0, sizeof(request->counts));
    for (uint32_t i = 0; i < request->pages; i++) {
        request->counts[request->classes[i]]++;
        store_le32(request->details + (size_t)i * 4, request->sizes[i]);
    }
    request->details_size = (size_t)request->pages * 4;
    return failed;
}

/* --- Life ------------------------------------------------------------------ */

static int transfer_request_init(void *request, void *opaque)
{
    const PageJob *job = opaque;
    size_t size = (size_t)job->pages_max * job->page_size;

    return page_request_init(request, job, size);
}

static void transfer_request_uninit(void *request, void *job)
{
    (void)job;
    page_request_uninit(request);
}

static void transfer_thread_uninit(void *opaque, void *job_opaque)
{
    const PageJob *job = job_opaque;
    const CodecOps *codec = job->library->ops;
    TransferState *state = opaque;

    if (state->compressor) {
        codec->compressor_free(state->compressor);
    }
    if (state->decompressor) {
        codec->decompressor_free(state->decompressor);
    }
    free(state->content);
    free(state->packed);
    free(state->arrived);
}

static int transfer_thread_init(void *opaque, unsigned index, void *job_opaque)
{
    const PageJob *job = job_opaque;
    const CodecOps *codec = job->library->ops;
    TransferState *state = opaque;
    bool own = codec->compress && job->grouping != GROUPING_STREAM;
    size_t size = (size_t)job->pages_max * job->page_size;
    size_t room = size;

    (void)index;
    if (codec->compress) {
        size_t pages = codec->bound(job->library, job->page_size);
        size_t packet = codec->bound(job->library, size);

        pages *= job->pages_max;
        room = pages > packet ? pages : packet;
    }
    if (own) {
        state->compressor =
            codec->compressor_new(job->library, job->level, false);
        state->decompressor = codec->decompressor_new(job->library, false);
    }
    state->content = malloc(size);
    state->arrived = malloc(size);
    state->packed = malloc(room);
    if ((own && !(state->compressor && state->decompressor)) ||
        !state->content || !state->arrived || !state->packed) {
        transfer_thread_uninit(state, job_opaque);
        return -ENOMEM;
    }
    return 0;
}

void page_transfer_ops(PageJob *job, ThreadedWorkqueueOps *ops)
{
    *ops = (ThreadedWorkqueueOps){
        .thread_request_init = transfer_request_init,
        .thread_request_uninit = transfer_request_uninit,
        .thread_request_handler = transfer_handler,
        .thread_init = transfer_thread_init,
        .thread_uninit = transfer_thread_uninit,
        .request_size = sizeof(PageRequest),
        .thread_state_size = sizeof(TransferState),
        .opaque = job,
    };
}

void page_transfer_job_end(PageJob *job)
{
    const CodecOps *codec = job->library->ops;

    for (uint32_t i = 0; i < job->channels; i++) {
        if (job->channel_decompressors[i]) {
            codec->decompressor_free(job->channel_decompressors[i]);
            job->channel_decompressors[i] = NULL;
        }
    }
    page_job_end(job, codec->compressor_free);
}
