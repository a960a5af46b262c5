/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages go through the handler of a simulated migration, with each call that
 * can fail failing at its n-th occurrence, for every n: an error that says
 * what, or the right pages; nothing is left behind and nothing hangs.
 */
#define _GNU_SOURCE
#include "check.h"

#include "faults.h"
#include "guard.h"
#include "handlers.h"
#include "stand_ins.h"

enum { PAGE = 4096, PAGES = 6, CHANNELS = 2 };

typedef struct Trip {
    const CodecOps *codec;
    const char *path;
    Grouping grouping;
    bool deltas;
    bool apart; /* pages do not lie together */
} Trip;

static _Alignas(PAGE) uint8_t image[2 * PAGES * PAGE], before[2 * PAGES * PAGE];

/* Page 1 is zero, page 2 as before, the others are changed. */
static void fill_images(void)
{
    uint64_t seed = 7;

    for (unsigned i = 0; i < sizeof(before); i++) {
        before[i] = (uint8_t)(check_random(&seed) % 7);
    }
    memcpy(image, before, sizeof(image));
    for (unsigned i = 0; i < 2 * PAGES; i++) {
        image[i * PAGE + 17 * i] += i % PAGES != 2;
    }
    for (unsigned half = 0; half < 2; half++) {
        memset(image + (half * PAGES + 1) * PAGE, 0, PAGE);
    }
}

static const uint8_t *page_of(const Trip *trip, uint64_t i)
{
    return image + (trip->apart && i >= PAGES / 2 ? PAGES + i : i) * PAGE;
}

static PageMap map_of(const Trip *trip, const uint8_t *content,
                      PageExtent extents[2])
{
    uint64_t first = trip->apart ? PAGES / 2 : PAGES;

    extents[0] = (PageExtent){0, first, content};
    extents[1] = (PageExtent){first, PAGES - first,
                              content + (PAGES + first) * PAGE};
    return (PageMap){
        .pages = PAGES,
        .page_size = PAGE,
        .mapped = true,
        .extents = extents,
        .extents_nr = trip->apart ? 2 : 1,
    };
}

static void check_arrived(const Trip *trip, const PageRequest *request)
{
    CHECK(request->data_size == PAGES * PAGE, "%zu bytes", request->data_size);
    for (unsigned i = 0; i < PAGES; i++) {
        CHECK(!memcmp(request->data + i * PAGE, page_of(trip, i), PAGE),
              "page %u is another", i);
    }
    CHECK(request->classes[1] == PAGE_ZERO && !request->sizes[1],
          "page 1 is no zero page");
    CHECK((request->classes[2] == PAGE_UNCHANGED) == trip->deltas,
          "page 2 is of class %u", request->classes[2]);
    CHECK(request->classes[3] == PAGE_COMPRESSED, "page 3 is of class %u",
          request->classes[3]);
}

/* What it failed with; empty when it did not. */
static void travel(const Trip *trip, CodecError *said)
{
    PageExtent extents[4];
    const PageMap new = map_of(trip, image, extents);
    const PageMap old = map_of(trip, before, extents + 2);
    CodecLibrary *library = codec_library_open(trip->codec, trip->path, said);
    ThreadedWorkqueueOps ops;
    ThreadedWorkqueue *queue = NULL;
    void *collected;

    if (!library) {
        return;
    }
    PageJob job = {
        .library = library,
        .level = 1,
        .grouping = trip->grouping,
        .page_size = PAGE,
        .pages_max = PAGES,
        .channels = trip->grouping == GROUPING_STREAM ? CHANNELS : 0,
        .deltas = trip->deltas,
        .output_fd = -1,
    };
    if (trip->deltas && codec_library_bind_deltas(library, said)) {
        codec_library_close(library);
        return;
    }
    page_transfer_ops(&job, &ops);
    queue = threaded_workqueue_create("transfer", 1, 1, &ops, NULL);
    for (uint32_t i = 0; queue && !said->text[0] && i < 2 * CHANNELS; i++) {
        PageRequest *request = threaded_workqueue_get_request(queue);

        request->pages = PAGES;
        request->channel = job.channels ? i % CHANNELS : 0;
        request->input = trip->apart || trip->deltas
                             ? NULL
                             : page_map_find(&new, 0, PAGES);
        request->input_size = PAGES * PAGE;
        request->mapped = request->input;
        request->map = request->input ? NULL : &new;
        request->previous = trip->deltas ? &old : NULL;
        threaded_workqueue_submit_request(queue, request);
        if (threaded_workqueue_collect_request(queue, WAIT_FOREVER,
                                               &collected)) {
            *said = request->failure.error;
            CHECK(said->text[0], "failed without a word");
            CHECK(!request->failure.image, "\"%s\": the image is at fault",
                  said->text);
        } else {
            check_arrived(trip, request);
            threaded_workqueue_release_request(queue, request);
        }
    }
    if (queue) {
        threaded_workqueue_destroy(queue, WORKQUEUE_CANCEL);
    } else {
        snprintf(said->text, sizeof(said->text), "%s", strerror(errno));
    }
    page_transfer_job_end(&job);
    codec_library_close(library);
}

static void check_faults(const Trip *trip)
{
    static const Fault faults[] = {FAULT_ALLOCATE, FAULT_START_THREAD,
                                   FAULT_CODEC};
    CodecError error = {""};
    /* Held, so that it stays loaded. */
    CodecLibrary *held = codec_library_open(trip->codec, trip->path, &error);

    check_phase = trip->codec->provider;
    if (!held) {
        printf("left out: %s: %s\n", trip->codec->provider, error.text);
        return;
    }
    for (unsigned i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
        int resources = fault_resources();
        unsigned at = 0;

        do {
            CodecError said = {""};

            check_alive();
            fault_arm(faults[i], ++at);
            travel(trip, &said);
            CHECK(!said.text[0] == !fault_happened() ||
                      (!said.text[0] && stand_in_may_go_unnoticed()),
                  "fault %d at %u: \"%s\"", faults[i], at, said.text);
            CHECK(fault_resources() == resources, "fault %d at %u: %d left",
                  faults[i], at, fault_resources() - resources);
            check_operations++;
        } while (fault_happened());
        CHECK(at > 1 || !trip->codec->symbols, "fault %d never happened",
              faults[i]);
    }
    fault_disarm();
    codec_library_close(held);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    fill_images();
    CHECK(!guard_install(), "guard_install");
    for (unsigned i = 0; i < check_count(1); i++) {
        for (Grouping grouping = 0; grouping < GROUPINGS; grouping++) {
            for (int apart = 0; apart < 2; apart++) {
                check_faults(&(Trip){&codec_zstd, "libzstd.so.1", grouping,
                                     false, apart});
                check_faults(&(Trip){&codec_zlib, "libz.so.1", grouping,
                                     false, apart});
            }
            if (grouping != GROUPING_STREAM) {
                check_faults(&(Trip){&codec_zstd, "libzstd.so.1", grouping,
                                     true, true});
                check_faults(&(Trip){&codec_lz4, "liblz4.so.1", grouping,
                                     true, false});
            }
        }
    }
    return check_end();
}
