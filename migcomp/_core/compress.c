/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The handler that classifies and compresses the pages of a request. */
#define _GNU_SOURCE
#include "block.h"
#include "bytes.h"
#include "classify.h"
#include "event.h"
#include "guard.h"
#include "handlers.h"
#include "page_fetch.h"
#include "xxh64.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A thread's own memory. */
typedef struct CompressState {
    void *compressor;  /* for independent blocks; NULL for codec none */
    uint8_t *gathered; /* pages_max pages, side by side */
    uint8_t *previous; /* as many, for deltas: those of the compressed block */
    PageFetcher fetcher;
} CompressState;

static size_t page_offset(const PageJob *job, uint32_t i)
{
    return (size_t)i * job->page_size;
}

/* --- GROUPING_PAGE --------------------------------------------------------- */

/* Of content, which is sent normal if it does not shrink.  previous: what the
 * receiver has of it, or NULL. */
static int compress_page(const PageJob *job, PageRequest *request,
                         void *compressor, uint32_t i, const uint8_t *previous)
{
    const uint8_t *page = request->input + page_offset(job, i);
    uint8_t *to = request->data + request->data_size;
    ptrdiff_t size = job->page_size;

    if (compressor) {
        size = block_compress(job, compressor, to, page, job->page_size,
                              previous, &request->failure.error);
    }
    if (size < 0) {
        request->failure.page = request->first_page + i;
        return -EIO;
    }
    if ((size_t)size < job->page_size) {
        request->classes[i] = PAGE_COMPRESSED;
        request->sizes[i] = (uint32_t)size;
    } else {
        memcpy(to, page, job->page_size);
        size = job->page_size;
    }
    request->data_size += (size_t)size;
    return 0;
}

/* --- GROUPING_PACKET and GROUPING_STREAM ----------------------------------- */

/*
 * The content pages side by side: where they lie if there is no gap between
 * them, else copied together.  Stores their size; NULL when there are none.
 */
static const uint8_t *gather(const PageJob *job, const PageRequest *request,
                             const CompressState *state, size_t *size)
{
    uint32_t first = 0, last = 0, content = 0;

    for (uint32_t i = 0; i < request->pages; i++) {
        if (request->classes[i] == PAGE_NORMAL) {
            first = content ? first : i;
            last = i;
            content++;
        }
    }
    *size = page_offset(job, content);
    if (!content) {
        return NULL;
    }
    if (last - first + 1 == content) {
        return request->input + page_offset(job, first);
    }
    uint8_t *to = state->gathered;

    for (uint32_t i = first; i <= last; i++) {
        if (request->classes[i] == PAGE_NORMAL) {
            memcpy(to, request->input + page_offset(job, i), job->page_size);
            to += job->page_size;
        }
    }
    return state->gathered;
}

static void *channel_compressor(PageJob *job, uint32_t channel)
{
    void **context = &job->channel_contexts[channel];

    if (!*context) {
        *context =
            job->library->ops->compressor_new(job->library, job->level, true);
    }
    return *context;
}

static int compress_packet(PageJob *job, PageRequest *request,
                           const CompressState *state)
{
    bool streaming = job->grouping == GROUPING_STREAM &&
                     job->library->ops->compress;
    bool kept = streaming || request->stage == STAGE_FRAME;
    void *compressor = state->compressor;
    size_t content;
    const uint8_t *pages = gather(job, request, state, &content);
    ptrdiff_t size = (ptrdiff_t)content;

    if (!pages) {
        return 0;
    }
    if (streaming) {
        compressor = channel_compressor(job, request->channel);
        if (!compressor) {
            return page_request_fail(request, request->first_page, false,
                                     "no memory for channel %u",
                                     request->channel);
        }
    }
    if (compressor) {
        size = block_compress(job, compressor, request->data, pages, content,
                              request->previous ? state->previous : NULL,
                              &request->failure.error);
    }
    if (size < 0) {
        request->failure.page = request->first_page;
        return -EIO;
    }
    /* A channel's output cannot be left out: it has become history. */
    if ((size_t)size >= content && !kept) {
        memcpy(request->data, pages, content);
        request->data_size = content;
        return 0;
    }
    for (uint32_t i = 0; i < request->pages; i++) {
        if (request->classes[i] == PAGE_NORMAL) {
            request->classes[i] = PAGE_COMPRESSED;
        }
    }
    request->data_size = (size_t)size;
    return 0;
}

/* --- The handler ----------------------------------------------------------- */

static int compress_pages(PageJob *job, PageRequest *request,
                          const CompressState *state)
{
    const uint8_t *previous = request->previous ? state->previous : NULL;
    int failed = 0;

    if (request->stage == STAGE_WHOLE) {
        failed = classify_pages(job, request, state->previous);
    } else if (request->stage == STAGE_FRAME) {
        classify_frame(request);
    }
    if (!failed && job->grouping != GROUPING_PAGE) {
        return compress_packet(job, request, state);
    }
    for (uint32_t i = 0; i < request->pages && !failed; i++) {
        if (request->classes[i] == PAGE_NORMAL) {
            failed =
                compress_page(job, request, state->compressor, i, previous);
            previous += previous ? job->page_size : 0;
        }
    }
    return failed;
}

static void write_details(const PageJob *job, PageRequest *request)
{
    uint8_t *to = request->details;

    memset(request->counts, 0, sizeof(request->counts));
    for (uint32_t i = 0; i < request->pages; i++) {
        uint8_t class = request->classes[i];

        request->counts[class]++;
        if (class == PAGE_SAME || class == PAGE_DEDUPLICATED) {
            store_le64(to, request->values[i]);
            to += 8;
        } else if (class == PAGE_COMPRESSED &&
                   job->grouping == GROUPING_PAGE) {
            store_le16(to, (uint16_t)request->sizes[i]);
            to += 2;
        }
    }
    request->details_size = (size_t)(to - request->details);
}

/* Here, where the data is still in the cache. */
static void sum_up(PageRequest *request)
{
    Xxh64 sum;

    xxh64_init(&sum, 0);
    xxh64_update(&sum, request->classes, request->pages);
    xxh64_update(&sum, request->details, request->details_size);
    xxh64_update(&sum, request->data, request->data_size);
    request->checksum = xxh64_final(&sum);
}

static int handle_input(PageJob *job, PageRequest *request,
                        const CompressState *state)
{
    request->data_size = 0;
    request->failure = (PageFailure){0};
    if (request->stage == STAGE_CLASSIFY) {
        return classify_pages(job, request, state->previous);
    }
    return compress_pages(job, request, state);
}

/* input is mapped memory, which may be gone by the time it is read. */
static int handle_mapped(PageJob *job, PageRequest *request,
                         const CompressState *state)
{
    Guard guard;

    if (job->copy_input && !page_request_copy(job, request)) {
        return page_request_fail(request, request->first_page, false,
                                 "no memory for a copy of the pages");
    }
    if (!GUARD_ENTER(&guard, request->input, request->input_size)) {
        return page_request_fail(request, request->first_page, true,
                                 "the image became shorter while it was read");
    }
    if (job->copy_input) {
        memcpy(request->copy, request->input, request->input_size);
        guard_leave(&guard);
        request->input = request->copy;
        request->mapped = false;
        return handle_input(job, request, state);
    }
    int failed = handle_input(job, request, state);

    guard_leave(&guard);
    return failed;
}

static int compress_handler(void *opaque, void *thread_state, void *job_opaque)
{
    PageJob *job = job_opaque;
    PageRequest *request = opaque;
    const CompressState *state = thread_state;
    int64_t start = event_clock();
    int failed =
        request->map ? page_fetch_input(&state->fetcher, job, request) : 0;

    if (!failed) {
        failed = request->mapped ? handle_mapped(job, request, state)
                                 : handle_input(job, request, state);
    }
    if (!failed && request->stage != STAGE_CLASSIFY) {
        write_details(job, request);
    }
    if (!failed && (request->stage == STAGE_WHOLE ||
                    request->stage == STAGE_COMPRESS)) {
        sum_up(request);
    }
    uint64_t elapsed = (uint64_t)(event_clock() - start);

    request->elapsed_ns =
        elapsed + (request->stage == STAGE_COMPRESS ? request->elapsed_ns : 0);
    return failed;
}

/* --- Life ------------------------------------------------------------------ */

size_t page_job_data_room(const PageJob *job)
{
    const CodecLibrary *library = job->library;
    size_t pages = (size_t)job->pages_max * job->page_size;

    if (!library->ops->compress) {
        return pages;
    }
    /* Page by page, only the last output may fail to shrink before it is
     * replaced by the page itself. */
    size_t room = job->grouping == GROUPING_PAGE
                      ? pages + library->ops->bound(library, job->page_size)
                      : library->ops->bound(library, pages);

    room = room > pages ? room : pages;
    return (room + PAGE_SIZE_MIN - 1) / PAGE_SIZE_MIN * PAGE_SIZE_MIN;
}

static int compress_request_init(void *request, void *job)
{
    return page_request_init(request, job, page_job_data_room(job));
}

static void compress_request_uninit(void *request, void *job)
{
    (void)job;
    page_request_uninit(request);
}

static void compress_thread_uninit(void *opaque, void *job_opaque)
{
    const PageJob *job = job_opaque;
    CompressState *state = opaque;

    if (state->compressor) {
        job->library->ops->compressor_free(state->compressor);
    }
    free(state->gathered);
    free(state->previous);
    page_fetcher_uninit(&state->fetcher);
}

static int compress_thread_init(void *opaque, unsigned index, void *job_opaque)
{
    const PageJob *job = job_opaque;
    const CodecOps *codec = job->library->ops;
    CompressState *state = opaque;
    bool own = codec->compress && job->grouping != GROUPING_STREAM;

    (void)index;
    if (own) {
        state->compressor =
            codec->compressor_new(job->library, job->level, false);
    }
    if (job->grouping != GROUPING_PAGE) {
        state->gathered = malloc(page_offset(job, job->pages_max));
    }
    if (job->deltas) {
        state->previous = malloc(page_offset(job, job->pages_max));
    }
    if ((own && !state->compressor) ||
        (job->grouping != GROUPING_PAGE && !state->gathered) ||
        (job->deltas && !state->previous) ||
        (job->source && page_fetcher_init(&state->fetcher, job->source))) {
        compress_thread_uninit(state, job_opaque);
        return -ENOMEM;
    }
    return 0;
}

void page_compress_ops(PageJob *job, ThreadedWorkqueueOps *ops)
{
    uint8_t *zeros = (uint8_t[PAGE_SIZE_MAX]){0};

    job->zero_hash = xxh64(zeros, job->page_size, 0);
    *ops = (ThreadedWorkqueueOps){
        .thread_request_init = compress_request_init,
        .thread_request_uninit = compress_request_uninit,
        .thread_request_handler = compress_handler,
        .thread_init = compress_thread_init,
        .thread_uninit = compress_thread_uninit,
        .request_size = sizeof(PageRequest),
        .thread_state_size = sizeof(CompressState),
        .opaque = job,
    };
}

void page_compress_job_end(PageJob *job)
{
    page_job_end(job, job->library->ops->compressor_free);
}
