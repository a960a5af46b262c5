/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handler that turns the body of a PAGES record back into pages.  Bodies
 * come from outside: nothing in them is believed before it was checked.
 */
#define _GNU_SOURCE
#include "block.h"
#include "event.h"
#include "guard.h"
#include "handlers.h"
#include "page_fetch.h"
#include "page_hash.h"
#include "page_write.h"
#include "record.h"
#include "xxh64.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct DecompressState {
    void *decompressor; /* for independent blocks; NULL for codec none */
    uint8_t *previous;  /* pages_max pages, for deltas: those of a block */
} DecompressState;

static uint8_t *page_data(const PageJob *job, const PageRequest *request,
                          uint32_t i)
{
    return request->data + (size_t)i * job->page_size;
}

/* --- Payload --------------------------------------------------------------- */

/* What the receiver has of those pages up to end, from first on, that are
 * compressed, side by side.  0 or -EIO. */
static int fetch_previous(const PageJob *job, PageRequest *request,
                          uint32_t first, uint32_t end, uint8_t *to)
{
    int failed = 0;

    for (uint32_t i = first; request->previous && i < end && !failed; i++) {
        if (request->classes[i] == PAGE_COMPRESSED) {
            failed = page_fetch_previous(request, i, to);
            to += job->page_size;
        }
    }
    return failed;
}

static int decompress_page(const PageJob *job, PageRequest *request,
                           const DecompressState *state, uint32_t i,
                           RecordRest *rest)
{
    uint8_t *page = page_data(job, request, i);
    bool compressed = request->classes[i] == PAGE_COMPRESSED;
    size_t size = compressed ? request->sizes[i] : job->page_size;
    const uint8_t *from;

    if (!compressed && request->classes[i] != PAGE_NORMAL) {
        return 0;
    }
    from = record_take(rest, size);
    if (!from) {
        return record_malformed(request, i, "the record's payload is cut off");
    }
    if (!compressed) {
        memcpy(page, from, size);
        return 0;
    }
    if (fetch_previous(job, request, i, i + 1, state->previous)) {
        return -EIO;
    }
    if (block_decompress(job, state->decompressor, page, job->page_size, from,
                         size, request->previous ? state->previous : NULL,
                         &request->failure.error)) {
        request->failure.page = request->first_page + i;
        return -EIO;
    }
    return 0;
}

static bool has_content(uint8_t class)
{
    return class == PAGE_NORMAL || class == PAGE_COMPRESSED;
}

/* Moves the pages that stand side by side at the start of data, last first,
 * to where they belong. */
static void spread(const PageJob *job, PageRequest *request, uint32_t content)
{
    for (uint32_t i = request->pages; i > content;) {
        i--;
        if (has_content(request->classes[i])) {
            content--;
            memcpy(page_data(job, request, i), page_data(job, request, content),
                   job->page_size);
        }
    }
}

static void *channel_decompressor(PageJob *job, uint32_t channel)
{
    void **context = &job->channel_contexts[channel];

    if (!*context) {
        *context = job->library->ops->decompressor_new(job->library, true);
    }
    return *context;
}

static int decompress_packet(PageJob *job, PageRequest *request,
                             const DecompressState *state, RecordRest *rest)
{
    void *decompressor = state->decompressor;
    uint32_t normal = request->counts[PAGE_NORMAL];
    uint32_t compressed = request->counts[PAGE_COMPRESSED];
    uint32_t content = normal ? normal : compressed;
    size_t size = (size_t)content * job->page_size;
    size_t from_size = normal ? size : rest->size;
    const uint8_t *from = record_take(rest, from_size);

    if (normal && compressed) {
        return record_malformed(request, 0, "a packet of two kinds of pages");
    }
    if (!content) {
        return from_size
                   ? record_malformed(request, 0,
                                      "a payload without pages for it")
                   : 0;
    }
    if (!from) {
        return record_malformed(request, 0, "the record's payload is cut off");
    }
    if (normal) {
        memcpy(request->data, from, size);
    } else {
        if (job->grouping == GROUPING_STREAM) {
            if (job->channel_lost[request->channel]) {
                return record_malformed(
                    request, 0, "an earlier record of its channel is lost");
            }
            decompressor = channel_decompressor(job, request->channel);
        }
        if (!decompressor) {
            page_request_fail(request, request->first_page, false,
                              "no memory for channel %u", request->channel);
            return -ENOMEM;
        }
        if (fetch_previous(job, request, 0, request->pages,
                           state->previous)) {
            return -EIO;
        }
        if (block_decompress(job, decompressor, request->data, size, from,
                             from_size,
                             request->previous ? state->previous : NULL,
                             &request->failure.error)) {
            request->failure.page = request->first_page;
            return -EIO;
        }
    }
    spread(job, request, content);
    return 0;
}

static int read_payload(PageJob *job, PageRequest *request,
                        const DecompressState *state, RecordRest *rest)
{
    int failed = 0;

    if (job->grouping != GROUPING_PAGE) {
        failed = decompress_packet(job, request, state, rest);
    } else {
        for (uint32_t i = 0; i < request->pages && !failed; i++) {
            failed = decompress_page(job, request, state, i, rest);
        }
    }
    if (!failed && rest->size) {
        return record_malformed(request, 0,
                                "data beyond the record's last page");
    }
    return failed;
}

/* --- The handler ----------------------------------------------------------- */

/* What neither the payload nor an earlier page holds, and all hashes.  0 or
 * -EIO. */
static int finish_pages(const PageJob *job, PageRequest *request)
{
    int failed = 0;

    for (uint32_t i = 0; i < request->pages && !failed; i++) {
        uint8_t *page = page_data(job, request, i);

        switch (request->classes[i]) {
        case PAGE_ZERO:
            if (job->fill_zeros) {
                page_fill(page, job->page_size, 0);
            }
            request->hashes[i] = job->zero_hash;
            break;
        case PAGE_DEDUPLICATED:
            break;
        case PAGE_UNCHANGED:
            failed = page_fetch_previous(request, i, page);
            request->hashes[i] = job->zero_hash;
            break;
        case PAGE_SAME:
            page_fill(page, job->page_size, request->values[i]);
            break;
        default:
            break;
        }
    }
    page_hash(request, request->data, job->page_size, OWN_CLASSES);
    request->data_size = (size_t)request->pages * job->page_size;
    return failed;
}

static int handle_body(PageJob *job, PageRequest *request,
                       const DecompressState *state)
{
    RecordRest rest = {request->input, request->input_size};
    int failed = 0;

    request->failure = (PageFailure){0};
    if (xxh64(rest.at, rest.size, 0) != request->body_checksum) {
        return record_malformed(request, 0,
                                "the record's checksum does not match");
    }
    failed = record_table(job, request, &rest);
    if (!failed) {
        failed = read_payload(job, request, state, &rest);
    }
    if (!failed) {
        failed = finish_pages(job, request);
    }
    if (!failed && job->output_fd >= 0) {
        failed = page_write_output(request, job, OWN_CLASSES);
        request->failure.written = failed;
    }
    return failed;
}

/* Guards do not nest, and reading what the receiver has may need one. */
static bool needs_copy(const PageJob *job, const PageRequest *request)
{
    return job->copy_input || request->previous;
}

static int handle_mapped(PageJob *job, PageRequest *request,
                         const DecompressState *state)
{
    Guard guard;

    if (needs_copy(job, request) && !page_request_copy(job, request)) {
        page_request_fail(request, request->first_page, false,
                          "no memory for a copy of the record");
        return -ENOMEM;
    }
    if (!GUARD_ENTER(&guard, request->input, request->input_size)) {
        return record_malformed(request, 0,
                                "the stream became shorter while it was read");
    }
    if (needs_copy(job, request)) {
        memcpy(request->copy, request->input, request->input_size);
        guard_leave(&guard);
        request->input = request->copy;
        request->mapped = false;
        return handle_body(job, request, state);
    }
    int failed = handle_body(job, request, state);

    guard_leave(&guard);
    return failed;
}

/* A record that is not what it should be, and all that builds on it. */
static void lose(PageJob *job, PageRequest *request)
{
    request->lost = true;
    request->data_size = 0;
    memset(request->classes, PAGE_ZERO, request->pages);
    memset(request->counts, 0, sizeof(request->counts));
    if (job->grouping == GROUPING_STREAM) {
        job->channel_lost[request->channel] = true;
    }
}

static int decompress_handler(void *opaque, void *thread_state,
                              void *job_opaque)
{
    PageJob *job = job_opaque;
    PageRequest *request = opaque;
    int64_t start = event_clock();

    request->lost = false;
    /* Also with salvage: of such a record nothing may be touched. */
    if (request->pages > job->pages_max ||
        request->channel >= (job->channels ? job->channels : 1) ||
        request->input_size > page_job_input_max(job)) {
        return record_malformed(request, 0, "a record that exceeds the header");
    }
    int failed = request->mapped ? handle_mapped(job, request, thread_state)
                                 : handle_body(job, request, thread_state);

    /* Neither want of memory nor a failed write is the record's fault. */
    if (failed == -EIO && !request->failure.written && job->salvage) {
        lose(job, request);
        failed = 0;
    }
    request->elapsed_ns = (uint64_t)(event_clock() - start);
    return failed;
}

/* --- Life ------------------------------------------------------------------ */

static int decompress_request_init(void *request, void *opaque)
{
    const PageJob *job = opaque;

    return page_request_init(request, job,
                             (size_t)job->pages_max * job->page_size);
}

static void decompress_request_uninit(void *request, void *job)
{
    (void)job;
    page_request_uninit(request);
}

static void decompress_thread_uninit(void *opaque, void *job_opaque)
{
    const PageJob *job = job_opaque;
    DecompressState *state = opaque;

    if (state->decompressor) {
        job->library->ops->decompressor_free(state->decompressor);
    }
    free(state->previous);
}

static int decompress_thread_init(void *opaque, unsigned index,
                                  void *job_opaque)
{
    const PageJob *job = job_opaque;
    const CodecOps *codec = job->library->ops;
    DecompressState *state = opaque;

    (void)index;
    if (!codec->decompress || job->grouping == GROUPING_STREAM) {
        return 0;
    }
    state->decompressor = codec->decompressor_new(job->library, false);
    if (job->deltas) {
        state->previous = malloc((size_t)job->pages_max * job->page_size);
    }
    if (!state->decompressor || (job->deltas && !state->previous)) {
        decompress_thread_uninit(state, job_opaque);
        return -ENOMEM;
    }
    return 0;
}

void page_decompress_ops(PageJob *job, ThreadedWorkqueueOps *ops)
{
    uint8_t *zeros = (uint8_t[PAGE_SIZE_MAX]){0};

    job->zero_hash = xxh64(zeros, job->page_size, 0);
    *ops = (ThreadedWorkqueueOps){
        .thread_request_init = decompress_request_init,
        .thread_request_uninit = decompress_request_uninit,
        .thread_request_handler = decompress_handler,
        .thread_init = decompress_thread_init,
        .thread_uninit = decompress_thread_uninit,
        .request_size = sizeof(PageRequest),
        .thread_state_size = sizeof(DecompressState),
        .opaque = job,
    };
}

void page_decompress_job_end(PageJob *job)
{
    page_job_end(job, job->library->ops->decompressor_free);
}
