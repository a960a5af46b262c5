/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The only process of the test's guest: fills memory with text and noise, keeps
 * changing some of it, and says how long it has done so. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SIZE = 24 << 20, NOISE = 4 << 20, PAGE = 4096 };

static uint64_t state = 88172645463325252u;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

int main(void)
{
    char *memory = malloc(SIZE);
    uint64_t sum = 0;

    for (size_t at = 0; at + 64 < SIZE;) {
        at += (size_t)sprintf(memory + at, "page=%u;", (unsigned)next() % 99999);
    }
    for (size_t at = SIZE - NOISE; at < SIZE; at += 8) {
        *(uint64_t *)(memory + at) = next();
    }
    for (unsigned ticks = 0;; ticks++) {
        for (int i = 0; i < 100; i++) {
            size_t page = next() % 1024 * PAGE;

            for (int k = 0; k < 4; k++) {
                *(uint32_t *)(memory + page + next() % 1000 * 4) += 1;
            }
        }
        if (ticks % 10 == 0) {
            /* Fails if memory was damaged: the noise never changes. */
            uint64_t found = 0;

            for (size_t at = SIZE - NOISE; at < SIZE; at += 8) {
                found = found * 31 + *(uint64_t *)(memory + at);
            }
            sum = ticks ? sum : found;
            printf("%s %u\n", found == sum ? "TICK" : "DAMAGED", ticks / 10);
            fflush(stdout);
        }
        usleep(20000);
    }
}
