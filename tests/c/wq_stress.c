/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A random mix of everything a submitter may do.  Each result is verified,
 * each request handled exactly once, and the queue's books must balance.
 *
 * Handlers write nothing but their request: anything shared would order the
 * threads and hide a race from ThreadSanitizer.
 */
#define _GNU_SOURCE
#include "check.h"

#define WORDS 24
#define HELD_MOST 8

typedef struct Item {
    uint64_t number;
    uint64_t handled; /* times, since it was filled */
    uint64_t input[WORDS], output[WORDS];
} Item;

typedef struct Submitter {
    ThreadedWorkqueue *queue;
    uint64_t random;
    uint64_t submitted, taken;
    uint64_t last_collected; /* number + 1; oldest first */
    Item *held[HELD_MOST];   /* reserved, not submitted */
    unsigned held_nr;
} Submitter;

static int handle(void *request, void *thread_state, void *opaque)
{
    Item *item = request;

    (void)thread_state;
    (void)opaque;
    for (unsigned i = 0; i < WORDS; i++) {
        item->output[i] = item->input[i] * 3 + i;
    }
    for (uint64_t turns = item->number % 128; turns; turns--) {
        cpu_relax();
    }
    item->handled++;
    return 0;
}

static void submit(Submitter *submitter, Item *item)
{
    item->number = submitter->submitted;
    item->handled = 0;
    for (unsigned i = 0; i < WORDS; i++) {
        item->input[i] = check_random(&submitter->random);
        item->output[i] = 0;
    }
    CHECK(!threaded_workqueue_submit_request(submitter->queue, item),
          "submit failed");
    CHECK(threaded_workqueue_submit_request(submitter->queue, item) == -EINVAL,
          "submitted twice");
    submitter->submitted++;
}

static void verify(Submitter *submitter, const Item *item)
{
    submitter->taken++;
    CHECK(item->handled == 1, "request handled %llu times",
          (unsigned long long)item->handled);
    CHECK(threaded_workqueue_request_sequence(item) == item->number,
          "wrong sequence number");
    for (unsigned i = 0; i < WORDS; i++) {
        CHECK(item->output[i] == item->input[i] * 3 + i, "wrong result");
    }
}

/* Of a request that the submitter holds: again, later, or not at all. */
static void dispose(Submitter *submitter, Item *item)
{
    switch (check_random(&submitter->random) % 4) {
    case 0:
        submit(submitter, item);
        return;
    case 1:
        if (submitter->held_nr < HELD_MOST) {
            submitter->held[submitter->held_nr++] = item;
            return;
        }
    }
    CHECK(!threaded_workqueue_release_request(submitter->queue, item),
          "release failed");
}

static void step(Submitter *submitter)
{
    ThreadedWorkqueue *queue = submitter->queue;
    uint64_t choice = check_random(&submitter->random);
    int64_t timeout = (int64_t)(choice >> 32) % 3 * 20000;
    void *item;

    switch (choice % 16) {
    default:
        item = threaded_workqueue_get_request(queue);
        if (item) {
            submit(submitter, item);
        }
        break;
    case 0:
        if (submitter->held_nr) {
            submit(submitter, submitter->held[--submitter->held_nr]);
        }
        break;
    case 1:
    case 2:
    case 3:
        item = threaded_workqueue_poll_request(queue);
        if (item) {
            verify(submitter, item);
            dispose(submitter, item);
        }
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        if (!threaded_workqueue_collect_request(queue, timeout, &item)) {
            verify(submitter, item);
            CHECK(((Item *)item)->number >= submitter->last_collected,
                  "collected out of order");
            submitter->last_collected = ((Item *)item)->number + 1;
            dispose(submitter, item);
        }
        break;
    case 8:
        if (choice % 256 < 32) {
            CHECK(!threaded_workqueue_wait_for_requests(queue, WAIT_FOREVER),
                  "wait failed");
        }
        break;
    case 9:
        item = threaded_workqueue_get_request(queue);
        if (item) {
            dispose(submitter, item);
        }
    }
}

static void check_books(Submitter *submitter, unsigned threads_nr)
{
    ThreadedWorkqueueStats stats;
    uint64_t handled = 0;

    threaded_workqueue_stats(submitter->queue, &stats);
    for (unsigned i = 0; i < threads_nr; i++) {
        ThreadedWorkqueueThreadStats thread_stats;

        threaded_workqueue_thread_stats(submitter->queue, i, &thread_stats);
        handled += thread_stats.requests;
    }
    CHECK(handled == submitter->submitted, "books: %llu handled of %llu",
          (unsigned long long)handled,
          (unsigned long long)submitter->submitted);
    CHECK(stats.submitted == submitter->submitted &&
              stats.collected == submitter->taken,
          "books: %llu submitted, %llu collected",
          (unsigned long long)stats.submitted,
          (unsigned long long)stats.collected);
}

static void check_mix(unsigned threads_nr, unsigned thread_requests_nr)
{
    static const ThreadedWorkqueueOps ops = {
        .thread_request_handler = handle,
        .request_size = sizeof(Item),
    };
    Submitter submitter = {
        .queue = check_queue(threads_nr, thread_requests_nr, &ops, NULL),
        .random = 0x2545f4914f6cdd1du + threads_nr + thread_requests_nr,
    };
    unsigned steps = check_count(20000);
    void *item;

    check_phase = "a mix";
    for (unsigned i = 0; i < steps; i++) {
        step(&submitter);
    }
    CHECK(!threaded_workqueue_wait_for_requests(submitter.queue, WAIT_FOREVER),
          "wait failed");
    check_books(&submitter, threads_nr);
    while (submitter.taken < submitter.submitted) {
        if (threaded_workqueue_collect_request(submitter.queue, 0, &item)) {
            CHECK(false, "a request got lost");
            break;
        }
        verify(&submitter, item);
    }
    CHECK(!threaded_workqueue_destroy(submitter.queue, WORKQUEUE_CANCEL),
          "unseen, though all was collected");
    check_operations += submitter.submitted;
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    check_mix(1, 1);
    check_mix(1, MAX_THREAD_REQUEST_NR);
    check_mix(2, 4);
    check_mix(3, 5);
    check_mix(16, 2);
    check_mix(64, 1);
    return check_end();
}
