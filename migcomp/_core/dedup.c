/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "dedup.h"

#include "guard.h"
#include "xxh64.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BUCKET_BITS = 18, BUCKET_ENTRIES = 4 };

typedef struct DedupEntry {
    uint64_t hash;
    uint64_t page; /* number + 1; 0 when the entry is empty */
} DedupEntry;

/* Newest first; a bucket is one cache line. */
typedef struct DedupBucket {
    _Alignas(64) DedupEntry entries[BUCKET_ENTRIES];
} DedupBucket;

struct DedupTable {
    DedupBucket buckets[1 << BUCKET_BITS];
};

DedupTable *dedup_new(void)
{
    /* Zeroed, and taken from memory only where it is written. */
    void *table = mmap(NULL, sizeof(DedupTable), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return table == MAP_FAILED ? NULL : table;
}

void dedup_free(DedupTable *table)
{
    if (table) {
        munmap(table, sizeof(*table));
    }
}

static void remember(DedupBucket *bucket, uint64_t hash, uint64_t page)
{
    memmove(bucket->entries + 1, bucket->entries,
            (BUCKET_ENTRIES - 1) * sizeof(DedupEntry));
    bucket->entries[0] = (DedupEntry){hash, page + 1};
}

static void resolve_page(DedupTable *table, const PageMap *map,
                         PageRequest *request, uint32_t i)
{
    uint64_t hash = request->hashes[i];
    uint64_t number = request->first_page + i;
    DedupBucket *bucket = &table->buckets[hash >> (64 - BUCKET_BITS)];
    const uint8_t *page = request->input + (size_t)i * map->page_size;

    for (int e = 0; e < BUCKET_ENTRIES && bucket->entries[e].page; e++) {
        const DedupEntry *entry = &bucket->entries[e];

        if (entry->hash == hash) {
            const uint8_t *earlier = page_map_find(map, entry->page - 1, 1);

            if (earlier && !memcmp(page, earlier, map->page_size)) {
                request->classes[i] = PAGE_DEDUPLICATED;
                request->values[i] = entry->page - 1;
                return;
            }
        }
    }
    remember(bucket, hash, number);
}

static void resolve_pages(DedupTable *table, const PageMap *map,
                          PageRequest *request)
{
    for (uint32_t i = 0; i < request->pages; i++) {
        if (request->classes[i] == PAGE_NORMAL) {
            resolve_page(table, map, request, i);
        }
    }
}

int dedup_resolve(DedupTable *table, const PageMap *map, PageRequest *request)
{
    Guard guard;

    if (!map->mapped) {
        resolve_pages(table, map, request);
        return 0;
    }
    /* Pages of any extent may be read: guard all addresses. */
    if (!GUARD_ENTER(&guard, NULL, SIZE_MAX)) {
        return -EFAULT;
    }
    resolve_pages(table, map, request);
    guard_leave(&guard);
    return 0;
}

/* --- Back ------------------------------------------------------------------ */

/* Pages come in ascending order; 0 or a negative errno. */
static int page_set_add(PageSet *set, uint64_t page)
{
    uint64_t number = page / 64;

    if (!set->words_nr || set->words[set->words_nr - 1].number < number) {
        if (set->words_nr == set->room) {
            size_t room = set->room ? set->room * 2 : 64;
            PageSetWord *words =
                reallocarray(set->words, room, sizeof(*words));

            if (!words) {
                return -ENOMEM;
            }
            set->words = words;
            set->room = room;
        }
        set->words[set->words_nr++] = (PageSetWord){number, 0};
    }
    if (set->words[set->words_nr - 1].number != number) {
        return -EINVAL;
    }
    set->words[set->words_nr - 1].pages |= UINT64_C(1) << page % 64;
    return 0;
}

static bool page_set_has(const PageSet *set, uint64_t page)
{
    uint64_t number = page / 64;
    size_t low = 0, high = set->words_nr;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (set->words[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < set->words_nr && set->words[low].number == number &&
           set->words[low].pages >> page % 64 & 1;
}

int dedup_restore(PageJob *job, PageRequest *request, int fd)
{
    size_t page_size = job->page_size;

    for (uint32_t i = 0; i < request->pages; i++) {
        uint8_t *page = request->data + i * page_size;
        uint64_t equal = request->values[i];
        off_t offset;

        if (request->classes[i] != PAGE_DEDUPLICATED) {
            continue;
        }
        if (page_set_has(&job->deduplicated, equal)) {
            return -ELOOP;
        }
        int failed = page_set_add(&job->deduplicated, request->first_page + i);

        if (failed) {
            return failed;
        }
        if (equal >= request->first_page) {
            uint64_t here = equal - request->first_page;

            if (request->classes[here] == PAGE_ZERO) {
                page_fill(page, page_size, 0);
            } else {
                memcpy(page, request->data + here * page_size, page_size);
            }
        } else {
            if (__builtin_mul_overflow(equal, page_size, &offset)) {
                return -ENODATA;
            }
            ssize_t got = pread(fd, page, page_size, offset);

            if (got < 0) {
                return -errno;
            }
            /* A hole at the end of what has been written so far. */
            memset(page + got, 0, page_size - (size_t)got);
        }
        request->hashes[i] = xxh64(page, page_size, 0);
    }
    return 0;
}
