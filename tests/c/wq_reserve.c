/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The states of a request, and waits that end when they should. */
#define _GNU_SOURCE
#include "check.h"

enum { THREADS = 2, REQUESTS = 4, ALL = THREADS * REQUESTS };

static Gate gate;

static int handle(void *request, void *thread_state, void *opaque)
{
    const bool *gated = request;

    (void)thread_state;
    (void)opaque;
    if (*gated) {
        gate_pass(&gate);
    }
    return 0;
}

static void done(void *request, void *opaque)
{
    (void)request;
    (void)opaque;
}

static const ThreadedWorkqueueOps collect_ops = {
    .thread_request_handler = handle,
    .request_size = sizeof(bool),
};

static const ThreadedWorkqueueOps done_ops = {
    .thread_request_handler = handle,
    .thread_request_done = done,
    .request_size = sizeof(bool),
};

static void get_all(ThreadedWorkqueue *queue, void **requests, bool gated)
{
    for (unsigned i = 0; i < ALL; i++) {
        requests[i] = threaded_workqueue_get_request(queue);
        CHECK(requests[i], "only %u requests", i);
        if (!requests[i]) {
            exit(check_end());
        }
        *(bool *)requests[i] = gated;
        for (unsigned j = 0; j < i; j++) {
            CHECK(requests[i] != requests[j], "the same request twice");
        }
    }
}

static void check_states(void)
{
    ThreadedWorkqueue *queue = check_queue(THREADS, REQUESTS, &collect_ops,
                                           NULL);
    ThreadedWorkqueueStats stats;
    void *requests[ALL], *request;

    check_phase = "states";
    get_all(queue, requests, false);
    CHECK(!threaded_workqueue_get_request(queue), "one request too many");
    threaded_workqueue_stats(queue, &stats);
    CHECK(stats.busy == 1, "busy was not counted");
    for (unsigned i = ALL; i--;) {
        CHECK(!threaded_workqueue_submit_request(queue, requests[i]), "submit");
        CHECK(threaded_workqueue_submit_request(queue, requests[i]) == -EINVAL,
              "submitted twice");
        CHECK(threaded_workqueue_release_request(queue, requests[i]) ==
                  -EINVAL, "released though submitted");
    }
    CHECK(!threaded_workqueue_get_request(queue), "a request that is submitted");
    for (unsigned i = ALL; i--;) {
        unsigned thread = threaded_workqueue_request_thread(requests[i]);

        CHECK(!threaded_workqueue_collect_request(queue, WAIT_FOREVER,
                                                  &request) &&
                  request == requests[i], "collect");
        /* Again: it keeps its thread and becomes the youngest. */
        CHECK(!threaded_workqueue_submit_request(queue, request), "again");
        CHECK(threaded_workqueue_request_thread(request) == thread, "moved");
        CHECK(threaded_workqueue_request_sequence(request) == 2 * ALL - 1 - i,
              "wrong sequence number");
    }
    for (unsigned i = ALL; i--;) {
        CHECK(!threaded_workqueue_collect_request(queue, WAIT_FOREVER,
                                                  &request), "collect");
        CHECK(!threaded_workqueue_release_request(queue, request), "release");
        CHECK(threaded_workqueue_release_request(queue, request) == -EINVAL,
              "released twice");
        CHECK(threaded_workqueue_submit_request(queue, request) == -EINVAL,
              "submitted though free");
    }
    CHECK(threaded_workqueue_collect_request(queue, WAIT_FOREVER, &request) ==
              -ENOENT && !request, "collect from an empty queue");
    CHECK(!threaded_workqueue_wait_for_requests(queue, 0), "wait for nothing");
    CHECK(!threaded_workqueue_poll_request(queue), "poll of an empty queue");
    threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN);
    check_operations += 2 * ALL;
}

/* Requests of one thread only, whatever the others have. */
static void check_one_thread(const ThreadedWorkqueueOps *ops)
{
    ThreadedWorkqueue *queue = check_queue(THREADS, REQUESTS, ops, NULL);
    void *request, *other;

    check_phase = "one thread's requests";
    CHECK(threaded_workqueue_get_request_timed(queue, THREADS, 0, &request) ==
              -EINVAL, "a thread that is not there");
    CHECK(!threaded_workqueue_get_request_timed(queue, 0, 0, &other), "get");
    CHECK(!threaded_workqueue_submit_request(queue, other), "submit");
    for (unsigned i = 0; i < REQUESTS; i++) {
        CHECK(!threaded_workqueue_get_request_timed(queue, 1, 0, &request) &&
                  threaded_workqueue_request_thread(request) == 1, "get");
    }
    CHECK(threaded_workqueue_get_request_timed(queue, 1, WAIT_FOREVER,
                                               &other) == -EDEADLK &&
              !other, "waited for itself");
    CHECK(!threaded_workqueue_release_request(queue, request), "release");
    CHECK(!threaded_workqueue_get_request_timed(queue, 1, 0, &other) &&
              other == request, "get after release");
    threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN);
    check_operations += REQUESTS;
}

static void check_deadlock(const ThreadedWorkqueueOps *ops)
{
    ThreadedWorkqueue *queue = check_queue(THREADS, REQUESTS, ops, NULL);
    void *requests[ALL], *request;

    check_phase = "all requests held";
    get_all(queue, requests, false);
    CHECK(threaded_workqueue_get_request_timed(queue, ANY_THREAD, WAIT_FOREVER,
                                               &request) == -EDEADLK,
          "waited for itself");
    threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN);
    check_operations += ALL;
}

static int get_timed(ThreadedWorkqueue *queue, int64_t timeout_ns)
{
    void *request;

    return threaded_workqueue_get_request_timed(queue, ANY_THREAD, timeout_ns,
                                                &request);
}

static int collect(ThreadedWorkqueue *queue, int64_t timeout_ns)
{
    void *request;

    return threaded_workqueue_collect_request(queue, timeout_ns, &request);
}

static void check_timeout(ThreadedWorkqueue *queue, const char *name,
                          int (*wait)(ThreadedWorkqueue *, int64_t))
{
    for (int64_t timeout_ns = -MS; timeout_ns <= 3 * MS; timeout_ns += MS) {
        int64_t before = event_clock();
        int failed = wait(queue, timeout_ns);

        CHECK(failed == -ETIMEDOUT, "%s said %d", name, failed);
        CHECK(event_clock() - before >= timeout_ns, "%s came back too early",
              name);
        check_operations++;
    }
}

static void check_timeouts(const ThreadedWorkqueueOps *ops)
{
    ThreadedWorkqueue *queue = check_queue(THREADS, REQUESTS, ops, NULL);
    void *requests[ALL];

    check_phase = "timeouts";
    gate_init(&gate);
    get_all(queue, requests, true);
    for (unsigned i = 0; i < ALL; i++) {
        threaded_workqueue_submit_request(queue, requests[i]);
    }
    check_timeout(queue, "wait", threaded_workqueue_wait_for_requests);
    check_timeout(queue, "collect", collect);
    if (ops->thread_request_done) {
        check_timeout(queue, "get", get_timed);
    }
    for (unsigned i = 0; i < ALL; i++) {
        gate_open(&gate);
    }
    CHECK(!(ops->thread_request_done ? get_timed : collect)(queue,
                                                            WAIT_FOREVER),
          "a wait failed");
    CHECK(!threaded_workqueue_wait_for_requests(queue, 60 * SECOND), "wait");
    CHECK(!threaded_workqueue_wait_for_requests(queue, INT64_MIN), "wait");
    threaded_workqueue_destroy(queue, WORKQUEUE_CANCEL);
    gate_end(&gate);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    for (unsigned i = 0; i < check_count(10); i++) {
        check_states();
        check_one_thread(&collect_ops);
        check_one_thread(&done_ops);
        check_deadlock(&collect_ops);
        check_deadlock(&done_ops);
        check_timeouts(&collect_ops);
        check_timeouts(&done_ops);
    }
    return check_end();
}
