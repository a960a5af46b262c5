/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The handler of a simulated migration: what it does to a request. */
#define _GNU_SOURCE
#include "transfer.h"

#include "block.h"
#include "bytes.h"
#include "clock.h"
#include "guard.h"
#include "page_fetch.h"

#include <errno.h>
#include <string.h>

/* Content pages are PAGE_NORMAL.  What the receiver has of them lies side by
 * side in previous; a page that it has is in data already. */
static int classify(const PageJob *job, PageRequest *request,
                    uint8_t *previous, uint32_t *content)
{
    uint64_t pattern;

    *content = 0;
    for (uint32_t i = 0; i < request->pages; i++) {
        size_t at = (size_t)i * job->page_size;
        const uint8_t *page = request->input + at;

        request->sizes[i] = 0;
        request->classes[i] = PAGE_NORMAL;
        if (request->previous) {
            int failed = page_fetch_previous(request, i, previous);

            if (failed) {
                return failed;
            }
            if (!memcmp(page, previous, job->page_size)) {
                request->classes[i] = PAGE_UNCHANGED;
                memcpy(request->data + at, previous, job->page_size);
                continue;
            }
        }
        if (page_same_filled(page, job->page_size, &pattern) && !pattern) {
            request->classes[i] = PAGE_ZERO;
            continue;
        }
        (*content)++;
        if (request->previous) {
            previous += job->page_size;
        }
    }
    return 0;
}

static bool is_content(const PageRequest *request, uint32_t i)
{
    return request->classes[i] == PAGE_NORMAL ||
           request->classes[i] == PAGE_COMPRESSED;
}

/* Compresses size bytes; the size of the block or -1. */
static ptrdiff_t send_block(const PageJob *job, PageRequest *request,
                            void *compressor, const uint8_t *from, size_t size,
                            const uint8_t *previous, uint8_t *to)
{
    if (!job->library->ops->compress) {
        memcpy(to, from, size);
        return (ptrdiff_t)size;
    }
    return block_compress(job, compressor, to, from, size,
                          request->previous ? previous : NULL,
                          &request->failure.error);
}

static int receive_block(const PageJob *job, PageRequest *request,
                         void *decompressor, const uint8_t *from,
                         size_t from_size, const uint8_t *previous,
                         uint8_t *to, size_t size)
{
    if (!job->library->ops->compress) {
        memcpy(to, from, size);
        return 0;
    }
    return block_decompress(job, decompressor, to, size, from, from_size,
                            request->previous ? previous : NULL,
                            &request->failure.error);
}

/* Apart from receiving them, because the clock costs as much as a page. */
static int send_pages(const PageJob *job, PageRequest *request,
                      const TransferState *state)
{
    uint8_t *to = state->packed;
    const uint8_t *previous = state->previous;

    for (uint32_t i = 0; i < request->pages; i++) {
        if (!is_content(request, i)) {
            continue;
        }
        ptrdiff_t size =
            send_block(job, request, state->compressor,
                       request->input + (size_t)i * job->page_size,
                       job->page_size, previous, to);

        if (size < 0) {
            request->failure.page = request->first_page + i;
            return -EIO;
        }
        request->sizes[i] = (uint32_t)size;
        if ((size_t)size < job->page_size) {
            request->classes[i] = PAGE_COMPRESSED;
        }
        to += size;
        previous += request->previous ? job->page_size : 0;
    }
    return 0;
}

static int receive_pages(const PageJob *job, PageRequest *request,
                         const TransferState *state)
{
    const uint8_t *from = state->packed, *previous = state->previous;

    for (uint32_t i = 0; i < request->pages; i++) {
        if (!is_content(request, i)) {
            continue;
        }
        if (receive_block(job, request, state->decompressor, from,
                          request->sizes[i], previous,
                          request->data + (size_t)i * job->page_size,
                          job->page_size)) {
            request->failure.page = request->first_page + i;
            return -EIO;
        }
        from += request->sizes[i];
        previous += request->previous ? job->page_size : 0;
    }
    return 0;
}

static int transfer_pages(const PageJob *job, PageRequest *request,
                          const TransferState *state)
{
    uint64_t start = thread_cpu_ns();
    int failed = send_pages(job, request, state);

    request->elapsed_ns += thread_cpu_ns() - start;
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

        if (!is_content(request, i)) {
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
    uint64_t start = thread_cpu_ns();

    move_content(job, request, state->content, true);
    ptrdiff_t size = send_block(job, request, compressor, state->content, room,
                                state->previous, state->packed);

    request->elapsed_ns += thread_cpu_ns() - start;
    if (size < 0 || receive_block(job, request, decompressor, state->packed,
                                  (size_t)size, state->previous,
                                  state->arrived, room)) {
        return -EIO;
    }
    move_content(job, request, state->arrived, false);
    bool first = true;

    for (uint32_t i = 0; i < request->pages; i++) {
        if (is_content(request, i)) {
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
    if (!request->input_size || request->input == request->copy) {
        return 0;
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

int transfer_handler(void *opaque, void *thread_state, void *job_opaque)
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
    const TransferState *state = thread_state;
    uint64_t start = thread_cpu_ns();
    uint32_t content;

    failed = classify(job, request, state->previous, &content);
    request->elapsed_ns = thread_cpu_ns() - start;
    if (!failed) {
        failed = job->grouping == GROUPING_PAGE
                     ? transfer_pages(job, request, state)
                     : transfer_packet(job, request, state, content);
    }
    memset(request->counts, 0, sizeof(request->counts));
    for (uint32_t i = 0; i < request->pages; i++) {
        request->counts[request->classes[i]]++;
        store_le32(request->details + (size_t)i * 4, request->sizes[i]);
    }
    request->details_size = (size_t)request->pages * 4;
    return failed;
}
