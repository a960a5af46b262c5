/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Results come in the order of submission; so do one thread's handlers. */
#define _GNU_SOURCE
#include "check.h"

typedef struct Item {
    uint64_t input, output;
} Item;

typedef struct ThreadState {
    uint64_t next_least; /* sequence number that the next request may have */
    uint64_t random;
} ThreadState;

static uint64_t delivered;

static uint64_t work(uint64_t input)
{
    return input * 0x9e3779b97f4a7c15u + 1;
}

static int handle(void *request, void *thread_state, void *opaque)
{
    Item *item = request;
    ThreadState *state = thread_state;
    uint64_t sequence = threaded_workqueue_request_sequence(request);

    (void)opaque;
    CHECK(sequence >= state->next_least, "thread handled %llu before %llu",
          (unsigned long long)state->next_least - 1,
          (unsigned long long)sequence);
    state->next_least = sequence + 1;
    state->random += work(sequence) | 1;
    for (uint64_t turns = check_random(&state->random) % 256; turns; turns--) {
        cpu_relax();
    }
    item->output = work(item->input);
    return 0;
}

static void check_item(const Item *item, uint64_t sequence)
{
    CHECK(threaded_workqueue_request_sequence(item) == sequence &&
              item->input == sequence,
          "fifo: %llu came as number %llu", (unsigned long long)item->input,
          (unsigned long long)sequence);
    CHECK(item->output == work(item->input), "wrong result");
}

static void done(void *request, void *opaque)
{
    (void)opaque;
    check_item(request, delivered++);
}

static const ThreadedWorkqueueOps collect_ops = {
    .thread_request_handler = handle,
    .request_size = sizeof(Item),
    .thread_state_size = sizeof(ThreadState),
};

static const ThreadedWorkqueueOps done_ops = {
    .thread_request_handler = handle,
    .thread_request_done = done,
    .request_size = sizeof(Item),
    .thread_state_size = sizeof(ThreadState),
};

static void fill_and_submit(ThreadedWorkqueue *queue, Item *item,
                            uint64_t number)
{
    item->input = number;
    item->output = 0;
    CHECK(!threaded_workqueue_submit_request(queue, item), "submit failed");
}

static void check_done(unsigned threads_nr, unsigned thread_requests_nr)
{
    ThreadedWorkqueue *queue =
        check_queue(threads_nr, thread_requests_nr, &done_ops, NULL);
    unsigned items_nr = check_count(3000);

    check_phase = "callback mode";
    delivered = 0;
    for (unsigned i = 0; i < items_nr; i++) {
        void *item;

        CHECK(!threaded_workqueue_get_request_timed(queue, ANY_THREAD,
                                                    WAIT_FOREVER, &item),
              "get failed");
        fill_and_submit(queue, item, i);
        CHECK(i + 1 - delivered <= threads_nr * thread_requests_nr,
              "the window is wider than the queue");
    }
    CHECK(!threaded_workqueue_wait_for_requests(queue, WAIT_FOREVER), "wait");
    CHECK(delivered == items_nr, "%llu of %u done",
          (unsigned long long)delivered, items_nr);
    CHECK(!threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN), "unseen");
    check_operations += items_nr;
}

static void check_collect(unsigned threads_nr, unsigned thread_requests_nr)
{
    ThreadedWorkqueue *queue =
        check_queue(threads_nr, thread_requests_nr, &collect_ops, NULL);
    unsigned items_nr = check_count(3000), collected = 0, submitted = 0;

    check_phase = "collect";
    while (collected < items_nr) {
        void *item = submitted < items_nr
                         ? threaded_workqueue_get_request(queue)
                         : NULL;

        if (!item) {
            CHECK(!threaded_workqueue_collect_request(queue, WAIT_FOREVER,
                                                      &item),
                  "collect failed");
            check_item(item, collected++);
            if (submitted == items_nr || collected % 2) {
                threaded_workqueue_release_request(queue, item);
                continue;
            }
        }
        fill_and_submit(queue, item, submitted++);
    }
    CHECK(!threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN), "unseen");
    check_operations += items_nr;
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    for (unsigned threads_nr = 1; threads_nr <= 9; threads_nr *= 3) {
        check_done(threads_nr, 1);
        check_done(threads_nr, DEFAULT_THREAD_REQUEST_NR);
        check_done(threads_nr, MAX_THREAD_REQUEST_NR);
        check_collect(threads_nr, 1);
        check_collect(threads_nr, DEFAULT_THREAD_REQUEST_NR);
        check_collect(threads_nr, MAX_THREAD_REQUEST_NR);
    }
    return check_end();
}
