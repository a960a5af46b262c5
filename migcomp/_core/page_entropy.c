/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "page_entropy.h"

#include "guard.h"

#include <errno.h>
#include <math.h>

enum { BYTES = 256, LANES = 4 };

uint16_t page_entropy(const uint8_t *page, size_t size)
{
    /* Several counts of each byte, because one that is added to again at once
     * has to wait for itself. */
    uint32_t counts[LANES][BYTES] = {0};
    float sum = 0;

    for (size_t i = 0; i < size; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            counts[lane][page[i + lane]]++;
        }
    }
    for (int byte = 0; byte < BYTES; byte++) {
        uint32_t count = counts[0][byte] + counts[1][byte] + counts[2][byte] +
                         counts[3][byte];

        if (count) {
            sum += (float)count * log2f((float)count);
        }
    }
    float bits = log2f((float)size) - sum / (float)size;

    return bits > 0 ? (uint16_t)lroundf(bits * 1000) : 0;
}

static void measure_pages(const PageJob *job, const PageRequest *request,
                          uint16_t *to)
{
    for (uint32_t i = 0; i < request->pages; i++) {
        const uint8_t *page = request->input + (size_t)i * job->page_size;

        to[i] = request->classes[i] == PAGE_NORMAL
                    ? page_entropy(page, job->page_size)
                    : 0;
    }
}

int page_request_entropies(const PageJob *job, const PageRequest *request,
                           uint16_t *to)
{
    Guard guard;

    if (!request->mapped) {
        measure_pages(job, request, to);
        return 0;
    }
    if (!GUARD_ENTER(&guard, request->input, request->input_size)) {
        return -EFAULT;
    }
    measure_pages(job, request, to);
    guard_leave(&guard);
    return 0;
}
