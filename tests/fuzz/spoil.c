/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 *     program ITERATIONS FILE
 *
 * gives a fuzz target the file, and then spoilt copies of it.
 */
#include "spoil.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
        size_t at = below(size), from;

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
            from = below(size);
            memmove(data + at, data + from,
                    below(size - (from > at ? from : at)) % 64);
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
    fuzz_report();
    return 0;
}
