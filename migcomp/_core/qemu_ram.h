/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The records of pages in a QEMU migration stream, found by going from header
 * to header: what each page becomes in the end is noted in a page map's table,
 * and nothing of its content is read.  docs/qemu-streams.md has the format.
 */
#ifndef MIGCOMP_QEMU_RAM_H
#define MIGCOMP_QEMU_RAM_H

#include "page_map.h"

typedef enum QemuRecord {
    QEMU_ZERO,       /* one byte over and over; QEMU's duplicate */
    QEMU_NORMAL,     /* the page */
    QEMU_COMPRESSED, /* a zlib block */
    QEMU_XBZRLE,     /* a delta to what the page was */
    QEMU_RECORDS
} QemuRecord;

/* Records of one round. */
typedef struct QemuRound {
    uint64_t pages[QEMU_RECORDS];
    uint64_t bytes[QEMU_RECORDS]; /* with their headers */
} QemuRound;

/* A record, in the order of the stream. */
typedef struct QemuLogged {
    uint64_t place;         /* of what follows its header and block's name */
    uint32_t size_and_kind; /* bytes of that << 8 | QemuRecord */
    uint32_t page;
} QemuLogged;

/* Of QEMU's, whose names have a byte for their size. */
typedef struct QemuBlock {
    char name[255];
    uint8_t name_size;
    uint64_t first_page, pages;
} QemuBlock;

#define QEMU_BLOCKS_MAX 1024u
#define QEMU_ROUNDS_MAX 65535u /* all later records count as the last one's */

typedef struct QemuRam {
    /* Constant. */
    uint32_t page_size;
    QemuBlock *blocks; /* in order of pages */
    unsigned blocks_nr;
    uint64_t pages;
    uint8_t *entries; /* [pages] PageEntry, zeroed at first; not owned */

    PageDelta *deltas;
    uint32_t deltas_nr, deltas_room;
    /* A page that comes again starts the next round. */
    uint16_t *seen; /* [pages] the round in which it came last, from 1 */
    QemuRound *rounds;
    uint32_t rounds_nr, rounds_room;
    const QemuBlock *block; /* of the record before, or NULL */
    uint64_t flushes;       /* MULTIFD_FLUSH records */
    bool logs;              /* keeps a log; set before the first scan */
    QemuLogged *log;
    uint32_t log_nr, log_room;
} QemuRam;

/* blocks has room for blocks_nr of them, is filled in but for first_page, and
 * is owned from then on.  Negative errno, having freed everything. */
int qemu_ram_init(QemuRam *ram, uint32_t page_size, QemuBlock *blocks,
                  unsigned blocks_nr);
void qemu_ram_uninit(QemuRam *ram);

/*
 * Scans records from *at on, most of them at once, and moves *at behind them.
 * 1 when the last one ended its section, 0 when it did not, and -1 with error
 * filled in, *at being where the malformed record starts.  data may be a
 * mapped file that shrinks.
 */
int qemu_ram_scan(QemuRam *ram, const uint8_t *data, size_t size, size_t *at,
                  unsigned most, CodecError *error);

/* mapped-ram: the block's pages lie from place on, those of them that have
 * their bit set in bitmap, whose words are little-endian; the others are zero.
 * -1 with error filled in. */
int qemu_ram_map_block(QemuRam *ram, unsigned block, const uint8_t *bitmap,
                       size_t bitmap_size, uint64_t place, CodecError *error);

#endif
