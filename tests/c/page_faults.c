/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages go through a queue and come back, with each codec's library, level of
 * its own kind and grouping, and with each call that can fail failing at its
 * n-th occurrence, for every n: the right error arrives, or the right pages;
 * nothing is left behind and nothing hangs.
 */
#define _GNU_SOURCE
#include "check.h"

#include "codec.h"
#include "dedup.h"
#include "faults.h"
#include "guard.h"
#include "stand_ins.h"
#include "xxh64.h"

#include <sys/mman.h>
#include <sys/wait.h>

enum { PAGE = 4096, RUN = 3, RUNS = 2, PAGES = RUN * RUNS };

typedef struct Trip {
    const CodecOps *codec;
    const char *path; /* of its library; NULL without one */
    int level;
    Grouping grouping;
} Trip;

/* Where a trip came to an end, and what was said about it. */
typedef struct End {
    const char *where; /* NULL when it did not fail */
    int status;        /* negative errno, where there is one */
    char text[sizeof(CodecError)];
} End;

typedef struct Body {
    uint8_t bytes[4 * RUN * PAGE];
    size_t size;
} Body;

/* What may come of each fault; text is a part of what is said. */
static const struct Expectation {
    Fault fault;
    const char *where;
    int status;
    const char *text;
} expectations[] = {
    {FAULT_ALLOCATE, "open", 0, "no memory"},
    {FAULT_ALLOCATE, "create", -ENOMEM, ""},
    {FAULT_ALLOCATE, "handler", -EIO, "no memory"},
    {FAULT_ALLOCATE, "handler", -ENOMEM, "no memory"},
    {FAULT_ALLOCATE, "restore", -ENOMEM, ""},
    {FAULT_START_THREAD, "create", -EAGAIN, ""},
    {FAULT_ATTRIBUTE, "create", -ENOMEM, ""},
    {FAULT_MAP, "dedup", -ENOMEM, ""},
    {FAULT_READ, "restore", -EIO, ""},
    {FAULT_LOAD, "open", 0, "/nonexistent/lib.so"},
    {FAULT_SYMBOL, "open", 0, "has no symbol"},
    {FAULT_CODEC, "open", 0, ""},
    {FAULT_CODEC, "create", -ENOMEM, ""},
    {FAULT_CODEC, "handler", -EIO, ""},
    {FAULT_CODEC, "handler", -ENOMEM, "no memory"},
};

static _Alignas(PAGE) uint8_t image[PAGES * PAGE];
static Body bodies[RUNS];
static bool happened[FAULTS];

static void fill_page(unsigned page, uint64_t seed, unsigned step)
{
    for (unsigned i = 0; i < PAGE; i++) {
        image[page * PAGE + i] =
            (uint8_t)(i % step ? i / step * seed : check_random(&seed));
    }
}

/* A page of each class, and one that equals another. */
static void fill_image(void)
{
    memset(image + 1 * PAGE, 0x5a, PAGE);
    fill_page(2, 3, 16);
    fill_page(3, 5, 16);
    memcpy(image + 4 * PAGE, image + 2 * PAGE, PAGE);
    fill_page(5, 7, 1);
}

static bool end(End *end, const char *where, int status, const char *text)
{
    end->where = where;
    end->status = status;
    snprintf(end->text, sizeof(end->text), "%s", text);
    return false;
}

/* --- There ----------------------------------------------------------------- */

static bool handle(ThreadedWorkqueue *queue, PageRequest *request, End *at)
{
    ThreadedWorkqueueError error;
    void *collected;

    threaded_workqueue_submit_request(queue, request);
    if (!threaded_workqueue_collect_request(queue, WAIT_FOREVER,
                                            &collected)) {
        return true;
    }
    threaded_workqueue_error(queue, &error);
    CHECK(error.request == request, "another request failed");
    CHECK(request->failure.page >= request->first_page &&
              request->failure.page < request->first_page + RUN &&
              !request->failure.image, "another page failed");
    CHECK(request->failure.error.text[0], "failed without a word");
    return end(at, "handler", error.status, request->failure.error.text);
}

static void keep_body(const PageRequest *request, Body *body)
{
    uint8_t *to = body->bytes;

    to = mempcpy(to, request->classes, request->pages);
    to = mempcpy(to, request->details, request->details_size);
    to = mempcpy(to, request->data, request->data_size);
    body->size = (size_t)(to - body->bytes);
}

static bool pack_run(ThreadedWorkqueue *queue, DedupTable *table, unsigned run,
                     End *at)
{
    PageExtent extent = {0, PAGES, image};
    PageBuffer buffer = {image, PAGES * PAGE};
    const PageMap map = {
        .buffers = &buffer,
        .buffers_nr = 1,
        .pages = PAGES,
        .page_size = PAGE,
        .mapped = true,
        .extents = &extent,
        .extents_nr = 1,
    };
    PageRequest *request = threaded_workqueue_get_request(queue);

    request->first_page = run * RUN;
    request->pages = RUN;
    request->input = image + run * RUN * PAGE;
    request->input_size = RUN * PAGE;
    request->mapped = true;
    request->stage = STAGE_CLASSIFY;
    if (!handle(queue, request, at)) {
        return false;
    }
    CHECK(!dedup_resolve(table, &map, request), "dedup_resolve");
    request->stage = STAGE_COMPRESS;
    if (!handle(queue, request, at)) {
        return false;
    }
    keep_body(request, &bodies[run]);
    threaded_workqueue_release_request(queue, request);
    return true;
}

static bool pack(PageJob *job, End *at)
{
    ThreadedWorkqueueOps ops;
    DedupTable *table = dedup_new();
    bool done;

    if (!table) {
        return end(at, "dedup", -errno, "");
    }
    page_compress_ops(job, &ops);
    ThreadedWorkqueue *queue =
        threaded_workqueue_create("pack", 1, 1, &ops, NULL);

    done = queue ? true : end(at, "create", -errno, "");
    for (unsigned run = 0; run < RUNS && done; run++) {
        done = pack_run(queue, table, run, at);
    }
    threaded_workqueue_destroy(queue, WORKQUEUE_CANCEL);
    page_compress_job_end(job);
    dedup_free(table);
    return done;
}

/* --- And back -------------------------------------------------------------- */

static bool unpack_run(ThreadedWorkqueue *queue, PageJob *job,
                       unsigned run, int fd, End *at)
{
    PageRequest *request = threaded_workqueue_get_request(queue);
    int failed;

    request->first_page = run * RUN;
    request->pages = RUN;
    request->input = bodies[run].bytes;
    request->input_size = bodies[run].size;
    request->body_checksum = xxh64(request->input, request->input_size, 0);
    if (!handle(queue, request, at)) {
        return false;
    }
    failed = dedup_restore(job, request, fd);
    if (failed) {
        return end(at, "restore", failed, "");
    }
    CHECK(pwrite(fd, request->data, request->data_size, run * RUN * PAGE) ==
              RUN * PAGE, "pwrite");
    threaded_workqueue_release_request(queue, request);
    return true;
}

static bool unpack(PageJob *job, int fd, End *at)
{
    ThreadedWorkqueueOps ops;
    bool done;

    page_decompress_ops(job, &ops);
    ThreadedWorkqueue *queue =
        threaded_workqueue_create("unpack", 1, 1, &ops, NULL);

    done = queue ? true : end(at, "create", -errno, "");
    for (unsigned run = 0; run < RUNS && done; run++) {
        done = unpack_run(queue, job, run, fd, at);
    }
    threaded_workqueue_destroy(queue, WORKQUEUE_CANCEL);
    page_decompress_job_end(job);
    return done;
}

static PageJob job_of(const Trip *trip, const CodecLibrary *library)
{
    return (PageJob){
        .library = library,
        .level = trip->level,
        .grouping = trip->grouping,
        .page_size = PAGE,
        .pages_max = RUN,
        .channels = trip->grouping == GROUPING_STREAM,
        .copy_input = true,
        .fill_zeros = true,
        .dedup = true,
        .output_fd = -1,
    };
}

static void travel(const Trip *trip, int fd, End *at)
{
    CodecError error = {""};
    CodecLibrary *library = codec_library_open(trip->codec, trip->path, &error);

    if (!library) {
        CHECK(error.text[0], "not opened without a word");
        end(at, "open", 0, error.text);
        return;
    }
    PageJob there = job_of(trip, library), back = job_of(trip, library);

    if (pack(&there, at) && unpack(&back, fd, at)) {
        static uint8_t restored[PAGES * PAGE];

        fault_disarm();
        CHECK(pread(fd, restored, sizeof(restored), 0) == sizeof(restored),
              "pread");
        CHECK(!memcmp(restored, image, sizeof(image)), "other pages");
    }
    codec_library_close(library);
}

/* --- With faults ----------------------------------------------------------- */

static void check_end_of(Fault fault, unsigned at, const End *came)
{
    if (!fault_happened()) {
        CHECK(!came->where, "failed at %s without a fault: %s", came->where,
              came->text);
        return;
    }
    happened[fault] = true;
    if (!came->where) {
        CHECK(fault == FAULT_FUTEX ||
                  (fault == FAULT_CODEC && stand_in_may_go_unnoticed()),
              "fault %d at %u went unnoticed", fault, at);
        return;
    }
    for (unsigned i = 0; i < sizeof(expectations) / sizeof(*expectations);
         i++) {
        const struct Expectation *may = &expectations[i];

        if (may->fault == fault && !strcmp(may->where, came->where) &&
            may->status == came->status && strstr(came->text, may->text)) {
            return;
        }
    }
    CHECK(false, "fault %d at %u: in %s came status %d, \"%s\"", fault, at,
          came->where, came->status, came->text);
}

static void check_fault(const Trip *trip, Fault fault, int fd)
{
    int before = fault_resources();
    unsigned at = 0;

    do {
        End came = {0};

        check_alive();
        fault_arm(fault, ++at);
        travel(trip, fd, &came);
        check_end_of(fault, at, &came);
        CHECK(fault_resources() == before, "fault %d at %u: %d left", fault,
              at, fault_resources() - before);
        check_operations++;
    } while (fault_happened());
}

/* Held while the trips open and close the library, so that it stays loaded:
 * loading takes valgrind longer than all the rest. */
static CodecLibrary *hold(const CodecOps *codec, const char *path)
{
    CodecError error;
    CodecLibrary *library = codec_library_open(codec, path, &error);

    check_phase = codec->provider;
    if (!library) {
        printf("left out: %s: %s\n", codec->provider, error.text);
    }
    return library;
}

static void check_codec(const CodecOps *codec, const char *path, int level,
                        int fd)
{
    Grouping groupings = codec->streaming ? GROUPINGS : GROUPING_STREAM;
    CodecLibrary *held = hold(codec, path);

    for (Grouping grouping = 0; held && grouping < groupings; grouping++) {
        for (Fault fault = 0; fault < FAULTS; fault++) {
            check_fault(&(Trip){codec, path, level, grouping}, fault, fd);
        }
    }
    codec_library_close(held);
}

/* Streams of the highest levels get a window from us, and much memory. */
static void check_wide_window(const CodecOps *codec, const char *path, int fd)
{
    CodecLibrary *held = hold(codec, path);

    if (held) {
        check_fault(&(Trip){codec, path, 20, GROUPING_STREAM}, FAULT_CODEC,
                    fd);
    }
    codec_library_close(held);
}

/* In a process of its own, because it is tried once in a process's life. */
static void check_guard(void)
{
    int status = -1;

    check_phase = "guard";
    pid_t child = fork();

    if (!child) {
        fault_arm(FAULT_SIGACTION, 1);
        _exit(guard_install() == -EINVAL && guard_install() == -EINVAL ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child && !status,
          "a SIGBUS handler that cannot be installed");
    CHECK(!guard_install(), "guard_install");
}

int main(int argc, char **argv)
{
    int fd = memfd_create("restored", MFD_CLOEXEC);

    check_begin(argc, argv);
    fill_image();
    check_guard();
    for (unsigned i = 0; i < check_count(1); i++) {
        check_codec(&codec_zstd, "libzstd.so.1", 1, fd);
        check_wide_window(&codec_zstd, "libzstd.so.1", fd);
        check_codec(&codec_lz4, "liblz4.so.1", 1, fd);
        check_codec(&codec_lz4, "liblz4.so.1", 3, fd);
        check_codec(&codec_zlib, "libz.so.1", 1, fd);
        check_codec(&codec_libdeflate, "libdeflate.so.0", 1, fd);
        check_codec(&codec_none, NULL, 0, fd);
    }
    for (unsigned i = 0; i < sizeof(expectations) / sizeof(*expectations);
         i++) {
        Fault fault = expectations[i].fault;

        CHECK(happened[fault] || fault == FAULT_ATTRIBUTE,
              "fault %d never happened", fault);
    }
    close(fd);
    return check_end();
}
