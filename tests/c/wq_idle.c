/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A queue that has nothing to do uses no CPU, nor does a waiting submitter. */
#define _GNU_SOURCE
#include "check.h"

static int handle(void *request, void *thread_state, void *opaque)
{
    const int64_t *sleep_ns = request;

    (void)thread_state;
    (void)opaque;
    if (*sleep_ns) {
        check_sleep(*sleep_ns);
    }
    return 0;
}

static const ThreadedWorkqueueOps ops = {
    .thread_request_handler = handle,
    .request_size = sizeof(int64_t),
};

static int64_t cpu_clock(void)
{
    struct timespec used;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return used.tv_sec * SECOND + used.tv_nsec;
}

static void check_usage(int64_t cpu_before, int64_t clock_before)
{
    int64_t used = cpu_clock() - cpu_before;
    int64_t passed = event_clock() - clock_before;

    CHECK(used < passed / 5, "used %lld us of CPU in %lld us",
          (long long)used / 1000, (long long)passed / 1000);
}

static void submit(ThreadedWorkqueue *queue, int64_t sleep_ns)
{
    int64_t *item = threaded_workqueue_get_request(queue);

    *item = sleep_ns;
    threaded_workqueue_submit_request(queue, item);
}

static void collect(ThreadedWorkqueue *queue)
{
    void *item;

    CHECK(!threaded_workqueue_collect_request(queue, WAIT_FOREVER, &item),
          "collect failed");
    threaded_workqueue_release_request(queue, item);
}

static void check_idle(unsigned threads_nr)
{
    ThreadedWorkqueue *queue = check_queue(threads_nr, 4, &ops, NULL);

    /* Some work first, so that the spinning has grown to its most. */
    for (unsigned i = 0; i < 200; i++) {
        submit(queue, 0);
        collect(queue);
    }
    check_sleep(20 * MS);

    int64_t cpu_before = cpu_clock(), clock_before = event_clock();

    check_phase = "an idle queue";
    check_sleep(check_count(100) * MS);
    check_usage(cpu_before, clock_before);

    cpu_before = cpu_clock();
    clock_before = event_clock();
    check_phase = "a submitter that waits";
    submit(queue, check_count(100) * MS);
    collect(queue);
    check_usage(cpu_before, clock_before);

    threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN);
    check_operations += 200;
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    check_idle(1);
    check_idle(4);
    check_idle(64);
    return check_end();
}
