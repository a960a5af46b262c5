/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: the records of a QEMU stream, scanned, and every page that came
 * of them fetched.
 */
#include "page_fetch.h"
#include "qemu_ram.h"
#include "spoil.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, BLOCKS = 2, PAGES = 44 };

static unsigned ended, refused, spoilt;

/* As the announcements of tests/qemu_tools.py have them. */
static int start(QemuRam *ram)
{
    QemuBlock *blocks = calloc(BLOCKS, sizeof(*blocks));

    if (!blocks) {
        return -1;
    }
    memcpy(blocks[0].name, "pc.ram", 6);
    blocks[0].name_size = 6;
    blocks[0].pages = 40;
    memcpy(blocks[1].name, "pc.bios", 7);
    blocks[1].name_size = 7;
    blocks[1].pages = 4;
    return qemu_ram_init(ram, PAGE, blocks, BLOCKS);
}

static void fetch_all(const QemuRam *ram, const uint8_t *data, size_t size)
{
    PageBuffer buffer = {.start = data, .size = size};
    PageMap map = {
        .buffers = &buffer,
        .buffers_nr = 1,
        .pages = PAGES,
        .page_size = PAGE,
        .entries = ram->entries,
        .deltas = (const uint8_t *)ram->deltas,
        .deltas_nr = ram->deltas_nr,
    };
    PageFetcher fetcher;
    uint8_t page[PAGE];
    CodecError error;

    if (page_fetcher_init(&fetcher, &map)) {
        abort();
    }
    for (uint64_t i = 0; i < PAGES; i++) {
        bool hole;

        spoilt += !!page_fetch(&fetcher, i, page, &error);
        if (!page_map_run(&map, i, PAGES, &hole)) {
            abort();
        }
    }
    page_fetcher_uninit(&fetcher);
}

/* Every record was logged, and lies in the stream. */
static void check_log(const QemuRam *ram, size_t size)
{
    uint64_t records = 0;

    for (uint32_t i = 0; i < ram->rounds_nr; i++) {
        for (unsigned kind = 0; kind < QEMU_RECORDS; kind++) {
            records += ram->rounds[i].pages[kind];
        }
    }
    if (records != ram->log_nr) {
        abort();
    }
    for (uint32_t i = 0; i < ram->log_nr; i++) {
        const QemuLogged *record = &ram->log[i];
        uint64_t length = record->size_and_kind >> 8;

        if (record->page >= PAGES ||
            (record->size_and_kind & 255) >= QEMU_RECORDS || !length ||
            record->place > size || length > size - record->place) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *entries = calloc(PAGES, sizeof(PageEntry));
    CodecError error;
    QemuRam ram;
    size_t at = 0;
    int result = 0;

    if (!entries || start(&ram)) {
        abort();
    }
    ram.entries = entries;
    ram.logs = true;
    /* A section's end does not end the records. */
    while (result >= 0 && at < size) {
        size_t before = at;

        result = qemu_ram_scan(&ram, data, size, &at, 16, &error);
        ended += result > 0;
        if (result >= 0 && (at <= before || at > size)) {
            abort();
        }
    }
    refused += result < 0;
    check_log(&ram, size);
    fetch_all(&ram, data, size);
    qemu_ram_uninit(&ram);
    free(entries);
    return 0;
}

void fuzz_report(void)
{
    printf("sections %u, refused %u, spoilt pages %u\n", ended, refused,
           spoilt);
}
