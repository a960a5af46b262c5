/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pages.h"

#include "bytes.h"

#include <string.h>

bool page_same_filled(const uint8_t *page, size_t size, uint64_t *pattern)
{
    /* A page equal to itself shifted by one word repeats that word.  memcmp
     * is the C library's widest vector loop, and ends at the first
     * difference, which in most pages is in the first few words. */
    if (memcmp(page, page + 8, size - 8)) {
        return false;
    }
    *pattern = load_le64(page);
    return true;
}

void page_fill(uint8_t *page, size_t size, uint64_t pattern)
{
    if (!pattern) {
        memset(page, 0, size);
        return;
    }
    for (size_t i = 0; i < size; i += 8) {
        store_le64(page + i, pattern);
    }
}
