/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory of requests that carry pages. */
#define _GNU_SOURCE
#include "handlers.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* What a page's details take at most: an 8-byte value. */
enum { DETAIL_MAX = 8 };

int page_request_init(PageRequest *request, const PageJob *job,
                      size_t data_room)
{
    size_t pages = job->pages_max;

    request->holes = calloc(pages, sizeof(*request->holes));
    request->classes = calloc(pages, sizeof(*request->classes));
    request->hashes = calloc(pages, sizeof(*request->hashes));
    request->values = calloc(pages, sizeof(*request->values));
    request->sizes = calloc(pages, sizeof(*request->sizes));
    request->details = malloc(pages * DETAIL_MAX);
    request->data = aligned_alloc(PAGE_SIZE_MIN, data_room);
    if (!request->holes || !request->classes || !request->hashes ||
        !request->values || !request->sizes || !request->details ||
        !request->data) {
        page_request_uninit(request);
        return -ENOMEM;
    }
    return 0;
}

void page_request_uninit(PageRequest *request)
{
    free(request->holes);
    free(request->classes);
    free(request->hashes);
    free(request->values);
    free(request->sizes);
    free(request->details);
    free(request->data);
    free(request->copy);
}

void page_job_end(PageJob *job, void (*context_free)(void *))
{
    for (uint32_t i = 0; i < job->channels; i++) {
        if (job->channel_contexts[i]) {
            context_free(job->channel_contexts[i]);
            job->channel_contexts[i] = NULL;
        }
        job->channel_lost[i] = false;
    }
    free(job->deduplicated.words);
    job->deduplicated = (PageSet){0};
}

size_t page_job_input_max(const PageJob *job)
{
    size_t pages = (size_t)job->pages_max * job->page_size;

    /* docs/stream-format.md, the bound of a PAGES record. */
    return pages + 9 * (size_t)job->pages_max + pages / 64 + PAGE_SIZE_MIN;
}

uint8_t *page_request_copy(const PageJob *job, PageRequest *request)
{
    if (!request->copy) {
        size_t room = page_job_input_max(job) + PAGE_SIZE_MIN - 1;

        request->copy = aligned_alloc(
            PAGE_SIZE_MIN, room / PAGE_SIZE_MIN * PAGE_SIZE_MIN);
    }
    return request->copy;
}

int page_request_fail(PageRequest *request, uint64_t page, bool image,
                      const char *format, ...)
{
    va_list arguments;

    request->failure.page = page;
    request->failure.image = image;
    request->failure.written = 0;
    va_start(arguments, format);
    vsnprintf(request->failure.error.text, sizeof(request->failure.error.text),
              format, arguments);
    va_end(arguments);
    return -EIO;
}
