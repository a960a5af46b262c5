/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads take turns, results are delivered as soon as they can be, and no
 * request waits for ever behind younger ones.
 */
#define _GNU_SOURCE
#include "check.h"

typedef struct Item {
    /* First, and like a pointer: the seed took its high half for a thread. */
    uint64_t pointer;
    uint64_t number;
} Item;

static unsigned delivered;

static int handle(void *request, void *thread_state, void *opaque)
{
    (void)request;
    (void)thread_state;
    (void)opaque;
    return 0;
}

static void done(void *request, void *opaque)
{
    (void)request;
    (void)opaque;
    delivered++;
}

static const ThreadedWorkqueueOps collect_ops = {
    .thread_request_handler = handle,
    .request_size = sizeof(Item),
};

static const ThreadedWorkqueueOps done_ops = {
    .thread_request_handler = handle,
    .thread_request_done = done,
    .request_size = sizeof(Item),
};

static void fill_and_submit(ThreadedWorkqueue *queue, Item *item,
                            uint64_t number)
{
    item->pointer = 0x00007f5512345678u;
    item->number = number;
    CHECK(!threaded_workqueue_submit_request(queue, item), "submit failed");
}

/* One request at a time: each thread has a free one, so it is always next. */
static void check_round_robin(unsigned threads_nr)
{
    ThreadedWorkqueue *queue = check_queue(threads_nr, 4, &collect_ops, NULL);
    unsigned items_nr = check_count(1000);

    check_phase = "round-robin";
    for (unsigned i = 0; i < items_nr; i++) {
        void *item = threaded_workqueue_get_request(queue);

        CHECK(threaded_workqueue_request_thread(item) == i % threads_nr,
              "round-robin: request %u of thread %u, not %u", i,
              threaded_workqueue_request_thread(item), i % threads_nr);
        fill_and_submit(queue, item, i);
        threaded_workqueue_collect_request(queue, WAIT_FOREVER, &item);
        threaded_workqueue_release_request(queue, item);
    }
    for (unsigned i = 0; i < threads_nr; i++) {
        ThreadedWorkqueueThreadStats stats;

        threaded_workqueue_thread_stats(queue, i, &stats);
        CHECK(stats.requests >= items_nr / threads_nr &&
                  stats.requests <= items_nr / threads_nr + 1,
              "round-robin: thread %u handled %llu of %u", i,
              (unsigned long long)stats.requests, items_nr);
    }
    threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN);
    check_operations += items_nr;
}

/* What is finished is delivered by the next get, not when slots run out. */
static void check_prompt_delivery(void)
{
    ThreadedWorkqueue *queue = check_queue(2, 8, &done_ops, NULL);

    check_phase = "prompt delivery";
    delivered = 0;
    for (unsigned i = 0; i < 5; i++) {
        fill_and_submit(queue, threaded_workqueue_get_request(queue), i);
    }
    for (unsigned tries = 0; delivered < 5 && tries < 1000; tries++) {
        check_sleep(MS);
        threaded_workqueue_release_request(
            queue, threaded_workqueue_get_request(queue));
    }
    CHECK(delivered == 5, "lag: %u of 5 delivered",
          delivered);
    threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN);
}

/* --- The worker's cursor --------------------------------------------------- */

static Gate may_finish, has_started;

static int handle_gated(void *request, void *thread_state, void *opaque)
{
    uint64_t *next_number = thread_state;
    const Item *item = request;

    (void)opaque;
    gate_open(&has_started);
    gate_pass(&may_finish);
    CHECK(item->number == (*next_number)++, "starving: %llu came too early",
          (unsigned long long)item->number);
    return 0;
}

static const ThreadedWorkqueueOps gated_ops = {
    .thread_request_handler = handle_gated,
    .request_size = sizeof(Item),
    .thread_state_size = sizeof(uint64_t),
};

/*
 * Each request is submitted again while the worker is in the next one: a
 * worker that took the lowest slot would never come to the higher ones.
 */
static void check_worker_cursor(void)
{
    enum { SLOTS = 4, TURNS = 40 };
    ThreadedWorkqueue *queue = check_queue(1, SLOTS, &gated_ops, NULL);
    unsigned number = 0;

    check_phase = "worker's cursor";
    gate_init(&may_finish);
    gate_init(&has_started);
    while (number < SLOTS) {
        fill_and_submit(queue, threaded_workqueue_get_request(queue),
                        number++);
    }
    gate_pass(&has_started);
    while (number < SLOTS + TURNS) {
        gate_open(&may_finish);
        gate_pass(&has_started);
        Item *item = threaded_workqueue_poll_request(queue);

        CHECK(item, "polled nothing");
        if (!item) {
            break;
        }
        fill_and_submit(queue, item, number++);
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        gate_open(&may_finish);
    }
    CHECK(threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN) == SLOTS,
          "unseen");
    gate_end(&may_finish);
    gate_end(&has_started);
    check_operations += number;
}

/* --- The submitter's cursors ----------------------------------------------- */

/* All are handled at each poll: each turn round the queue sees all of them. */
static void check_poll_cursor(unsigned threads_nr, unsigned thread_requests_nr)
{
    ThreadedWorkqueue *queue =
        check_queue(threads_nr, thread_requests_nr, &collect_ops, NULL);
    unsigned requests_nr = threads_nr * thread_requests_nr;

    check_phase = "polling";
    for (unsigned i = 0; i < requests_nr; i++) {
        fill_and_submit(queue, threaded_workqueue_get_request(queue), i);
    }
    for (unsigned i = 0; i < 4 * requests_nr; i++) {
        threaded_workqueue_wait_for_requests(queue, WAIT_FOREVER);
        Item *item = threaded_workqueue_poll_request(queue);

        CHECK(item, "polled nothing, though all were handled");
        if (!item) {
            break;
        }
        CHECK(item->number / requests_nr == i / requests_nr,
              "starving: poll %u gave %llu", i,
              (unsigned long long)item->number);
        fill_and_submit(queue, item, requests_nr + i);
    }
    CHECK(threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN) == requests_nr,
          "unseen");
    check_operations += 4 * requests_nr;
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    for (unsigned threads_nr = 1; threads_nr <= 9; threads_nr *= 3) {
        check_round_robin(threads_nr);
        check_poll_cursor(threads_nr, DEFAULT_THREAD_REQUEST_NR);
    }
    check_poll_cursor(1, MAX_THREAD_REQUEST_NR);
    check_prompt_delivery();
    check_worker_cursor();
    return check_end();
}
