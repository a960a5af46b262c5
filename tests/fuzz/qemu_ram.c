/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: the records of a QEMU stream, scanned, and every page that came
 * of them fetched.
 *
 *     program ITERATIONS FILE    spoils the records in FILE by itself
 *
 * With -DLIBFUZZER it has no main, and libFuzzer drives it.
 */
#include "page_fetch.h"
#include "qemu_ram.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, BLOCKS = 2, PAGES = 44 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

#ifndef LIBFUZZER

static uint64_t state = 88172645463325252u;

static uint64_t below(uint64_t limit)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % limit;
}

static void spoil(uint8_t *data, size_t size)
{
    for (uint64_t i = 0; i <= below(4); i++) {
        size_t at = below(size);

        switch (below(4)) {
        case 0:
            data[at] ^= (uint8_t)(1u << below(8));
            break;
        case 1:
            data[at] = (uint8_t)below(256);
            break;
        case 2:
            memset(data + at, below(2) ? 0xFF : 0, below(size - at) % 9);
            break;
        default:
            memmove(data + at, data + below(size - below(size - at)) / 2,
                    below(size - at) % 64);
        }
    }
}

int main(int count, char **arguments)
{
    long iterations = count == 3 ? atol(arguments[1]) : 0;
    FILE *file = iterations ? fopen(arguments[2], "rb") : NULL;
    static uint8_t seed[1 << 20];
    size_t size = file ? fread(seed, 1, sizeof(seed), file) : 0;

    if (!size) {
        fprintf(stderr, "give a number and a file\n");
        return 2;
    }
    fclose(file);
    for (long i = 0; i < iterations; i++) {
        /* Of its own size, so that a byte too far is seen. */
        size_t length = below(4) ? size : 1 + below(size);
        uint8_t *data = malloc(length);

        if (!data) {
            abort();
        }
        memcpy(data, seed, length);
        if (i) {
            spoil(data, length);
        }
        LLVMFuzzerTestOneInput(data, length);
        free(data);
    }
    printf("sections %u, refused %u, spoilt pages %u\n", ended, refused,
           spoilt);
    return 0;
}

#endif
