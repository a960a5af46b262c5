/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bare loop that migcomp is compared with: of n threads each takes every
 * n-th packet of the image, fixed beforehand, so that all have about the same
 * to do wherever the guest's content lies.  Zero pages are skipped, everything
 * else is compressed into a scratch buffer that nobody reads.  No queue, no
 * order, no output, nothing but the codec's own work and reading the image.
 *
 *     limit IMAGE CODEC LIBRARY LEVEL GROUPING THREADS
 *
 * CODEC is zstd, lz4, zlib, libdeflate or memcpy (LIBRARY is then not used),
 * GROUPING page or packet.  Prints one JSON object.
 *
 * It is built as a shared object and called through ctypes, because a library
 * that came with a Python package may need the interpreter's symbols, and the
 * figures are worth something only with the very file that migcomp uses.
 */
#define _GNU_SOURCE
#include "limit_codec.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, PACKET_PAGES = 128, THREADS_MAX = 256 };
enum { PACKET = PAGE * PACKET_PAGES };

_Static_assert(LIMIT_ROOM >= 2 * PACKET, "more than any codec's bound");

/* --- Pages ----------------------------------------------------------------- */

typedef uint64_t Vector __attribute__((vector_size(64)));

/* Vectors are or-ed in groups; most pages with content end the first one. */
static bool is_zero(const uint8_t *page)
{
    enum { GROUP = 4 };
    const Vector *vectors = (const Vector *)(const void *)page;

    for (size_t i = 0; i < PAGE / sizeof(Vector); i += GROUP) {
        Vector any = vectors[i] | vectors[i + 1] | vectors[i + 2] |
                     vectors[i + 3];

        if (any[0] | any[1] | any[2] | any[3] | any[4] | any[5] | any[6] |
            any[7]) {
            return false;
        }
    }
    return true;
}

typedef struct Part {
    pthread_t thread;
    const LimitCodec *codec;
    const uint8_t *image, *end;
    size_t first, step; /* its packets: first, first + step, ... */
    int level;
    bool packets;
    pthread_barrier_t *barrier;

    uint64_t pages, zero_pages, bytes_out;
} Part;

typedef struct Scratch {
    void *context;
    uint8_t *gathered, *out;
} Scratch;

static void compress(Part *part, const Scratch *scratch, const uint8_t *from,
                     size_t size)
{
    size_t written =
        part->codec->compress(scratch->context, scratch->out, from, size);

    if (!written) {
        limit_fail("%s failed", part->codec->name);
    }
    part->bytes_out += written;
}

static void do_pages(Part *part, const Scratch *scratch, const uint8_t *packet,
                     const uint8_t *end)
{
    for (const uint8_t *page = packet; page < end; page += PAGE) {
        part->pages++;
        if (is_zero(page)) {
            part->zero_pages++;
        } else {
            compress(part, scratch, page, PAGE);
        }
    }
}

/* The non-zero pages of one packet: where they lie if there is no gap. */
static void do_packet(Part *part, const Scratch *scratch, const uint8_t *packet,
                      const uint8_t *end)
{
    const uint8_t *content[PACKET_PAGES];
    size_t count = 0;

    for (const uint8_t *page = packet; page < end; page += PAGE) {
        part->pages++;
        if (is_zero(page)) {
            part->zero_pages++;
        } else {
            content[count++] = page;
        }
    }
    if (!count) {
        return;
    }
    if (content[count - 1] == content[0] + (count - 1) * PAGE) {
        compress(part, scratch, content[0], count * PAGE);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        memcpy(scratch->gathered + i * PAGE, content[i], PAGE);
    }
    compress(part, scratch, scratch->gathered, count * PAGE);
}

static void do_part(Part *part, const Scratch *scratch)
{
    size_t packets = ((size_t)(part->end - part->image) + PACKET - 1) / PACKET;

    for (size_t i = part->first; i < packets; i += part->step) {
        const uint8_t *packet = part->image + i * PACKET;
        size_t left = (size_t)(part->end - packet);

        (part->packets ? do_packet : do_pages)(
            part, scratch, packet, packet + (left < PACKET ? left : PACKET));
    }
}

static void *run_part(void *opaque)
{
    Part *part = opaque;
    /* Aligned as pages are: malloc's 16 bytes past a page boundary make the
     * C library's copying of a page several times slower on some CPUs. */
    Scratch scratch = {
        .context = part->codec->context_new(part->level),
        .gathered = aligned_alloc(PAGE, PACKET),
        .out = aligned_alloc(PAGE, LIMIT_ROOM),
    };

    if (!scratch.context || !scratch.gathered || !scratch.out) {
        limit_fail("no context for %s at this level", part->codec->name);
    }
    pthread_barrier_wait(part->barrier);
    do_part(part, &scratch);
    pthread_barrier_wait(part->barrier);
    return NULL;
}

/* --- The run --------------------------------------------------------------- */

static double seconds(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static const uint8_t *map_image(const char *path, size_t *pages)
{
    int file = open(path, O_RDONLY);
    struct stat status;

    if (file < 0 || fstat(file, &status) || status.st_size < PAGE) {
        limit_fail("%s is not readable or holds no page", path);
    }
    void *image = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE,
                       file, 0);

    if (image == MAP_FAILED) {
        limit_fail("%s cannot be mapped", path);
    }
    close(file);
    *pages = (size_t)status.st_size / PAGE;
    return image;
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        limit_fail("usage: limit IMAGE CODEC LIBRARY LEVEL GROUPING THREADS");
    }
    const LimitCodec *codec = limit_codec_open(argv[2], argv[3]);
    bool packets = !strcmp(argv[5], "packet");
    unsigned parts_nr = (unsigned)strtoul(argv[6], NULL, 10);
    size_t pages;
    const uint8_t *image = map_image(argv[1], &pages);
    Part parts[THREADS_MAX] = {0}, sum = {0};
    pthread_barrier_t barrier;

    if (!packets && strcmp(argv[5], "page")) {
        limit_fail("%s is neither page nor packet", argv[5]);
    }
    if (!parts_nr || parts_nr > THREADS_MAX) {
        limit_fail("%s is no number of threads from 1 to 256", argv[6]);
    }
    pthread_barrier_init(&barrier, NULL, parts_nr + 1);
    for (unsigned i = 0; i < parts_nr; i++) {
        parts[i].image = image;
        parts[i].end = image + pages * PAGE;
        parts[i].first = i;
        parts[i].step = parts_nr;
        parts[i].codec = codec;
        parts[i].level = atoi(argv[4]);
        parts[i].packets = packets;
        parts[i].barrier = &barrier;
        if (pthread_create(&parts[i].thread, NULL, run_part, &parts[i])) {
            limit_fail("a thread could not be started");
        }
    }
    pthread_barrier_wait(&barrier);
    double wall = seconds(CLOCK_MONOTONIC);
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);

    pthread_barrier_wait(&barrier);
    wall = seconds(CLOCK_MONOTONIC) - wall;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    for (unsigned i = 0; i < parts_nr; i++) {
        pthread_join(parts[i].thread, NULL);
        sum.pages += parts[i].pages;
        sum.zero_pages += parts[i].zero_pages;
        sum.bytes_out += parts[i].bytes_out;
    }
    printf("{\"codec\": \"%s\", \"grouping\": \"%s\", \"threads\": %u, "
           "\"wall_seconds\": %.9f, \"cpu_seconds\": %.9f, \"pages\": %llu, "
           "\"zero_pages\": %llu, \"bytes_out\": %llu}\n",
           codec->name, argv[5], parts_nr, wall, cpu,
           (unsigned long long)sum.pages, (unsigned long long)sum.zero_pages,
           (unsigned long long)sum.bytes_out);
    return fflush(stdout) ? 1 : 0;
}
