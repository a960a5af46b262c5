/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bringing the pages of an image together, decoded if need be. */
#ifndef MIGCOMP_PAGE_FETCH_H
#define MIGCOMP_PAGE_FETCH_H

#include "handlers.h"
#include "page_map.h"

/* The block that was decompressed last. */
typedef struct BlockCache {
    bool valid;
    uint32_t number;
    uint8_t content[PAGE_BLOCK_MAX];
} BlockCache;

/* What one thread needs to decode the pages of a map. */
typedef struct PageFetcher {
    const PageMap *map;
    void *decompressors[PAGE_CODECS_MAX]; /* as the map's codecs */
    uint8_t *stored;   /* room for what is decoded; NULL for a plain map */
    BlockCache *cache; /* NULL for a map without blocks */
} PageFetcher;

/* -ENOMEM leaves nothing behind. */
int page_fetcher_init(PageFetcher *fetcher, const PageMap *map);
/* Also of one that is zeroed, or has been uninitialised. */
void page_fetcher_uninit(PageFetcher *fetcher);

/* The content of a page; -1 with error filled in. */
int page_fetch(const PageFetcher *fetcher, uint64_t page, uint8_t *to,
               CodecError *error);

/* Puts the pages that request's map has into its copy, which becomes the
 * input.  own is the calling thread's, for the job's source.  Negative errno,
 * as of a handler. */
int page_fetch_input(const PageFetcher *own, const PageJob *job,
                     PageRequest *request);

/* What the receiver has of the request's page i, in whose map no page is
 * encoded.  0 or -EIO. */
int page_fetch_previous(PageRequest *request, uint32_t i, uint8_t *to);

#endif
