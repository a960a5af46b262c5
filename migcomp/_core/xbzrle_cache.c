/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "xbzrle_cache.h"

#include "guard.h"
#include "pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Of page_cache.c. */
enum { CACHED_PAGE_LIFETIME = 2 };
/* A byte for the encoding and two for the size, which QEMU counts. */
enum { RECORD_BYTES = 3, RECORD_DELTA_MAX = 0xFFFF };

/* --- Life ------------------------------------------------------------------ */

int xbzrle_cache_init(XbzrleCache *cache, uint32_t page_size,
                      uint64_t places_nr)
{
    *cache = (XbzrleCache){
        .compare = xbzrle_compare_best(),
        .page_size = page_size,
        .places_nr = places_nr,
        .places = calloc(places_nr, sizeof(*cache->places)),
        .current = malloc(page_size),
    };
    if (!cache->places || !cache->current) {
        xbzrle_cache_uninit(cache);
        return -ENOMEM;
    }
    return 0;
}

void xbzrle_cache_uninit(XbzrleCache *cache)
{
    /* Those that were never taken may have no memory yet: they are not
     * looked at further than the last one taken. */
    for (uint64_t i = 0; cache->cached && i < cache->places_nr; i++) {
        if (cache->places[i].content) {
            free(cache->places[i].content);
            cache->cached--;
        }
    }
    free(cache->places);
    free(cache->current);
}

/* --- Sending --------------------------------------------------------------- */

static XbzrlePlace *place_of(const XbzrleCache *cache, uint64_t page)
{
    return &cache->places[page & (cache->places_nr - 1)];
}

/* Puts the current page in its place, if that is free for it; 0 if not as
 * well, or -ENOMEM. */
static int insert_current(XbzrleCache *cache, uint64_t page,
                          uint64_t sync_count)
{
    XbzrlePlace *place = place_of(cache, page);

    if (place->content && place->page != page &&
        place->age + CACHED_PAGE_LIFETIME > sync_count) {
        return 0;
    }
    if (!place->content) {
        place->content = malloc(cache->page_size);
        if (!place->content) {
            return -ENOMEM;
        }
        cache->cached++;
    }
    memcpy(place->content, cache->current, cache->page_size);
    place->page = page;
    place->age = sync_count;
    return 0;
}

/* What is sent, and written into the cache, must be one content. */
static int take_current(XbzrleCache *cache, const uint8_t *content)
{
    Guard guard;

    if (!GUARD_ENTER(&guard, content, cache->page_size)) {
        return -EIO;
    }
    memcpy(cache->current, content, cache->page_size);
    guard_leave(&guard);
    return 0;
}

/* The page that is in the place. */
static XbzrleClass save_cached(XbzrleCache *cache, XbzrlePlace *place,
                               bool last_stage, uint8_t *to, uint32_t *size)
{
    uint32_t room = cache->page_size < RECORD_DELTA_MAX ? cache->page_size
                                                        : RECORD_DELTA_MAX;
    int delta = xbzrle_encode(cache->compare, place->content, cache->current,
                              cache->page_size, to, room);

    cache->counters.pages++;
    if (!delta) {
        return XBZRLE_UNCHANGED;
    }
    if (!last_stage) {
        memcpy(place->content, cache->current, cache->page_size);
    }
    if (delta < 0) {
        cache->counters.overflow++;
        cache->counters.bytes += cache->page_size;
        memcpy(to, cache->current, cache->page_size);
        *size = cache->page_size;
        return XBZRLE_OVERFLOW;
    }
    cache->counters.bytes += (uint32_t)delta + RECORD_BYTES;
    *size = (uint32_t)delta;
    return XBZRLE_DELTA;
}

int xbzrle_cache_save(XbzrleCache *cache, uint64_t page,
                      const uint8_t *content, uint64_t sync_count,
                      bool last_stage, uint8_t *to, uint32_t *size)
{
    XbzrlePlace *place = place_of(cache, page);
    uint64_t pattern;
    int failed = take_current(cache, content);

    *size = 0;
    if (failed) {
        return failed;
    }
    if (page_same_filled(cache->current, cache->page_size, &pattern) &&
        !pattern) {
        failed = insert_current(cache, page, sync_count);
        return failed ? failed : XBZRLE_ZERO;
    }
    if (place->content && place->page == page) {
        place->age = sync_count;
        return save_cached(cache, place, last_stage, to, size);
    }
    failed = last_stage ? 0 : insert_current(cache, page, sync_count);
    if (failed) {
        return failed;
    }
    cache->counters.cache_miss++;
    memcpy(to, cache->current, cache->page_size);
    *size = cache->page_size;
    return XBZRLE_MISS;
}

/* --- Receiving ------------------------------------------------------------- */

int xbzrle_load(XbzrleClass how, const uint8_t *from, size_t size,
                uint8_t *page, uint32_t page_size)
{
    switch (how) {
    case XBZRLE_ZERO:
    case XBZRLE_UNCHANGED:
        if (size) {
            return -EIO;
        }
        if (how == XBZRLE_ZERO) {
            memset(page, 0, page_size);
        }
        return 0;
    case XBZRLE_DELTA:
        return size > page_size || xbzrle_decode(from, size, page, page_size)
                   ? -EIO
                   : 0;
    case XBZRLE_OVERFLOW:
    case XBZRLE_MISS:
        if (size != page_size) {
            return -EIO;
        }
        memcpy(page, from, page_size);
        return 0;
    default:
        return -EIO;
    }
}
