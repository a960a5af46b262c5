/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "qemu_ram.h"

#include "bytes.h"
#include "guard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The low bits of a record's header; the others are an offset in the block. */
enum {
    FLAG_ZERO = 0x02,
    FLAG_PAGE = 0x08,
    FLAG_EOS = 0x10,
    FLAG_CONTINUE = 0x20, /* the block of the record before */
    FLAG_XBZRLE = 0x40,
    FLAG_COMPRESS_PAGE = 0x100,
    FLAG_MULTIFD_FLUSH = 0x200,
};

enum { HEADER_SIZE = 8, XBZRLE_ENCODING = 1, XBZRLE_HEADER_SIZE = 3 };

/* --- Life ------------------------------------------------------------------ */

int qemu_ram_init(QemuRam *ram, uint32_t page_size, QemuBlock *blocks,
                  unsigned blocks_nr)
{
    *ram = (QemuRam){
        .page_size = page_size, .blocks = blocks, .blocks_nr = blocks_nr};
    for (unsigned i = 0; i < blocks_nr; i++) {
        blocks[i].first_page = ram->pages;
        ram->pages += blocks[i].pages;
    }
    ram->seen = calloc(ram->pages + 1, sizeof(*ram->seen));
    ram->rounds = calloc(1, sizeof(*ram->rounds));
    if (!ram->seen || !ram->rounds) {
        qemu_ram_uninit(ram);
        return -ENOMEM;
    }
    ram->rounds_nr = ram->rounds_room = 1;
    return 0;
}

void qemu_ram_uninit(QemuRam *ram)
{
    free(ram->blocks);
    free(ram->deltas);
    free(ram->seen);
    free(ram->rounds);
    free(ram->log);
}

/* Doubles an array of items once it is full; -1 without memory. */
static int make_room(void **array, uint32_t count, uint32_t *room, size_t item)
{
    if (count < *room) {
        return 0;
    }
    uint32_t wanted = *room ? *room * 2 : 64;
    void *larger =
        wanted > *room ? realloc(*array, (size_t)wanted * item) : NULL;

    if (!larger) {
        return -1;
    }
    *array = larger;
    *room = wanted;
    return 0;
}

/* --- What a record does ---------------------------------------------------- */

static int count_record(QemuRam *ram, uint64_t page, QemuRecord kind,
                        size_t bytes, CodecError *error)
{
    if (ram->seen[page] == ram->rounds_nr &&
        ram->rounds_nr < QEMU_ROUNDS_MAX) {
        if (make_room((void **)&ram->rounds, ram->rounds_nr,
                      &ram->rounds_room, sizeof(*ram->rounds))) {
            return codec_fail(error, "there is no memory for its rounds");
        }
        ram->rounds[ram->rounds_nr++] = (QemuRound){0};
    }
    QemuRound *round = &ram->rounds[ram->rounds_nr - 1];

    ram->seen[page] = (uint16_t)ram->rounds_nr;
    round->pages[kind]++;
    round->bytes[kind] += bytes;
    return 0;
}

static void set_entry(const QemuRam *ram, uint64_t page,
                      const PageEntry *entry)
{
    memcpy(ram->entries + page * sizeof(*entry), entry, sizeof(*entry));
}

static void store_page(const QemuRam *ram, uint64_t page, uint64_t place,
                       uint32_t size, uint32_t kind)
{
    set_entry(ram, page, &(PageEntry){place, size << 8 | kind, 0});
}

static int add_delta(QemuRam *ram, uint64_t page, uint64_t place,
                     uint32_t size, CodecError *error)
{
    uint32_t number = ram->deltas_nr;
    PageEntry entry;

    if (make_room((void **)&ram->deltas, number, &ram->deltas_room,
                  sizeof(*ram->deltas))) {
        return codec_fail(error, "there is no memory for its deltas");
    }
    memcpy(&entry, ram->entries + page * sizeof(entry), sizeof(entry));
    ram->deltas[number] = (PageDelta){place, size, number};
    if (entry.last_delta) {
        PageDelta *last = &ram->deltas[entry.last_delta - 1];

        ram->deltas[number].next = last->next;
        last->next = number;
    }
    entry.last_delta = number + 1;
    set_entry(ram, page, &entry);
    ram->deltas_nr++;
    return 0;
}

static int log_record(QemuRam *ram, uint64_t page, QemuRecord kind,
                      uint64_t place, size_t size, CodecError *error)
{
    if (make_room((void **)&ram->log, ram->log_nr, &ram->log_room,
                  sizeof(*ram->log))) {
        return codec_fail(error, "there is no memory for its records");
    }
    ram->log[ram->log_nr++] = (QemuLogged){
        place, (uint32_t)(size << 8) | (uint32_t)kind, (uint32_t)page};
    return 0;
}

/* --- Reading --------------------------------------------------------------- */

typedef struct Cursor {
    const uint8_t *data;
    size_t size, at;
} Cursor;

/* The next size bytes; NULL where the stream ends. */
static const uint8_t *take(Cursor *cursor, size_t size)
{
    const uint8_t *from = cursor->data + cursor->at;

    if (size > cursor->size - cursor->at) {
        return NULL;
    }
    cursor->at += size;
    return from;
}

static int cut_off(CodecError *error)
{
    return codec_fail(error, "the stream is cut off");
}

static int read_block(QemuRam *ram, Cursor *cursor, CodecError *error)
{
    const uint8_t *size = take(cursor, 1);
    const uint8_t *name = size ? take(cursor, *size) : NULL;

    if (!name) {
        return cut_off(error);
    }
    for (unsigned i = 0; i < ram->blocks_nr; i++) {
        const QemuBlock *block = &ram->blocks[i];

        if (block->name_size == *size && !memcmp(block->name, name, *size)) {
            ram->block = block;
            return 0;
        }
    }
    return codec_fail(error,
                      "a page is of a RAM block that was not announced");
}

/* As zlib's compressBound has it, beyond which QEMU refuses a block. */
static uint32_t compressed_max(uint32_t page_size)
{
    return page_size + (page_size >> 12) + (page_size >> 14) + 13;
}

static int read_zero(const QemuRam *ram, Cursor *cursor, uint64_t page,
                     CodecError *error)
{
    const uint8_t *fill = take(cursor, 1);

    if (!fill) {
        return cut_off(error);
    }
    store_page(ram, page, *fill * UINT64_C(0x0101010101010101), 0,
               STORED_FILL);
    return 0;
}

static int read_normal(const QemuRam *ram, Cursor *cursor, uint64_t page,
                       CodecError *error)
{
    store_page(ram, page, cursor->at, 0, STORED_RAW);
    return take(cursor, ram->page_size) ? 0 : cut_off(error);
}

static int read_compressed(const QemuRam *ram, Cursor *cursor, uint64_t page,
                           CodecError *error)
{
    const uint8_t *length = take(cursor, 4);

    if (!length) {
        return cut_off(error);
    }
    uint32_t size = load_be32(length);

    if (!size || size > compressed_max(ram->page_size)) {
        return codec_fail(error, "a compressed page has %u bytes", size);
    }
    store_page(ram, page, cursor->at, size, STORED_BLOCK);
    return take(cursor, size) ? 0 : cut_off(error);
}

static int read_xbzrle(QemuRam *ram, Cursor *cursor, uint64_t page,
                       CodecError *error)
{
    const uint8_t *header = take(cursor, XBZRLE_HEADER_SIZE);

    if (!header) {
        return cut_off(error);
    }
    uint32_t size = load_be16(header + 1);
    size_t place = cursor->at;

    if (*header != XBZRLE_ENCODING || size > ram->page_size) {
        return codec_fail(error, "an XBZRLE page of encoding %u, %u bytes",
                          *header, size);
    }
    return take(cursor, size) ? add_delta(ram, page, place, size, error)
                              : cut_off(error);
}

/* What follows the header and the block's name.  Stores the record's kind. */
static int read_content(QemuRam *ram, Cursor *cursor, unsigned flags,
                        uint64_t page, QemuRecord *kind, CodecError *error)
{
    switch (flags & ~(unsigned)FLAG_CONTINUE) {
    case FLAG_ZERO:
        *kind = QEMU_ZERO;
        return read_zero(ram, cursor, page, error);
    case FLAG_PAGE:
        *kind = QEMU_NORMAL;
        return read_normal(ram, cursor, page, error);
    case FLAG_COMPRESS_PAGE:
        *kind = QEMU_COMPRESSED;
        return read_compressed(ram, cursor, page, error);
    default:
        *kind = QEMU_XBZRLE;
        return read_xbzrle(ram, cursor, page, error);
    }
}

static int read_page(QemuRam *ram, Cursor *cursor, unsigned flags,
                     uint64_t offset, CodecError *error)
{
    size_t start = cursor->at - HEADER_SIZE;
    uint64_t number = offset / ram->page_size;
    QemuRecord kind;

    if (!(flags & FLAG_CONTINUE) && read_block(ram, cursor, error)) {
        return -1;
    }
    if (!ram->block) {
        return codec_fail(error, "the first page is of no RAM block");
    }
    if (number >= ram->block->pages) {
        return codec_fail(error, "a page lies beyond its RAM block");
    }
    number += ram->block->first_page;
    size_t place = cursor->at;

    if (read_content(ram, cursor, flags, number, &kind, error) ||
        count_record(ram, number, kind, cursor->at - start, error)) {
        return -1;
    }
    return ram->logs ? log_record(ram, number, kind, place,
                                  cursor->at - place, error)
                     : 0;
}

/* One record; as qemu_ram_scan. */
static int read_record(QemuRam *ram, Cursor *cursor, CodecError *error)
{
    const uint8_t *header = take(cursor, HEADER_SIZE);

    if (!header) {
        return cut_off(error);
    }
    uint64_t value = load_be64(header);
    unsigned flags = (unsigned)(value & (ram->page_size - 1));

    switch (flags) {
    case FLAG_EOS:
        return 1;
    case FLAG_MULTIFD_FLUSH:
        ram->flushes++;
        return 0;
    case FLAG_ZERO:
    case FLAG_PAGE:
    case FLAG_COMPRESS_PAGE:
    case FLAG_XBZRLE:
    case FLAG_ZERO | FLAG_CONTINUE:
    case FLAG_PAGE | FLAG_CONTINUE:
    case FLAG_COMPRESS_PAGE | FLAG_CONTINUE:
    case FLAG_XBZRLE | FLAG_CONTINUE:
        return read_page(ram, cursor, flags, value - flags, error);
    default:
        return codec_fail(error, "a record has unknown flags %#x", flags);
    }
}

static int scan_records(QemuRam *ram, Cursor *cursor, size_t *at,
                        unsigned most, CodecError *error)
{
    int ended = 0;

    while (most-- && !ended) {
        ended = read_record(ram, cursor, error);
        if (ended >= 0) {
            *at = cursor->at;
        }
    }
    return ended;
}

int qemu_ram_scan(QemuRam *ram, const uint8_t *data, size_t size, size_t *at,
                  unsigned most, CodecError *error)
{
    Cursor cursor = {data, size, *at};
    Guard guard;

    if (!GUARD_ENTER(&guard, data, size)) {
        return codec_fail(error, "the stream became shorter meanwhile");
    }
    int ended = scan_records(ram, &cursor, at, most, error);

    guard_leave(&guard);
    return ended;
}

int qemu_ram_map_block(QemuRam *ram, unsigned block, const uint8_t *bitmap,
                       size_t bitmap_size, uint64_t place, CodecError *error)
{
    const QemuBlock *of = &ram->blocks[block];

    if (bitmap_size < (of->pages + 7) / 8) {
        return cut_off(error);
    }
    for (uint64_t i = 0; i < of->pages; i++) {
        uint64_t page = of->first_page + i;
        bool stored = bitmap[i / 8] >> i % 8 & 1;
        QemuRecord kind = stored ? QEMU_NORMAL : QEMU_ZERO;

        if (stored) {
            store_page(ram, page, place + i * ram->page_size, 0, STORED_RAW);
        }
        if (count_record(ram, page, kind, stored ? ram->page_size : 0,
                         error)) {
            return -1;
        }
    }
    return 0;
}
