/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The records of a QEMU stream are scanned with each allocation failing at its
 * n-th occurrence, for every n: an error that says what there was no memory
 * for, and nothing is left behind.
 */
#include "check.h"

#include "faults.h"
#include "qemu_ram.h"

/* More rounds and more deltas than there is room for at first. */
enum { PAGE = 4096, PAGES = 2, ROUNDS = 70, ROUND_SIZE = 2 * (8 + 3) + 7 };

static uint8_t records[ROUNDS * ROUND_SIZE];
static uint8_t entries[PAGES * sizeof(PageEntry)];

/* An XBZRLE page of no bytes, which names its block in the first record. */
static uint8_t *put_delta(uint8_t *to, unsigned page, bool first)
{
    enum { XBZRLE = 0x40, CONTINUE = 0x20 };

    to[6] = (uint8_t)(page * PAGE >> 8);
    to[7] = first ? XBZRLE : XBZRLE | CONTINUE;
    to += 8;
    if (first) {
        *to = 6;
        memcpy(to + 1, "pc.ram", 6);
        to += 7;
    }
    to[0] = 1;
    return to + 3;
}

static size_t put_records(void)
{
    uint8_t *to = records;

    for (unsigned i = 0; i < ROUNDS; i++) {
        to = put_delta(to, 0, !i);
        to = put_delta(to, 1, false);
    }
    return (size_t)(to - records);
}

static QemuBlock *make_blocks(void)
{
    QemuBlock *blocks = calloc(1, sizeof(*blocks));

    if (!blocks) {
        abort();
    }
    *blocks = (QemuBlock){.name = "pc.ram", .name_size = 6, .pages = PAGES};
    return blocks;
}

/* What was said when it failed; empty when it did not. */
static const char *scan(size_t size, unsigned at)
{
    static CodecError error;
    QemuRam ram;
    size_t place = 0;
    QemuBlock *blocks = make_blocks();

    error.text[0] = 0;
    memset(entries, 0, sizeof(entries));
    fault_arm(FAULT_ALLOCATE, at);
    int failed = qemu_ram_init(&ram, PAGE, blocks, 1);

    if (failed) {
        CHECK(failed == -ENOMEM, "init: %d", failed);
        fault_disarm();
        return "init";
    }
    ram.entries = entries;
    while (!failed && place < size) {
        failed = qemu_ram_scan(&ram, records, size, &place, 10, &error);
    }
    fault_disarm();
    CHECK(failed || (ram.deltas_nr == 2 * ROUNDS && ram.rounds_nr == ROUNDS),
          "%u deltas, %u rounds", ram.deltas_nr, ram.rounds_nr);
    CHECK(!failed == !error.text[0], "%d, but '%s'", failed, error.text);
    qemu_ram_uninit(&ram);
    return error.text;
}

int main(int argc, char **argv)
{
    static const char *const ends[] = {"init", "there is no memory for its deltas",
                                       "there is no memory for its rounds"};
    unsigned seen[3] = {0};

    check_begin(argc, argv);
    check_phase = "allocations";
    size_t size = put_records();
    int before = fault_resources();

    for (unsigned at = 1;; at++) {
        const char *end = scan(size, at);

        CHECK(fault_resources() == before, "at %u: %d allocations left", at,
              fault_resources() - before);
        check_operations++;
        if (!*end) {
            CHECK(!fault_happened(), "at %u: a fault went unnoticed", at);
            break;
        }
        CHECK(fault_happened(), "at %u: failed without a fault", at);
        for (size_t i = 0; i < 3; i++) {
            seen[i] += !strcmp(end, ends[i]);
        }
    }
    /* Blocks are the caller's; what is doubled is allocated several times. */
    CHECK(seen[0] == 2 && seen[1] >= 2 && seen[2] >= 2,
          "%u failures of init, %u for deltas, %u for rounds", seen[0], seen[1],
          seen[2]);
    return check_end();
}
