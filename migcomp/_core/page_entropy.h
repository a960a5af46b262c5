/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The entropy of a page's bytes, each taken by itself (Shannon, "A Mathematical
 * Theory of Communication", 1948, section 6): what a code for single bytes
 * could shrink it to, which knows nothing of what is repeated.
 */
#ifndef MIGCOMP_PAGE_ENTROPY_H
#define MIGCOMP_PAGE_ENTROPY_H

#include "handlers.h"

/* Thousandths of a bit to a byte, 0 to 8000.  size: a multiple of 4, at most
 * PAGE_SIZE_MAX. */
uint16_t page_entropy(const uint8_t *page, size_t size);

/*
 * to: [request->pages], 0 for what is not of the class normal.  request has
 * been handled, and holds its pages still.  -EFAULT when the image became
 * shorter.
 */
int page_request_entropies(const PageJob *job, const PageRequest *request,
                           uint16_t *to);

#endif
