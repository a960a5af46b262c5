/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sending side of XBZRLE as QEMU has it: a cache of the pages sent before,
 * and what becomes of a page that is to be sent again.
 *
 * From QEMU 7.2's and 8.2's migration/page_cache.c and, in migration/ram.c,
 * save_xbzrle_page, xbzrle_cache_zero_page and their callers, which agree:
 *
 * - A page has one place, its number modulo the places.  It takes it from
 *   another page only if that was last sent (or looked for) at least
 *   CACHED_PAGE_LIFETIME syncs of the dirty bitmap ago.
 * - A zero page is sent as such and never as a delta.  It is put in the cache,
 *   which may fail as above, also in the last stage.
 * - A miss sends the page itself and puts it in the cache, but for the last
 *   stage.
 * - A hit refreshes the age.  An equal page is not sent at all.  A delta that
 *   does not fit is an overflow: the page itself is sent.  But for the last
 *   stage, the cache has the new content then, after a delta or an overflow.
 * - XBZRLE starts after the first round; before it, the cache sees no page.
 */
#ifndef MIGCOMP_XBZRLE_CACHE_H
#define MIGCOMP_XBZRLE_CACHE_H

#include "xbzrle.h"

/* How a page is sent. */
typedef enum XbzrleClass {
    XBZRLE_ZERO,      /* QEMU's duplicate */
    XBZRLE_UNCHANGED, /* not at all */
    XBZRLE_DELTA,
    XBZRLE_OVERFLOW, /* itself, which was in the cache */
    XBZRLE_MISS,     /* itself, which was not */
    XBZRLE_CLASSES
} XbzrleClass;

/* QMP's xbzrle-cache, but that bytes has no names of RAM blocks. */
typedef struct XbzrleCounters {
    uint64_t pages; /* hits */
    uint64_t bytes; /* each delta's and 3; the page's for an overflow */
    uint64_t cache_miss;
    uint64_t overflow;
} XbzrleCounters;

typedef struct XbzrlePlace {
    uint64_t page, age;
    uint8_t *content; /* NULL: never taken */
} XbzrlePlace;

/* All fields are the caller's, one thread at a time. */
typedef struct XbzrleCache {
    const XbzrleCompare *compare;
    uint32_t page_size;
    uint64_t places_nr; /* a power of two */
    XbzrlePlace *places;
    uint64_t cached; /* places taken, each with a page of memory */
    uint8_t *current; /* the page being sent, so that nobody changes it */
    XbzrleCounters counters;
} XbzrleCache;

/* places_nr: a power of two.  -ENOMEM leaves nothing behind. */
int xbzrle_cache_init(XbzrleCache *cache, uint32_t page_size,
                      uint64_t places_nr);
void xbzrle_cache_uninit(XbzrleCache *cache);

/*
 * Sends the page of that number that lies at content, which may be in a mapped
 * file that shrinks: its class, with the size bytes of it that are sent at to,
 * where a page has room.  -ENOMEM, or -EIO when the file has become shorter;
 * the page is not sent then.
 */
int xbzrle_cache_save(XbzrleCache *cache, uint64_t page,
                      const uint8_t *content, uint64_t sync_count,
                      bool last_stage, uint8_t *to, uint32_t *size);

/*
 * The receiver's side: makes page what it was sent as, or -EIO if that is
 * malformed, page being spoilt then.
 */
int xbzrle_load(XbzrleClass how, const uint8_t *from, size_t size,
                uint8_t *page, uint32_t page_size);

#endif
