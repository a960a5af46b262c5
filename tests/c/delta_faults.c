/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages go through a queue and come back as deltas to what the receiver has,
 * and through the cache of XBZRLE, with each call that can fail failing at its
 * n-th occurrence, for every n: an error that says what, or the right pages;
 * nothing is left behind and nothing hangs.
 */
#define _GNU_SOURCE
#include "check.h"

#include "faults.h"
#include "guard.h"
#include "handlers.h"
#include "stand_ins.h"
#include "xbzrle_cache.h"
#include "xxh64.h"

enum { PAGE = 4096, PAGES = 5 };

typedef struct Trip {
    const CodecOps *codec;
    const char *path;
    int level;
    Grouping grouping;
} Trip;

/* Where a trip came to an end, NULL when it did not fail, and what was said. */
typedef struct End {
    const char *where;
    char text[sizeof(CodecError)];
} End;

static _Alignas(PAGE) uint8_t image[PAGES * PAGE], before[PAGES * PAGE];

/* What may come of each fault; text is a part of what is said. */
static const struct Expectation {
    Fault fault;
    const char *where, *text;
} expectations[] = {
    {FAULT_ALLOCATE, "open", "no memory"},
    {FAULT_ALLOCATE, "create", "Cannot allocate memory"},
    {FAULT_ALLOCATE, "handler", "no memory for a copy"},
    {FAULT_START_THREAD, "create", "Resource temporarily unavailable"},
    {FAULT_ATTRIBUTE, "create", "Cannot allocate memory"},
    {FAULT_LOAD, "open", "/nonexistent/lib.so"},
    {FAULT_SYMBOL, "open", "has no symbol"},
    {FAULT_SYMBOL, "bind", "which deltas need; install"},
    {FAULT_CODEC, "open", ""},
    {FAULT_CODEC, "create", "Cannot allocate memory"},
    {FAULT_CODEC, "handler", ""},
};

enum { EXPECTATIONS = sizeof(expectations) / sizeof(*expectations) };

static bool happened[EXPECTATIONS];

/* Pages with small changes, an equal one, and one that has become zero. */
static void fill_images(void)
{
    uint64_t seed = 5;

    for (unsigned i = 0; i < sizeof(before); i++) {
        before[i] = (uint8_t)check_random(&seed);
    }
    memcpy(image, before, sizeof(image));
    memset(image + PAGE, 0, PAGE);
    for (unsigned i = 2; i < PAGES; i++) {
        image[i * PAGE + 17 * i]++;
    }
}

static bool end(End *end, const char *where, const char *text)
{
    end->where = where;
    snprintf(end->text, sizeof(end->text), "%s", text);
    return false;
}

static PageMap map_of(const uint8_t *content, PageExtent *extent)
{
    *extent = (PageExtent){0, PAGES, content};
    return (PageMap){
        .pages = PAGES,
        .page_size = PAGE,
        .extents = extent,
        .extents_nr = 1,
    };
}

/* One request through a queue; keeps what comes of it. */
static bool handle(const ThreadedWorkqueueOps *ops, const PageRequest *with,
                   uint8_t *to, size_t *size, End *at)
{
    ThreadedWorkqueue *queue =
        threaded_workqueue_create("deltas", 1, 1, ops, NULL);

    if (!queue) {
        return end(at, "create", strerror(errno));
    }
    PageRequest *request = threaded_workqueue_get_request(queue);
    void *collected;
    bool done = true;

    request->pages = PAGES;
    request->map = with->map;
    request->input = with->input;
    request->input_size = with->input_size;
    request->body_checksum = with->body_checksum;
    request->mapped = with->mapped;
    request->previous = with->previous;
    threaded_workqueue_submit_request(queue, request);
    if (threaded_workqueue_collect_request(queue, WAIT_FOREVER, &collected)) {
        CHECK(request->failure.error.text[0], "failed without a word");
        done = end(at, "handler", request->failure.error.text);
    } else {
        uint8_t *after = to;

        if (with->map) {
            after = mempcpy(after, request->classes, PAGES);
            after = mempcpy(after, request->details, request->details_size);
        }
        after = mempcpy(after, request->data, request->data_size);
        *size = (size_t)(after - to);
    }
    threaded_workqueue_destroy(queue, WORKQUEUE_CANCEL);
    return done;
}

static bool go_and_return(const Trip *trip, const CodecLibrary *library,
                          End *at)
{
    static uint8_t body[2 * PAGES * PAGE], back[2 * PAGES * PAGE];
    PageExtent extents[2];
    const PageMap new = map_of(image, &extents[0]);
    const PageMap old = map_of(before, &extents[1]);
    ThreadedWorkqueueOps ops;
    PageJob job = {
        .library = library,
        .level = trip->level,
        .grouping = trip->grouping,
        .page_size = PAGE,
        .pages_max = PAGES,
        .fill_zeros = true,
        .deltas = true,
        .output_fd = -1,
    };
    PageRequest with = {
        .map = &new, .input_size = sizeof(image), .previous = &old};
    size_t size;

    page_compress_ops(&job, &ops);
    if (!handle(&ops, &with, body, &size, at)) {
        return false;
    }
    CHECK(size < PAGE, "%zu bytes for small changes", size);
    CHECK(body[0] == PAGE_UNCHANGED && body[1] == PAGE_ZERO &&
              body[2] == PAGE_COMPRESSED, "other classes");
    with = (PageRequest){
        .input = body,
        .input_size = size,
        .body_checksum = xxh64(body, size, 0),
        .mapped = true,
        .previous = &old,
    };
    page_decompress_ops(&job, &ops);
    if (!handle(&ops, &with, back, &size, at)) {
        return false;
    }
    CHECK(size == sizeof(image) && !memcmp(back, image, size), "other pages");
    return true;
}

static void travel(const Trip *trip, End *at)
{
    CodecError error = {""};
    CodecLibrary *library =
        codec_library_open(trip->codec, trip->path, &error);

    if (!library) {
        end(at, "open", error.text);
        return;
    }
    if (codec_library_bind_deltas(library, &error)) {
        CHECK(!library->deltas, "half of the symbols are bound");
        end(at, "bind", error.text);
    } else {
        go_and_return(trip, library, at);
    }
    codec_library_close(library);
}

static void check_end_of(Fault fault, unsigned at, const End *came)
{
    if (!came->where) {
        CHECK(!fault_happened() || fault == FAULT_FUTEX,
              "fault %d at %u went unnoticed", fault, at);
        return;
    }
    CHECK(fault_happened(), "failed at %s without a fault: %s", came->where,
          came->text);
    for (unsigned i = 0; i < EXPECTATIONS; i++) {
        const struct Expectation *may = &expectations[i];

        if (may->fault == fault && !strcmp(may->where, came->where) &&
            strstr(came->text, may->text)) {
            happened[i] = true;
            return;
        }
    }
    CHECK(false, "fault %d at %u: in %s came \"%s\"", fault, at, came->where,
          came->text);
}

static void check_faults(const Trip *trip)
{
    CodecError error;
    /* Held, so that it stays loaded. */
    CodecLibrary *held =
        codec_library_open(trip->codec, trip->path, &error);

    check_phase = trip->codec->provider;
    if (!held) {
        printf("left out: %s: %s\n", trip->codec->provider, error.text);
        return;
    }
    for (Fault fault = 0; fault < FAULTS; fault++) {
        int resources = fault_resources();
        unsigned at = 0;

        do {
            End came = {0};

            check_alive();
            fault_arm(fault, ++at);
            travel(trip, &came);
            check_end_of(fault, at, &came);
            CHECK(fault_resources() == resources, "fault %d at %u: %d left",
                  fault, at, fault_resources() - resources);
            check_operations++;
        } while (fault_happened());
    }
    fault_disarm();
    codec_library_close(held);
}

/* --- The cache of XBZRLE --------------------------------------------------- */

/* Sends every page, and once more; 0 or -ENOMEM. */
static int send_all(XbzrleCache *cache)
{
    uint8_t to[PAGE];
    uint32_t size;
    int failed = 0;

    for (uint64_t i = 0; i < 2 * PAGES && failed >= 0; i++) {
        uint64_t page = i % PAGES;

        failed = xbzrle_cache_save(cache, page,
                                   (i < PAGES ? before : image) + page * PAGE,
                                   1, false, to, &size);
    }
    return failed < 0 ? failed : 0;
}

static void check_cache(void)
{
    int resources = fault_resources();
    unsigned at = 0;

    check_phase = "cache";
    do {
        XbzrleCache cache;
        int failed;

        fault_arm(FAULT_ALLOCATE, ++at);
        failed = xbzrle_cache_init(&cache, PAGE, 8);
        if (!failed) {
            failed = send_all(&cache);
            CHECK(failed || cache.cached == PAGES, "pages are missing");
            xbzrle_cache_uninit(&cache);
        }
        CHECK(failed == (fault_happened() ? -ENOMEM : 0), "status %d", failed);
        CHECK(fault_resources() == resources, "fault at %u: %d left", at,
              fault_resources() - resources);
        check_operations++;
    } while (fault_happened());
    CHECK(at == 2 + PAGES + 1, "%u allocations", at - 1);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    fill_images();
    CHECK(!guard_install(), "guard_install");
    for (unsigned i = 0; i < check_count(1); i++) {
        for (Grouping grouping = 0; grouping < GROUPING_STREAM; grouping++) {
            check_faults(&(Trip){&codec_zstd, "libzstd.so.1", 1, grouping});
            check_faults(&(Trip){&codec_lz4, "liblz4.so.1", 1, grouping});
            check_faults(&(Trip){&codec_lz4, "liblz4.so.1", 3, grouping});
        }
        check_cache();
    }
    for (unsigned i = 0; i < EXPECTATIONS; i++) {
        CHECK(happened[i] || expectations[i].fault == FAULT_ATTRIBUTE,
              "fault %d never happened in %s", expectations[i].fault,
              expectations[i].where);
    }
    return check_end();
}
