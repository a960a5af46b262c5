/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What create refuses and what it gives: limits, sizes, alignment. */
#define _GNU_SOURCE
#include "check.h"

static size_t state_size;

static int handle(void *request, void *thread_state, void *opaque)
{
    (void)thread_state;
    (void)opaque;
    *(unsigned char *)request += 1;
    return 0;
}

static int check_state(void *thread_state, unsigned thread_index, void *opaque)
{
    (void)thread_index;
    (void)opaque;
    CHECK((uintptr_t)thread_state % 64 == 0, "state is not aligned");
    for (size_t i = 0; i < state_size; i++) {
        CHECK(!((unsigned char *)thread_state)[i], "state is not zeroed");
    }
    memset(thread_state, 0xff, state_size);
    return 0;
}

static ThreadedWorkqueueOps operations(size_t request_size,
                                       size_t thread_state_size)
{
    state_size = thread_state_size;
    return (ThreadedWorkqueueOps){
        .thread_request_handler = handle,
        .thread_init = check_state,
        .request_size = request_size,
        .thread_state_size = thread_state_size,
    };
}

static void check_refused(unsigned threads_nr, unsigned thread_requests_nr,
                          const ThreadedWorkqueueOps *ops, int reason)
{
    errno = 0;
    ThreadedWorkqueue *queue = threaded_workqueue_create(
        "limits", threads_nr, thread_requests_nr, ops, NULL);

    CHECK(!queue, "limits: create(%u, %u) did not fail", threads_nr,
          thread_requests_nr);
    CHECK(queue || errno == reason, "limits: create(%u, %u) said %s",
          threads_nr, thread_requests_nr, strerror(errno));
    check_operations++;
}

static void check_refusals(void)
{
    ThreadedWorkqueueOps ops = operations(8, 8);
    ThreadedWorkqueueOps bad = {.request_size = 8};

    check_phase = "limits";
    check_refused(0, 0, &ops, EINVAL);
    check_refused(0, 1, &ops, EINVAL);
    check_refused(1, 0, &ops, EINVAL);
    check_refused(1, MAX_THREAD_REQUEST_NR + 1, &ops, EINVAL);
    check_refused(1, 300, &ops, EINVAL);
    check_refused(1, UINT_MAX, &ops, EINVAL);
    check_refused(MAX_THREADS_NR + 1, 1, &ops, EINVAL);
    check_refused(UINT_MAX, 1, &ops, EINVAL);
    check_refused(1, 1, NULL, EINVAL);
    check_refused(1, 1, &bad, EINVAL);

    check_phase = "overflows";
    bad = operations(SIZE_MAX, 0);
    check_refused(1, 1, &bad, EINVAL);
    bad = operations(SIZE_MAX - CACHE_LINE, 0);
    check_refused(1, 1, &bad, EINVAL);
    bad = operations(SIZE_MAX / 8, 0);
    check_refused(1, 8, &bad, ENOMEM);
    bad = operations(8, SIZE_MAX);
    check_refused(1, 1, &bad, ENOMEM);
}

/* Every byte of every request, and no byte twice. */
static void check_memory(size_t request_size, size_t thread_state_size)
{
    enum { THREADS = 2, REQUESTS = 3 };
    ThreadedWorkqueueOps ops = operations(request_size, thread_state_size);
    ThreadedWorkqueue *queue = check_queue(THREADS, REQUESTS, &ops, NULL);
    unsigned char *requests[THREADS * REQUESTS];

    check_phase = "memory of requests";
    for (unsigned i = 0; i < THREADS * REQUESTS; i++) {
        requests[i] = threaded_workqueue_get_request(queue);
        CHECK((uintptr_t)requests[i] % 64 == 0, "request is not aligned");
        for (size_t at = 0; at < request_size; at++) {
            CHECK(!requests[i][at], "request is not zeroed");
        }
        memset(requests[i], (int)i + 1, request_size);
    }
    for (unsigned i = 0; i < THREADS * REQUESTS; i++) {
        CHECK(!threaded_workqueue_submit_request(queue, requests[i]),
              "submit failed");
    }
    CHECK(!threaded_workqueue_wait_for_requests(queue, WAIT_FOREVER), "wait");
    for (unsigned i = 0; i < THREADS * REQUESTS; i++) {
        for (size_t at = 0; at < request_size; at++) {
            CHECK(requests[i][at] == i + 1 + (at == 0), "overwritten");
        }
    }
    threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN);
    check_operations += THREADS * REQUESTS;
}

/* A queue of that size works: each of its requests is handled. */
static void check_allowed(unsigned threads_nr, unsigned thread_requests_nr)
{
    ThreadedWorkqueueOps ops = operations(1, 1);
    ThreadedWorkqueueStats stats;
    void *request;

    check_phase = "allowed sizes";
    check_alive();
    ThreadedWorkqueue *queue = threaded_workqueue_create(
        "limits", threads_nr, thread_requests_nr, &ops, NULL);

    if (!queue && errno == EAGAIN) {
        printf("skipped: the system allows no %u threads\n", threads_nr);
        return;
    }
    CHECK(queue, "limits: create(%u, %u): %s", threads_nr, thread_requests_nr,
          strerror(errno));
    if (!queue) {
        return;
    }
    while ((request = threaded_workqueue_get_request(queue))) {
        CHECK(!*(unsigned char *)request, "the same request twice");
        *(unsigned char *)request = 1;
        threaded_workqueue_submit_request(queue, request);
    }
    threaded_workqueue_stats(queue, &stats);
    CHECK(stats.depth_max == threads_nr * thread_requests_nr &&
              stats.threads_nr == threads_nr &&
              stats.thread_requests_nr == thread_requests_nr,
          "limits: only %u of %u x %u requests", stats.depth_max, threads_nr,
          thread_requests_nr);
    while (!threaded_workqueue_collect_request(queue, WAIT_FOREVER,
                                               &request)) {
        CHECK(*(unsigned char *)request == 2, "not handled");
        check_operations++;
    }
    CHECK(!threaded_workqueue_destroy(queue, WORKQUEUE_CANCEL), "unseen");
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    CHECK(!threaded_workqueue_destroy(NULL, WORKQUEUE_DRAIN), "of nothing");
    for (unsigned i = 0; i < check_count(20); i++) {
        check_memory(1, 0);
        check_memory(8, 1);
        check_memory(65, 64);
        check_memory(4097, 100000);
        check_refusals();
    }
    check_allowed(1, MAX_THREAD_REQUEST_NR);
    check_allowed(MAX_THREAD_REQUEST_NR + 1, 1);
    check_allowed(3, MAX_THREAD_REQUEST_NR - 1);
    if (check_scale >= 1) {
        check_allowed(MAX_THREADS_NR, 1);
    }
    return check_end();
}
