/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each call that can fail does so at its n-th occurrence, for every n: while a
 * queue is created, the reason arrives in errno and all that was made is
 * unmade; while it runs, a refused futex call changes nothing.
 */
#define _GNU_SOURCE
#include "check.h"

#include "faults.h"

#include <sched.h>

enum { THREADS = 3, REQUESTS = 4, MAGIC = 0x4d41 };

/* Initialised, and not yet uninitialised. */
static unsigned requests;
static atomic_uint threads;

static int request_init(void *request, void *opaque)
{
    (void)opaque;
    if (fault_hits(FAULT_INIT_REQUEST)) {
        return -ENXIO;
    }
    *(int *)request = MAGIC;
    requests++;
    return 0;
}

static void request_uninit(void *request, void *opaque)
{
    (void)opaque;
    CHECK(*(int *)request == MAGIC, "uninit without init");
    *(int *)request = 0;
    requests--;
}

static int thread_init(void *thread_state, unsigned thread_index, void *opaque)
{
    (void)thread_index;
    (void)opaque;
    if (fault_hits(FAULT_INIT_THREAD)) {
        return -EPERM;
    }
    *(int *)thread_state = MAGIC;
    threads++;
    return 0;
}

static void thread_uninit(void *thread_state, void *opaque)
{
    (void)opaque;
    CHECK(*(int *)thread_state == MAGIC, "thread_uninit without thread_init");
    *(int *)thread_state = 0;
    threads--;
}

static int handle(void *request, void *thread_state, void *opaque)
{
    (void)opaque;
    CHECK(*(int *)request == MAGIC && *(int *)thread_state == MAGIC,
          "handler without init");
    return 0;
}

static const ThreadedWorkqueueOps ops = {
    .thread_request_init = request_init,
    .thread_request_uninit = request_uninit,
    .thread_request_handler = handle,
    .thread_init = thread_init,
    .thread_uninit = thread_uninit,
    .request_size = sizeof(int),
    .thread_state_size = sizeof(int),
};

static void check_balance(unsigned at)
{
    CHECK(!fault_resources(), "at %u: %d allocations left", at,
          fault_resources());
    CHECK(!requests, "at %u: %u requests left", at, requests);
    CHECK(!threads, "at %u: %u threads left", at, threads);
}

/* Bound to a CPU that there is, so that no thread spins and all sleep. */
static ThreadedWorkqueue *create(void)
{
    unsigned cpu = (unsigned)sched_getcpu();

    return threaded_workqueue_create(
        "faults", THREADS, REQUESTS, &ops,
        &(ThreadedWorkqueueOptions){.cpus = &cpu, .cpus_nr = 1});
}

static void check_create(Fault fault, const char *name, int reason,
                         unsigned occurrences)
{
    check_phase = name;
    for (unsigned at = 1; at <= occurrences + 1; at++) {
        check_alive();
        fault_arm(fault, at);
        errno = 0;
        ThreadedWorkqueue *queue = create();

        CHECK(!queue == (at <= occurrences), "created although %u failed", at);
        CHECK(queue || errno == reason, "at %u: errno %d, not %d", at, errno,
              reason);
        if (queue) {
            CHECK(requests == THREADS * REQUESTS && threads == THREADS,
                  "%u requests, %u threads", requests, threads);
            threaded_workqueue_submit_request(
                queue, threaded_workqueue_get_request(queue));
            threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN);
        }
        check_balance(at);
        check_operations++;
    }
}

/* Both sides go to sleep again and again. */
static void sleep_and_wake(unsigned requests_nr)
{
    ThreadedWorkqueue *queue = create();
    void *request;

    CHECK(queue, "not created");
    if (!queue) {
        return;
    }
    for (unsigned i = 0; i < requests_nr; i++) {
        for (unsigned j = 0; j <= i % THREADS; j++) {
            threaded_workqueue_submit_request(
                queue, threaded_workqueue_get_request(queue));
        }
        while (!threaded_workqueue_collect_request(queue, WAIT_FOREVER,
                                                   &request)) {
            CHECK(threaded_workqueue_request_sequence(request) ==
                      check_operations, "a request got lost");
            threaded_workqueue_release_request(queue, request);
            check_operations++;
        }
    }
    CHECK(!threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN), "unseen");
}

static void check_futex(unsigned requests_nr)
{
    uint64_t before = check_operations;
    unsigned at = FAULT_ALWAYS;

    check_phase = "futex";
    do {
        check_alive();
        check_operations = 0;
        fault_arm(FAULT_FUTEX, at++);
        sleep_and_wake(requests_nr);
        check_balance(at);
        before += check_operations;
    } while (fault_happened());
    CHECK(at > requests_nr, "only %u futex calls", at);
    check_operations = before;
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    for (unsigned i = 0; i < check_count(10); i++) {
        /* The queue, and each thread's requests and state. */
        check_create(FAULT_ALLOCATE, "allocation", ENOMEM, 1 + 2 * THREADS);
        check_create(FAULT_START_THREAD, "thread", EAGAIN, THREADS);
        check_create(FAULT_ATTRIBUTE, "attribute", ENOMEM, 2 * THREADS);
        check_create(FAULT_INIT_REQUEST, "request_init", ENXIO,
                     THREADS * REQUESTS);
        check_create(FAULT_INIT_THREAD, "thread_init", EPERM, THREADS);
    }
    check_futex(check_count(40));
    return check_end();
}
