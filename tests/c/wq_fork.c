/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A child process has the queue's memory but not its threads: destroying the
 * queue there frees it, waits for nobody, and leaves the parent's alone.
 */
#define _GNU_SOURCE
#include "check.h"

#include <sys/wait.h>

enum { THREADS = 3, REQUESTS = 4, ALL = THREADS * REQUESTS };

typedef struct Item {
    uint64_t handled;
    Gate *gate;
} Item;

static unsigned uninits;

static void request_uninit(void *request, void *opaque)
{
    (void)request;
    (void)opaque;
    uninits++;
}

static int handle(void *request, void *thread_state, void *opaque)
{
    Item *item = request;

    (void)thread_state;
    (void)opaque;
    if (item->gate) {
        gate_pass(item->gate);
    }
    item->handled++;
    return 0;
}

static const ThreadedWorkqueueOps ops = {
    .thread_request_uninit = request_uninit,
    .thread_request_handler = handle,
    .request_size = sizeof(Item),
};

static int live_as_child(ThreadedWorkqueue *queue, ThreadedWorkqueueEnd end)
{
    check_alive();
    check_phase = "the child";
    unsigned unseen = threaded_workqueue_destroy(queue, end);

    CHECK(unseen == ALL, "unseen: %u", unseen);
    CHECK(uninits == ALL, "%u uninits", uninits);
    return check_violations ? 1 : 0;
}

static void check_fork(ThreadedWorkqueueEnd end, bool idle)
{
    ThreadedWorkqueue *queue = check_queue(THREADS, REQUESTS, &ops, NULL);
    Gate gate;
    int status = -1;
    Item *item;

    check_phase = "the parent";
    gate_init(&gate);
    while ((item = threaded_workqueue_get_request(queue))) {
        item->gate = idle ? NULL : &gate;
        threaded_workqueue_submit_request(queue, item);
    }
    if (idle) {
        threaded_workqueue_wait_for_requests(queue, WAIT_FOREVER);
    }

    pid_t child = fork();

    if (!child) {
        _exit(live_as_child(queue, end));
    }
    CHECK(waitpid(child, &status, 0) == child && !status,
          "the child ended with %x", (unsigned)status);
    CHECK(!uninits, "the child's uninits reached the parent");
    for (unsigned i = 0; i < ALL; i++) {
        gate_open(&gate);
    }
    CHECK(!threaded_workqueue_wait_for_requests(queue, WAIT_FOREVER), "wait");
    CHECK(threaded_workqueue_destroy(queue, WORKQUEUE_CANCEL) == ALL,
          "unseen in the parent");
    CHECK(uninits == ALL, "%u uninits in the parent", uninits);
    gate_end(&gate);
    uninits = 0;
    check_operations++;
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    for (unsigned i = 0; i < check_count(10); i++) {
        check_fork(WORKQUEUE_CANCEL, true);
        check_fork(WORKQUEUE_DRAIN, true);
        check_fork(WORKQUEUE_CANCEL, false);
        check_fork(WORKQUEUE_DRAIN, false);
    }
    return check_end();
}
