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
