/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A handler's error stops the queue and reaches the submitter, as it was. */
#define _GNU_SOURCE
#include "check.h"

typedef struct Item {
    int status;
    int64_t sleep_ns;
    Gate *gate; /* to be passed before the handler ends; NULL is allowed */
} Item;

/* Of one queue: its opaque. */
typedef struct Books {
    uint64_t done;
    atomic_uint handled;
} Books;

static int handle(void *request, void *thread_state, void *opaque)
{
    const Item *item = request;
    Books *books = opaque;

    (void)thread_state;
    books->handled++;
    if (item->gate) {
        gate_pass(item->gate);
    }
    if (item->sleep_ns) {
        check_sleep(item->sleep_ns);
    }
    return item->status;
}

static void done(void *request, void *opaque)
{
    const Item *item = request;
    Books *books = opaque;

    CHECK(!item->status, "a failed request was given to done");
    CHECK(threaded_workqueue_request_sequence(request) == books->done,
          "done out of order");
    books->done++;
}

static ThreadedWorkqueueOps operations(Books *books, bool with_done)
{
    return (ThreadedWorkqueueOps){
        .thread_request_handler = handle,
        .thread_request_done = with_done ? done : NULL,
        .request_size = sizeof(Item),
        .opaque = books,
    };
}

static Item *submit(ThreadedWorkqueue *queue, Item item)
{
    Item *request = threaded_workqueue_get_request(queue);

    *request = item;
    threaded_workqueue_submit_request(queue, request);
    return request;
}

static void check_error(ThreadedWorkqueue *queue, int status,
                        uint64_t sequence, const void *request)
{
    ThreadedWorkqueueError error = {0};

    CHECK(threaded_workqueue_error(queue, &error), "no error");
    CHECK(error.status == status && error.sequence == sequence &&
              (!request || error.request == request),
          "wrong error: status %d, sequence %llu, not %d, %llu", error.status,
          (unsigned long long)error.sequence, status,
          (unsigned long long)sequence);
}

static void await_error(ThreadedWorkqueue *queue)
{
    ThreadedWorkqueueError error;

    while (!threaded_workqueue_error(queue, &error)) {
        check_sleep(MS / 10);
    }
}

static void check_first_wins(void)
{
    Books books = {0};
    ThreadedWorkqueueOps ops = operations(&books, false);
    ThreadedWorkqueue *queue = check_queue(3, 2, &ops, NULL);
    ThreadedWorkqueueThreadStats stats;
    Gate first, second;

    check_phase = "the first error wins";
    gate_init(&first);
    gate_init(&second);
    submit(queue, (Item){.gate = NULL});
    submit(queue, (Item){.status = -1001, .gate = &second});
    Item *failing = submit(queue, (Item){.status = 1002, .gate = &first});
    while (books.handled < 3) {
        check_sleep(MS / 10);
    }
    gate_open(&first);
    await_error(queue);
    check_error(queue, 1002, 2, failing);
    gate_open(&second);
    do {
        check_sleep(5 * MS);
        threaded_workqueue_thread_stats(queue, 1, &stats);
    } while (!stats.requests);
    check_sleep(5 * MS);
    check_error(queue, 1002, 2, failing);
    CHECK(threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN) == 3, "unseen");
    gate_end(&first);
    gate_end(&second);
}

/* What each function says after an error; nothing more is handled. */
static void check_stopped(bool with_done)
{
    Books books = {0};
    ThreadedWorkqueueOps ops = operations(&books, with_done);
    ThreadedWorkqueue *queue = check_queue(1, 8, &ops, NULL);
    Gate gate;
    void *held, *request;

    check_phase = "a stopped queue";
    gate_init(&gate);
    submit(queue, (Item){.status = -1003, .gate = &gate});
    for (unsigned i = 0; i < 5; i++) {
        submit(queue, (Item){.status = 0});
    }
    held = threaded_workqueue_get_request(queue);
    gate_open(&gate);
    CHECK(threaded_workqueue_wait_for_requests(queue, WAIT_FOREVER) ==
              -ECANCELED, "wait");
    check_error(queue, -1003, 0, NULL);
    CHECK(!threaded_workqueue_get_request(queue), "get");
    CHECK(threaded_workqueue_get_request_timed(
              queue, ANY_THREAD, WAIT_FOREVER, &request) == -ECANCELED &&
              !request, "get_request_timed");
    CHECK(threaded_workqueue_collect_request(queue, WAIT_FOREVER, &request) ==
              -ECANCELED && !request, "collect");
    CHECK(!threaded_workqueue_poll_request(queue), "poll");
    CHECK(!threaded_workqueue_submit_request(queue, held), "submit");
    CHECK(threaded_workqueue_release_request(queue, held) == -EINVAL,
          "release of a submitted request");
    CHECK(threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN) == 7, "unseen");
    CHECK(books.handled == 1, "stopped: %u handled after the error",
          books.handled - 1);
    CHECK(!books.done, "done after the error");
    gate_end(&gate);
}

/* Of a thread for which the submitter does not wait. */
static void check_other_thread(void)
{
    Books books = {0};
    ThreadedWorkqueueOps ops = operations(&books, true);
    ThreadedWorkqueue *queue = check_queue(2, 1, &ops, NULL);
    void *request;

    check_phase = "another thread's error";
    submit(queue, (Item){.sleep_ns = 10 * MS});
    submit(queue, (Item){.status = -1004});
    CHECK(threaded_workqueue_get_request_timed(
              queue, ANY_THREAD, WAIT_FOREVER, &request) == -ECANCELED,
          "get_request_timed");
    check_error(queue, -1004, 1, NULL);
    threaded_workqueue_destroy(queue, WORKQUEUE_CANCEL);
}

/* The submitter works on until it is told; one request fails on the way. */
static void check_under_way(unsigned threads_nr, unsigned thread_requests_nr,
                            uint64_t failing, bool with_done)
{
    Books books = {0};
    ThreadedWorkqueueOps ops = operations(&books, with_done);
    ThreadedWorkqueue *queue =
        check_queue(threads_nr, thread_requests_nr, &ops, NULL);
    int failed = 0;

    check_phase = "an error under way";
    for (uint64_t i = 0; !failed; i++) {
        void *request;

        failed = threaded_workqueue_get_request_timed(
            queue, ANY_THREAD, WAIT_FOREVER, &request);
        if (failed == -EDEADLK) {
            failed = threaded_workqueue_collect_request(queue, WAIT_FOREVER,
                                                        &request);
            if (!failed) {
                done(request, &books);
            }
        }
        if (!failed) {
            *(Item *)request = (Item){.status = i == failing ? -1005 : 0};
            threaded_workqueue_submit_request(queue, request);
        }
    }
    CHECK(failed == -ECANCELED, "not cancelled, but %d", failed);
    CHECK(books.done <= failing, "done after the error");
    check_error(queue, -1005, failing, NULL);
    threaded_workqueue_destroy(queue,
                               failing % 2 ? WORKQUEUE_DRAIN : WORKQUEUE_CANCEL);
    check_operations += failing + 1;
}

/* Asking without a wait, again and again, while the request is failing. */
static void check_impatience(unsigned cycles)
{
    Books books = {0};
    ThreadedWorkqueueOps ops = operations(&books, false);

    check_phase = "impatient collecting";
    for (unsigned i = 0; i < cycles; i++) {
        ThreadedWorkqueue *queue = check_queue(1, 1, &ops, NULL);
        void *request;
        int failed;

        submit(queue, (Item){.status = -1006});
        do {
            failed = threaded_workqueue_collect_request(queue, 0, &request);
        } while (failed == -ETIMEDOUT);
        CHECK(failed == -ECANCELED, "collected a request that failed");
        threaded_workqueue_destroy(queue, WORKQUEUE_CANCEL);
    }
    check_operations += cycles;
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    check_first_wins();
    check_stopped(false);
    check_stopped(true);
    check_other_thread();
    for (unsigned i = 0; i < check_count(60); i++) {
        check_under_way(1 + i % 5, 1 + i % 7, i * i % 500, i & 1);
    }
    check_impatience(check_count(500));
    return check_end();
}
