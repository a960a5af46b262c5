/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: two versions of a page are made from the input, compared in all
 * the ways that this CPU has, encoded and decoded again; then the input itself
 * is decoded as a delta.
 *
 *     program ITERATIONS    makes inputs by itself
 *
 * With -DLIBFUZZER it has no main, and libFuzzer drives it.
 */
#include "pages.h"
#include "xbzrle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned deltas, equal, overflows, sound;

/* Of its own size, so that a byte too far is seen. */
static uint8_t *memory(size_t size)
{
    uint8_t *memory = malloc(size ? size : 1);

    if (!memory) {
        abort();
    }
    return memory;
}

static size_t number(const uint8_t **data, const uint8_t *end)
{
    size_t value = 0;

    for (unsigned i = 0; i < 2 && *data < end; i++) {
        value = value << 8 | *(*data)++;
    }
    return value;
}

/* The input is where runs of other bytes start, how long they are, and how
 * often they come again. */
static void change(uint8_t *page, size_t page_size, const uint8_t *data,
                   const uint8_t *end)
{
    while (data < end) {
        size_t at = number(&data, end) % page_size;
        size_t run = number(&data, end) % 320;
        size_t times = number(&data, end) % 64;

        for (; times && at < page_size; times--, at += run + 1 + times % 3) {
            for (size_t i = at; i < at + run && i < page_size; i++) {
                page[i] ^= (uint8_t)(i | 1);
            }
        }
    }
}

static void check_encoding(const uint8_t *old, const uint8_t *new,
                           size_t page_size, size_t room)
{
    uint8_t *first = memory(room), *other = memory(room);
    uint8_t *page = memory(page_size);
    int size = -2;

    for (const XbzrleCompare *const *compare = xbzrle_compares; *compare;
         compare++) {
        uint8_t *to = size == -2 ? first : other;
        int came;

        if (!(*compare)->usable()) {
            continue;
        }
        came = xbzrle_encode(*compare, old, new, page_size, to, room);
        if (size != -2 &&
            (came != size || (size > 0 && memcmp(first, other, (size_t)size)))) {
            fprintf(stderr, "%s makes another delta\n", (*compare)->name);
            abort();
        }
        size = came;
    }
    memcpy(page, old, page_size);
    if (size >= 0 &&
        (xbzrle_decode(first, (size_t)size, page, page_size) ||
         memcmp(page, new, page_size) || !size != !memcmp(old, new, page_size))) {
        fprintf(stderr, "the delta makes another page\n");
        abort();
    }
    deltas += size > 0;
    equal += !size;
    overflows += size < 0;
    free(first);
    free(other);
    free(page);
}

static void check_decoding(const uint8_t *data, size_t size, size_t page_size)
{
    uint8_t *delta = memory(size), *page = memory(page_size);

    memcpy(delta, data, size);
    memset(page, 0x5A, page_size);
    sound += !xbzrle_decode(delta, size, page, page_size);
    free(delta);
    free(page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *at = data, *end = data + size;
    size_t page_size = (size_t)PAGE_SIZE_MIN << number(&at, end) % 5;
    size_t wish = number(&at, end);
    size_t room = wish % 4 ? page_size : wish % (page_size + 1);
    uint8_t *old = memory(page_size), *new = memory(page_size);

    for (size_t i = 0; i < page_size; i++) {
        old[i] = wish % 2 ? (uint8_t)(i * i >> 3) : 0;
    }
    memcpy(new, old, page_size);
    change(new, page_size, at, end);
    check_encoding(old, new, page_size, room);
    check_decoding(data, size, page_size);
    free(old);
    free(new);
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

int main(int count, char **arguments)
{
    long iterations = count == 2 ? atol(arguments[1]) : 0;

    for (long i = 0; i < iterations; i++) {
        size_t size = below(40);
        uint8_t *data = memory(size);

        for (size_t j = 0; j < size; j++) {
            /* Most lengths are short. */
            data[j] = (uint8_t)(below(2) ? below(4) : below(256));
        }
        LLVMFuzzerTestOneInput(data, size);
        free(data);
    }
    printf("deltas %u, equal %u, overflows %u, sound %u;", deltas, equal,
           overflows, sound);
    for (const XbzrleCompare *const *compare = xbzrle_compares; *compare;
         compare++) {
        printf("%s", (*compare)->usable() ? " " : " not ");
        printf("%s", (*compare)->name);
    }
    printf("\n");
    return 0;
}

#endif
