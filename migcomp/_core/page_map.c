/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "page_map.h"

#include <string.h>

PageEntry page_map_entry(const PageMap *map, uint64_t page)
{
    PageEntry entry;

    memcpy(&entry, map->entries + page * sizeof(entry), sizeof(entry));
    return entry;
}

const uint8_t *page_map_at(const PageMap *map, uint64_t place, uint64_t size)
{
    for (size_t i = 0; i < map->buffers_nr; i++) {
        const PageBuffer *buffer = &map->buffers[i];

        if (place <= buffer->size && size <= buffer->size - place) {
            return buffer->start + place;
        }
        if (place < buffer->size) {
            return NULL;
        }
        place -= buffer->size;
    }
    return NULL;
}

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

static const uint8_t *find_raw_entry(const PageMap *map, uint64_t page)
{
    PageEntry entry = page_map_entry(map, page);
    bool raw = (entry.size_and_kind & 0xFF) == STORED_RAW && !entry.last_delta;

    return raw ? page_map_at(map, entry.place, map->page_size) : NULL;
}

const uint8_t *page_map_find(const PageMap *map, uint64_t first_page,
                             uint64_t pages)
{
    if (first_page >= map->pages) {
        return NULL;
    }
    if (map->entries) {
        return pages == 1 ? find_raw_entry(map, first_page) : NULL;
    }
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

static bool is_zero_entry(const PageMap *map, uint64_t page)
{
    PageEntry entry = page_map_entry(map, page);

    return (entry.size_and_kind & 0xFF) == STORED_FILL && !entry.place &&
           !entry.last_delta;
}

static uint64_t entry_run(const PageMap *map, uint64_t first_page,
                          uint64_t end, bool *hole)
{
    uint64_t page = first_page + 1;

    *hole = first_page >= map->pages || is_zero_entry(map, first_page);
    while (page < end && page < map->pages &&
           is_zero_entry(map, page) == *hole) {
        page++;
    }
    return (page < map->pages ? page : *hole ? end : page) - first_page;
}

uint64_t page_map_run(const PageMap *map, uint64_t first_page, uint64_t end,
                      bool *hole)
{
    if (map->entries) {
        return entry_run(map, first_page, end, hole);
    }
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
