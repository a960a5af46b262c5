/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "record.h"

#include "bytes.h"

#include <string.h>

const uint8_t *record_take(RecordRest *rest, size_t size)
{
    const uint8_t *at = rest->at;

    if (size > rest->size) {
        return NULL;
    }
    rest->at += size;
    rest->size -= size;
    return at;
}

int record_malformed(PageRequest *request, uint32_t i, const char *what)
{
    return page_request_fail(request, request->first_page + i, true, "%s",
                             what);
}

/* --- Classes and details --------------------------------------------------- */

static int read_detail(const PageJob *job, PageRequest *request, uint32_t i,
                       RecordRest *rest)
{
    const uint8_t *at;

    switch (request->classes[i]) {
    case PAGE_SAME:
    case PAGE_DEDUPLICATED:
        at = record_take(rest, 8);
        if (!at) {
            return record_malformed(request, i,
                                    "the record's details are cut off");
        }
        request->values[i] = load_le64(at);
        if (request->classes[i] == PAGE_DEDUPLICATED && !job->dedup) {
            return record_malformed(
                request, i, "a deduplicated page in a stream without them");
        }
        if (request->classes[i] == PAGE_DEDUPLICATED &&
            request->values[i] >= request->first_page + i) {
            return record_malformed(
                request, i, "a deduplicated page refers to a later page");
        }
        return 0;
    case PAGE_COMPRESSED:
        if (!job->library->ops->decompress) {
            return record_malformed(request, i,
                                    "a compressed page without a codec");
        }
        if (job->grouping == GROUPING_PAGE) {
            at = record_take(rest, 2);
            if (!at) {
                return record_malformed(request, i,
                                        "the record's details are cut off");
            }
            request->sizes[i] = load_le16(at);
        }
        return 0;
    case PAGE_UNCHANGED:
        return request->previous
                   ? 0
                   : record_malformed(request, i, "a page of unknown class");
    default:
        return 0;
    }
}

int record_table(const PageJob *job, PageRequest *request, RecordRest *rest)
{
    const uint8_t *classes = record_take(rest, request->pages);

    memset(request->counts, 0, sizeof(request->counts));
    if (!classes) {
        return record_malformed(request, 0, "the record's classes are cut off");
    }
    /* Checked where nobody can change it any more. */
    memcpy(request->classes, classes, request->pages);
    for (uint32_t i = 0; i < request->pages; i++) {
        if (request->classes[i] >= PAGE_CLASSES) {
            return record_malformed(request, i, "a page of unknown class");
        }
        request->counts[request->classes[i]]++;
        int failed = read_detail(job, request, i, rest);

        if (failed) {
            return failed;
        }
    }
    return 0;
}
