/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages that an image holds encoded are decoded by a queue's thread, with each
 * call that can fail failing at its n-th occurrence, for every n: an error that
 * says what, or the right pages; nothing is left behind, nor freed twice.
 */
#define _GNU_SOURCE
#include "check.h"

#include "faults.h"
#include "handlers.h"
#include "page_fetch.h"
#include "stand_ins.h"
#include "xxh64.h"

enum { PAGE = 4096, PAGES = 7, TAIL = 100, CODECS = 2, BLOCKS = 2 };

/* What is stored, and where the next thing goes. */
static uint8_t store[16 * PAGE];
static size_t stored;
static uint8_t expected[PAGES * PAGE];

static uint64_t put(const void *content, size_t size)
{
    memcpy(store + stored, content, size);
    stored += size;
    return stored - size;
}

static uint32_t put_packed(const CodecLibrary *library, const uint8_t *content,
                           size_t size, uint64_t *place)
{
    static uint8_t packed[8 * PAGE];
    CodecError error;
    void *compressor = library->ops->compressor_new(library, 1, false);
    ptrdiff_t length = library->ops->compress(compressor, packed,
                                              sizeof(packed), content, size,
                                              &error);

    CHECK(length > 0, "compress: %s", error.text);
    library->ops->compressor_free(compressor);
    *place = put(packed, (size_t)length);
    return (uint32_t)length;
}

/* Pages 0 to 6: filled, raw, raw with a delta on top, compressed by itself, two
 * parts of a compressed block, and one that a raw block ends within. */
static void fill(const CodecLibrary *const codecs[CODECS],
                 PageEntry entries[PAGES], PageBlock blocks[BLOCKS],
                 uint32_t checksums[BLOCKS], PageDelta *delta)
{
    uint64_t seed = 3, place;
    uint8_t change[] = {0, 1, 'z'};

    stored = 0;
    memset(expected, 0, sizeof(expected));
    for (unsigned i = 0; i < (PAGES - 1) * PAGE + TAIL; i++) {
        expected[i] = i < PAGE ? 0xCC : (uint8_t)(check_random(&seed) % 7);
    }
    memset(&entries[0].place, 0xCC, sizeof(entries[0].place));
    entries[0].size_and_kind = STORED_FILL;
    entries[1].place = put(expected + PAGE, PAGE);
    entries[1].size_and_kind = STORED_RAW;
    entries[2] = (PageEntry){put(expected + 2 * PAGE, PAGE), STORED_RAW, 1};
    expected[2 * PAGE] = 'z';
    *delta = (PageDelta){put(change, sizeof(change)), sizeof(change), 0};

    uint32_t size = put_packed(codecs[1], expected + 3 * PAGE, PAGE, &place);

    entries[3] = (PageEntry){place, size << 8 | (STORED_BLOCK + 1), 0};
    size = put_packed(codecs[0], expected + 4 * PAGE, 2 * PAGE, &place);
    blocks[0] = (PageBlock){place, size, 2 * PAGE};
    entries[4] = (PageEntry){0, STORED_PART, 0};
    entries[5] = (PageEntry){PAGE, STORED_PART, 0};
    blocks[1] = (PageBlock){put(expected + 6 * PAGE, TAIL), TAIL, TAIL};
    entries[6] = (PageEntry){UINT64_C(1) << 32, STORED_RAW_PART, 0};
    checksums[0] = (uint32_t)xxh64(expected + 4 * PAGE, 2 * PAGE, 0);
    checksums[1] = (uint32_t)xxh64(expected + 6 * PAGE, TAIL, 0);
}

/* What it failed with; empty when it did not. */
static void decode(const PageMap *map, const CodecLibrary *none,
                   CodecError *said)
{
    PageJob job = {
        .library = none,
        .page_size = PAGE,
        .pages_max = PAGES,
        .source = map,
        .output_fd = -1,
    };
    ThreadedWorkqueueOps ops;
    void *collected;

    page_compress_ops(&job, &ops);
    ThreadedWorkqueue *queue =
        threaded_workqueue_create("fetch", 1, 1, &ops, NULL);

    if (!queue) {
        snprintf(said->text, sizeof(said->text), "%s", strerror(errno));
        page_compress_job_end(&job);
        return;
    }
    PageRequest *request = threaded_workqueue_get_request(queue);

    request->pages = PAGES;
    request->input_size = PAGES * PAGE;
    request->map = map;
    threaded_workqueue_submit_request(queue, request);
    if (threaded_workqueue_collect_request(queue, WAIT_FOREVER, &collected)) {
        *said = request->failure.error;
        CHECK(said->text[0], "failed without a word");
        CHECK(request->failure.image == !strstr(said->text, "no memory"),
              "\"%s\": another is at fault", said->text);
    } else {
        CHECK(!memcmp(request->input, expected, sizeof(expected)),
              "other pages");
    }
    threaded_workqueue_destroy(queue, WORKQUEUE_CANCEL);
    page_compress_job_end(&job);
}

static void check_fault(const PageMap *map, const CodecLibrary *none,
                        Fault fault)
{
    int resources = fault_resources();
    unsigned at = 0;

    do {
        CodecError said = {""};

        check_alive();
        fault_arm(fault, ++at);
        decode(map, none, &said);
        CHECK(!said.text[0] == !fault_happened() ||
                  (!said.text[0] && stand_in_may_go_unnoticed()),
              "fault %d at %u: \"%s\"", fault, at, said.text);
        CHECK(fault_resources() == resources, "fault %d at %u: %d left", fault,
              at, fault_resources() - resources);
        check_operations++;
    } while (fault_happened());
    CHECK(at > 1, "fault %d never happened", fault);
    fault_disarm();
}

int main(int argc, char **argv)
{
    CodecError error = {""};
    const CodecLibrary *const none =
        codec_library_open(&codec_none, NULL, &error);
    CodecLibrary *const codecs[CODECS] = {
        codec_library_open(&codec_zstd, "libzstd.so.1", &error),
        codec_library_open(&codec_zlib, "libz.so.1", &error),
    };
    PageEntry entries[PAGES] = {{0}};
    PageBlock blocks[BLOCKS];
    uint32_t checksums[BLOCKS];
    PageDelta delta;
    PageBuffer buffer = {.start = store};

    check_begin(argc, argv);
    CHECK(none && codecs[0] && codecs[1], "%s", error.text);
    fill((const CodecLibrary *const[]){codecs[0], codecs[1]}, entries, blocks,
         checksums, &delta);
    buffer.size = stored;
    const PageMap map = {
        .buffers = &buffer,
        .buffers_nr = 1,
        .pages = PAGES,
        .page_size = PAGE,
        .entries = (const uint8_t *)entries,
        .deltas = (const uint8_t *)&delta,
        .deltas_nr = 1,
        .blocks = (const uint8_t *)blocks,
        .blocks_nr = BLOCKS,
        .checksums = (const uint8_t *)checksums,
        .codecs = {codecs[0], codecs[1]},
        .codecs_nr = CODECS,
    };

    for (unsigned i = 0; i < check_count(1); i++) {
        check_fault(&map, none, FAULT_ALLOCATE);
        check_fault(&map, none, FAULT_START_THREAD);
        check_fault(&map, none, FAULT_CODEC);
    }
    codec_library_close(codecs[0]);
    codec_library_close(codecs[1]);
    codec_library_close((CodecLibrary *)none);
    return check_end();
}
