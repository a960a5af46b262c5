/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "classify.h"

#include "page_fetch.h"
#include "page_hash.h"
#include "xxh64.h"

#include <string.h>

/* previous has room for a page, and gets what the receiver has of page i, if
 * the request has such.  0 or -EIO. */
static int classify_page(const PageJob *job, PageRequest *request, uint32_t i,
                         uint8_t *previous)
{
    const uint8_t *page = request->input + (size_t)i * job->page_size;
    bool hole = request->has_holes && request->holes[i];

    request->hashes[i] = job->zero_hash;
    if (!hole && request->previous) {
        int failed = page_fetch_previous(request, i, previous);

        if (failed) {
            return failed;
        }
        if (!memcmp(page, previous, job->page_size)) {
            request->classes[i] = PAGE_UNCHANGED;
            return 0;
        }
    }
    bool same =
        !hole && page_same_filled(page, job->page_size, &request->values[i]);

    if (hole || (same && !request->values[i])) {
        request->classes[i] = PAGE_ZERO;
    } else {
        request->classes[i] = same ? PAGE_SAME : PAGE_NORMAL;
    }
    return 0;
}

int classify_pages(const PageJob *job, PageRequest *request,
                   uint8_t *previous)
{
    for (uint32_t i = 0; i < request->pages; i++) {
        int failed = classify_page(job, request, i, previous);

        if (failed) {
            return failed;
        }
        if (request->previous && request->classes[i] == PAGE_NORMAL) {
            previous += job->page_size;
        }
    }
    page_hash(request, request->input, job->page_size,
              1u << PAGE_SAME | 1u << PAGE_NORMAL);
    return 0;
}

void classify_frame(PageRequest *request)
{
    memset(request->classes, PAGE_NORMAL, request->pages);
    memset(request->hashes, 0, request->pages * sizeof(*request->hashes));
    request->hashes[0] = xxh64(request->input, request->input_size, 0);
}
