/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The hashes of many pages at once: XXH64 waits for itself, pages need not. */
#ifndef MIGCOMP_PAGE_HASH_H
#define MIGCOMP_PAGE_HASH_H

#include "handlers.h"

/* Sets the hashes of the request's pages of these classes, a bit for each
 * PageClass.  pages: all of the request's, side by side. */
void page_hash(PageRequest *request, const uint8_t *pages, uint32_t page_size,
               unsigned classes);

#endif
