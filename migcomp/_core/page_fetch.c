/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "page_fetch.h"

#include "crc32c.h"
#include "guard.h"
#include "pages.h"
#include "xbzrle.h"
#include "xxh64.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* No codec makes more of so many bytes, not even of noise: zlib needs 1/1000
 * and 11 bytes more, lzo 1/16 and 67, snappy 1/6 and 32. */
static size_t stored_max(uint32_t size)
{
    return size + size / 4 + 128;
}

int page_fetcher_init(PageFetcher *fetcher, const PageMap *map)
{
    *fetcher = (PageFetcher){.map = map};
    if (!page_map_encoded(map)) {
        return 0;
    }
    if (map->blocks_nr) {
        fetcher->cache = malloc(sizeof(*fetcher->cache));
        if (!fetcher->cache) {
            return -ENOMEM;
        }
        fetcher->cache->valid = false;
    }
    fetcher->stored = malloc(
        stored_max(map->blocks_nr ? PAGE_BLOCK_MAX : map->page_size));
    if (!fetcher->stored) {
        page_fetcher_uninit(fetcher);
        return -ENOMEM;
    }
    for (unsigned i = 0; i < map->codecs_nr; i++) {
        const CodecLibrary *library = map->codecs[i];

        fetcher->decompressors[i] =
            library->ops->decompressor_new(library, false);
        if (!fetcher->decompressors[i]) {
            page_fetcher_uninit(fetcher);
            return -ENOMEM;
        }
    }
    return 0;
}

void page_fetcher_uninit(PageFetcher *fetcher)
{
    for (unsigned i = 0; fetcher->map && i < fetcher->map->codecs_nr; i++) {
        fetcher->map->codecs[i]->ops->decompressor_free(
            fetcher->decompressors[i]);
    }
    free(fetcher->stored);
    free(fetcher->cache);
    *fetcher = (PageFetcher){.map = NULL};
}

/* Copied before anything looks at it: the file may change or shrink, and what
 * decodes must not be left by a jump. */
static int copy_bytes(const PageMap *map, const uint8_t *from, size_t size,
                      uint8_t *to, CodecError *error)
{
    Guard guard;

    if (!map->mapped) {
        memcpy(to, from, size);
        return 0;
    }
    if (!GUARD_ENTER(&guard, from, size)) {
        return codec_fail(error, "the image became shorter while it was read");
    }
    memcpy(to, from, size);
    guard_leave(&guard);
    return 0;
}

static int copy_stored(const PageMap *map, uint64_t place, size_t size,
                       uint8_t *to, CodecError *error)
{
    const uint8_t *from = page_map_at(map, place, size);

    return from ? copy_bytes(map, from, size, to, error)
                : codec_fail(error, "the image ends before its content");
}

/* size bytes at place, of that codec, become exactly content bytes. */
static int inflate(const PageFetcher *fetcher, unsigned codec, uint64_t place,
                   size_t size, uint8_t *to, uint32_t content,
                   CodecError *error)
{
    const PageMap *map = fetcher->map;

    if (codec >= map->codecs_nr) {
        return codec_fail(error, "it is stored in an unknown way");
    }
    if (!size || size > stored_max(content)) {
        return codec_fail(error, "its compressed block has %zu bytes", size);
    }
    return copy_stored(map, place, size, fetcher->stored, error)
               ? -1
               : map->codecs[codec]->ops->decompress(
                     fetcher->decompressors[codec], to, content,
                     fetcher->stored, size, error);
}

/* Brings the content of a block into the cache. */
static int read_block(const PageFetcher *fetcher, unsigned kind,
                      uint32_t number, const PageBlock *block,
                      CodecError *error)
{
    const PageMap *map = fetcher->map;
    uint8_t *to = fetcher->cache->content;
    uint32_t expected, found;

    if (kind == STORED_RAW_PART) {
        if (block->size != block->content) {
            return codec_fail(error, "its block has %u bytes, not %u",
                              block->size, block->content);
        }
        if (copy_stored(map, block->place, block->size, to, error)) {
            return -1;
        }
    } else if (inflate(fetcher, kind - STORED_PART, block->place, block->size,
                       to, block->content, error)) {
        return -1;
    }
    if (!map->checksums) {
        return 0;
    }
    memcpy(&expected, map->checksums + (size_t)number * sizeof(expected),
           sizeof(expected));
    found = map->crc32c ? crc32c(to, block->content)
                        : (uint32_t)xxh64(to, block->content, 0);
    return found == expected
               ? 0
               : codec_fail(error, "the checksum of its block is wrong");
}

static int fetch_part(const PageFetcher *fetcher, const PageEntry *entry,
                      uint8_t *to, CodecError *error)
{
    const PageMap *map = fetcher->map;
    BlockCache *cache = fetcher->cache;
    unsigned kind = entry->size_and_kind & 0xFF;
    uint32_t number = (uint32_t)(entry->place >> 32);
    uint32_t start = (uint32_t)entry->place;
    PageBlock block;

    if (kind != STORED_RAW_PART && kind - STORED_PART >= map->codecs_nr) {
        return codec_fail(error, "it is stored in an unknown way");
    }
    if (number >= map->blocks_nr) {
        return codec_fail(error, "it is in a block that is not there");
    }
    memcpy(&block, map->blocks + (size_t)number * sizeof(block),
           sizeof(block));
    if (block.content > PAGE_BLOCK_MAX || start >= block.content) {
        return codec_fail(error, "its block has %u bytes", block.content);
    }
    if (!cache->valid || cache->number != number) {
        cache->valid = !read_block(fetcher, kind, number, &block, error);
        cache->number = number;
    }
    if (!cache->valid) {
        return -1;
    }
    uint32_t held = block.content - start;

    held = held < map->page_size ? held : map->page_size;
    memcpy(to, cache->content + start, held);
    memset(to + held, 0, map->page_size - held);
    return 0;
}

static int fetch_content(const PageFetcher *fetcher, const PageEntry *entry,
                         uint8_t *to, CodecError *error)
{
    const PageMap *map = fetcher->map;

    switch (entry->size_and_kind & 0xFF) {
    case STORED_FILL:
        page_fill(to, map->page_size, entry->place);
        return 0;
    case STORED_RAW:
        return copy_stored(map, entry->place, map->page_size, to, error);
    default:
        break;
    }
    unsigned kind = entry->size_and_kind & 0xFF;

    return kind >= STORED_PART
               ? fetch_part(fetcher, entry, to, error)
               : inflate(fetcher, kind - STORED_BLOCK, entry->place,
                         entry->size_and_kind >> 8, to, map->page_size, error);
}

static int read_delta(const PageMap *map, uint32_t number, PageDelta *delta,
                      CodecError *error)
{
    if (number >= map->deltas_nr) {
        return codec_fail(error, "it has a delta that is not there");
    }
    memcpy(delta, map->deltas + (size_t)number * sizeof(*delta),
           sizeof(*delta));
    if (delta->size > map->page_size) {
        return codec_fail(error, "its delta has %u bytes", delta->size);
    }
    return 0;
}

/* From the first to the last, with rising numbers. */
static int apply_deltas(const PageFetcher *fetcher, uint32_t last, uint8_t *to,
                        CodecError *error)
{
    const PageMap *map = fetcher->map;
    PageDelta delta;

    if (read_delta(map, last, &delta, error)) {
        return -1;
    }
    uint32_t number = delta.next;

    while (!read_delta(map, number, &delta, error) &&
           !copy_stored(map, delta.place, delta.size, fetcher->stored,
                        error)) {
        if (xbzrle_decode(fetcher->stored, delta.size, to, map->page_size)) {
            return codec_fail(error, "its XBZRLE delta is malformed");
        }
        if (number == last) {
            return 0;
        }
        if (delta.next <= number) {
            return codec_fail(error, "its deltas are out of order");
        }
        number = delta.next;
    }
    return -1;
}

static int fetch_from_extents(const PageMap *map, uint64_t page, uint8_t *to,
                              CodecError *error)
{
    const uint8_t *from = page_map_find(map, page, 1);

    if (!from) {
        page_fill(to, map->page_size, 0);
        return 0;
    }
    return copy_bytes(map, from, map->page_size, to, error);
}

int page_fetch(const PageFetcher *fetcher, uint64_t page, uint8_t *to,
               CodecError *error)
{
    const PageMap *map = fetcher->map;

    if (!map->entries) {
        return fetch_from_extents(map, page, to, error);
    }
    PageEntry entry = page_map_entry(map, page);

    if (fetch_content(fetcher, &entry, to, error)) {
        return -1;
    }
    return entry.last_delta
               ? apply_deltas(fetcher, entry.last_delta - 1, to, error)
               : 0;
}

/* What page_fetch says was said of page i. */
static int fetch_failed(PageRequest *request, uint32_t i)
{
    request->failure.page = request->first_page + i;
    request->failure.image = true;
    return -EIO;
}

int page_fetch_input(const PageFetcher *own, const PageJob *job,
                     PageRequest *request)
{
    PageFetcher plain = {.map = request->map};
    const PageFetcher *fetcher = request->map == own->map ? own : &plain;
    uint8_t *to = page_request_copy(job, request);

    if (!to) {
        return page_request_fail(request, request->first_page, false,
                                 "no memory for a copy of the pages");
    }
    for (uint32_t i = 0; i < request->pages; i++, to += job->page_size) {
        if (!(request->has_holes && request->holes[i]) &&
            page_fetch(fetcher, request->first_page + i, to,
                       &request->failure.error)) {
            return fetch_failed(request, i);
        }
    }
    request->input = request->copy;
    request->map = NULL;
    return 0;
}

int page_fetch_previous(PageRequest *request, uint32_t i, uint8_t *to)
{
    const PageFetcher plain = {.map = request->previous};

    return page_fetch(&plain, request->first_page + i, to,
                      &request->failure.error)
               ? fetch_failed(request, i)
               : 0;
}
