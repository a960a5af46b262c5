/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the pages of an image lie in buffers, and how.  Pages are numbered
 * through the image, places through the buffers: where one ends, the next
 * begins.  Either extents say where whole pages lie, or a table has an entry
 * for each page, whose content may be encoded; a page in no extent is a zero
 * page.
 */
#ifndef MIGCOMP_PAGE_MAP_H
#define MIGCOMP_PAGE_MAP_H

#include "codec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Consecutive pages, side by side. */
typedef struct PageExtent {
    uint64_t first_page;
    uint64_t pages;
    const uint8_t *start;
} PageExtent;

/* How an entry's page is stored. */
enum {
    STORED_FILL = 0,  /* place is its 8-byte pattern, 0 for a zero page */
    STORED_RAW = 1,   /* the page itself */
    STORED_BLOCK = 2, /* a block of codec 0; one more for each other codec */
    STORED_PART = 128, /* part of one, as STORED_BLOCK; place is its number
                        * << 32 | where in its content the page begins */
    STORED_RAW_PART = 255, /* part of a block that is stored as it is */
};

#define PAGE_CODECS_MAX 8u

/* An entry: 16 bytes, in the machine's byte order, at any address. */
typedef struct PageEntry {
    uint64_t place;         /* of its content, or the pattern */
    uint32_t size_and_kind; /* bytes stored << 8 | STORED_... */
    uint32_t last_delta;    /* 1 + number of the last delta on top, or 0 */
} PageEntry;

/* What decompresses to several pages.  A page that it ends within is filled
 * up with zeros. */
typedef struct PageBlock {
    uint64_t place;
    uint32_t size;    /* stored */
    uint32_t content; /* bytes, at most PAGE_BLOCK_MAX */
} PageBlock;

#define PAGE_BLOCK_MAX (512u << 10)

/* An XBZRLE delta.  Those of a page form a ring, so that they can be added at
 * its end and applied from its start. */
typedef struct PageDelta {
    uint64_t place;
    uint32_t size;
    uint32_t next; /* number of the next one; of the last: of the first */
} PageDelta;

typedef struct PageBuffer {
    const uint8_t *start;
    size_t size;
} PageBuffer;

/* All fields are constant once the map is made. */
typedef struct PageMap {
    PageBuffer *buffers;
    size_t buffers_nr;
    uint64_t pages;
    uint32_t page_size;
    bool mapped; /* reading a buffer may raise SIGBUS */

    PageExtent *extents; /* by first_page */
    size_t extents_nr;

    const uint8_t *entries; /* [pages] PageEntry; NULL: extents count */
    const uint8_t *deltas;  /* [deltas_nr] PageDelta */
    uint32_t deltas_nr;
    const uint8_t *blocks; /* [blocks_nr] PageBlock */
    uint32_t blocks_nr;
    const uint8_t *checksums; /* [blocks_nr] uint32_t, of each one's content:
                               * the low bits of its XXH64; NULL: none */
    bool crc32c;              /* its CRC-32C instead */
    const CodecLibrary *codecs[PAGE_CODECS_MAX];
    unsigned codecs_nr;
} PageMap;

/* Some page may have to be decoded; then every page goes through a fetcher. */
static inline bool page_map_encoded(const PageMap *map)
{
    return map->codecs_nr || map->deltas_nr || map->blocks_nr;
}

PageEntry page_map_entry(const PageMap *map, uint64_t page);

/* size bytes at place; NULL if they do not lie in one buffer. */
const uint8_t *page_map_at(const PageMap *map, uint64_t place, uint64_t size);

/* pages consecutive pages from first_page on; NULL if they do not lie
 * together, as they are. */
const uint8_t *page_map_find(const PageMap *map, uint64_t first_page,
                             uint64_t pages);

/* How many of the pages from first_page up to end are like the first of them:
 * all known to be zero, or all not, which is stored. */
uint64_t page_map_run(const PageMap *map, uint64_t first_page, uint64_t end,
                      bool *hole);

#endif
