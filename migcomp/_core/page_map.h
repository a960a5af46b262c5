/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the pages of an image lie in memory.  Pages are numbered through the
 * image; one that the map does not have is a zero page.
 */
#ifndef MIGCOMP_PAGE_MAP_H
#define MIGCOMP_PAGE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Consecutive pages, side by side. */
typedef struct PageExtent {
    uint64_t first_page;
    uint64_t pages;
    const uint8_t *start;
} PageExtent;

typedef struct PageMap {
    PageExtent *extents; /* by first_page */
    size_t extents_nr;
    uint32_t page_size;
    bool mapped; /* reading may raise SIGBUS */
} PageMap;

/* pages consecutive pages from first_page on; NULL if they do not lie
 * together in memory. */
const uint8_t *page_map_find(const PageMap *map, uint64_t first_page,
                             uint64_t pages);

/* How many of the pages from first_page up to end are like the first of them:
 * all in the map, or all not, which is stored. */
uint64_t page_map_run(const PageMap *map, uint64_t first_page, uint64_t end,
                      bool *hole);

/* Copies pages, zeros for those that the map does not have.  -EFAULT when
 * mapped memory was gone. */
int page_map_copy(const PageMap *map, uint64_t first_page, uint32_t pages,
                  uint8_t *to);

#endif
