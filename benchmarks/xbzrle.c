/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an XBZRLE delta of a page costs, with each way to compare pages, against
 * copying the page.
 *
 *     xbzrle OLD NEW [ROUNDS]
 *
 * OLD and NEW are raw memory of one guest at two times; the pages that differ
 * count.  All take turns in every round, each page a few times in a row so that
 * it is in the cache, as it is after QEMU has looked for zeros in it; medians
 * over the rounds, and ratios within them.
 */
#define _GNU_SOURCE
#include "xbzrle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAGE = 4096, REPEAT = 4, ROUNDS_MOST = 99, WAYS_MOST = 8 };

typedef struct Pages {
    uint8_t *old, *new;
    size_t count; /* of those that differ, side by side */
} Pages;

static uint64_t bytes_out, overflows;

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int read_pages(Pages *pages, const char *old_path, const char *new_path)
{
    FILE *old = fopen(old_path, "rb"), *new = fopen(new_path, "rb");
    uint8_t a[PAGE], b[PAGE];

    while (old && new && fread(a, PAGE, 1, old) && fread(b, PAGE, 1, new)) {
        if (memcmp(a, b, PAGE)) {
            size_t size = (pages->count + 1) * PAGE;

            pages->old = realloc(pages->old, size);
            pages->new = realloc(pages->new, size);
            if (!pages->old || !pages->new) {
                return -1;
            }
            memcpy(pages->old + size - PAGE, a, PAGE);
            memcpy(pages->new + size - PAGE, b, PAGE);
            pages->count++;
        }
    }
    return pages->count ? 0 : -1;
}

/* Nanoseconds a page; NULL copies. */
static double run(const Pages *pages, const XbzrleCompare *compare)
{
    static uint8_t to[PAGE];
    double start = now();

    bytes_out = overflows = 0;
    for (size_t i = 0; i < pages->count; i++) {
        for (int j = 0; j < REPEAT; j++) {
            if (!compare) {
                memcpy(to, pages->new + i * PAGE, PAGE);
                __asm__ volatile("" : : "r"(to) : "memory");
                continue;
            }
            int size = xbzrle_encode(compare, pages->old + i * PAGE,
                                     pages->new + i * PAGE, PAGE, to, PAGE);

            bytes_out += size < 0 ? PAGE : (uint64_t)size;
            overflows += size < 0;
        }
    }
    return (now() - start) / (double)(pages->count * REPEAT);
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof(*values), by_value);
    return values[count / 2];
}

int main(int count, char **arguments)
{
    static double times[WAYS_MOST][ROUNDS_MOST], ratios[WAYS_MOST][ROUNDS_MOST];
    const XbzrleCompare *ways[WAYS_MOST] = {NULL};
    int ways_nr = 1, rounds = count > 3 ? atoi(arguments[3]) : 9;
    Pages pages = {0};

    if (count < 3 || rounds < 1 || rounds > ROUNDS_MOST ||
        read_pages(&pages, arguments[1], arguments[2])) {
        fprintf(stderr, "give two images that differ, and at most %d rounds\n",
                ROUNDS_MOST);
        return 2;
    }
    for (const XbzrleCompare *const *way = xbzrle_compares; *way; way++) {
        if ((*way)->usable()) {
            ways[ways_nr++] = *way;
        }
    }
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < ways_nr; i++) {
            times[i][round] = run(&pages, ways[i]);
            ratios[i][round] = times[i][round] / times[0][round];
        }
    }
    printf("%zu pages, %.1f bytes a delta, %.1f %% overflow\n", pages.count,
           (double)bytes_out / (double)(pages.count * REPEAT),
           100.0 * (double)overflows / (double)(pages.count * REPEAT));
    for (int i = 0; i < ways_nr; i++) {
        printf("%-14s %8.1f ns/page %6.2f times memcpy\n",
               ways[i] ? ways[i]->name : "memcpy", median(times[i], rounds),
               median(ratios[i], rounds));
    }
    return 0;
}
