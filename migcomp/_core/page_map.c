/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "page_map.h"

#include "guard.h"

#include <errno.h>
#include <string.h>

/* The first extent that ends behind the page; extents_nr if there is none. */
static size_t extent_at(const PageMap *map, uint64_t page)
{
    size_t low = 0, high = map->extents_nr;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const PageExtent *extent = &map->extents[middle];

        if (page >= extent->first_page &&
            page - extent->first_page >= extent->pages) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const uint8_t *page_map_find(const PageMap *map, uint64_t first_page,
                             uint64_t pages)
{
    size_t number = extent_at(map, first_page);
    const PageExtent *extent = &map->extents[number];

    if (number == map->extents_nr || first_page < extent->first_page) {
        return NULL;
    }
    uint64_t skipped = first_page - extent->first_page;

    return pages <= extent->pages - skipped
               ? extent->start + skipped * map->page_size
               : NULL;
}

uint64_t page_map_run(const PageMap *map, uint64_t first_page, uint64_t end,
                      bool *hole)
{
    size_t number = extent_at(map, first_page);
    uint64_t page = first_page;

    *hole = number == map->extents_nr ||
            first_page < map->extents[number].first_page;
    if (*hole) {
        uint64_t next = number == map->extents_nr
                            ? end
                            : map->extents[number].first_page;

        return (next < end ? next : end) - first_page;
    }
    while (page < end && number < map->extents_nr &&
           map->extents[number].first_page <= page) {
        page = map->extents[number].first_page + map->extents[number].pages;
        number++;
    }
    return (page < end ? page : end) - first_page;
}

static int copy_page(const PageMap *map, const uint8_t *page, uint8_t *to)
{
    Guard guard;

    if (!map->mapped) {
        memcpy(to, page, map->page_size);
        return 0;
    }
    if (!GUARD_ENTER(&guard, page, map->page_size)) {
        return -EFAULT;
    }
    memcpy(to, page, map->page_size);
    guard_leave(&guard);
    return 0;
}

int page_map_copy(const PageMap *map, uint64_t first_page, uint32_t pages,
                  uint8_t *to)
{
    for (uint32_t i = 0; i < pages; i++, to += map->page_size) {
        const uint8_t *page = page_map_find(map, first_page + i, 1);
        int failed = 0;

        if (page) {
            failed = copy_page(map, page, to);
        } else {
            memset(to, 0, map->page_size);
        }
        if (failed) {
            return failed;
        }
    }
    return 0;
}
