/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A queue that has nothing to do sleeps, and so does a submitter that waits,
 * for no longer than it is told to.  What counts are the turns of polling and
 * the sleeps, not the time: the kernel says whether a thread is in a futex
 * call, and one that is takes no turns and begins no other sleep.
 */
#define _GNU_SOURCE
#include "check.h"
#include "workqueue_private.h"

#include <sys/syscall.h>

enum { THREADS_MOST = 64, SHORT_WAITS = 100, LONG_WAITS = 20 };

static pid_t tids[THREADS_MOST]; /* written by thread_init of each thread */
static Gate gate;

typedef enum Wish { RETURN, LET_SUBMITTER_SLEEP, PASS_GATE } Wish;

static bool is_in_futex(pid_t tid)
{
    char path[64], text[32] = "";

    snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", (int)tid);
    FILE *file = fopen(path, "r");

    if (file) {
        if (!fgets(text, sizeof(text), file)) {
            text[0] = 0;
        }
        fclose(file);
    }
    return *text && atoi(text) == SYS_futex;
}

static void await_sleep(pid_t tid)
{
    while (!is_in_futex(tid)) {
        check_sleep(MS);
    }
}

static int thread_init(void *thread_state, unsigned index, void *opaque)
{
    (void)thread_state;
    (void)opaque;
    tids[index] = (pid_t)syscall(SYS_gettid);
    return 0;
}

static int handle(void *request, void *thread_state, void *opaque)
{
    (void)thread_state;
    (void)opaque;
    switch (*(Wish *)request) {
    case RETURN:
        break;
    case LET_SUBMITTER_SLEEP:
        await_sleep(getpid());
        check_sleep(check_count(100) * MS);
        break;
    case PASS_GATE:
        gate_pass(&gate);
        break;
    }
    return 0;
}

static const ThreadedWorkqueueOps ops = {
    .thread_init = thread_init,
    .thread_request_handler = handle,
    .request_size = sizeof(Wish),
};

static void submit(ThreadedWorkqueue *queue, Wish wish)
{
    Wish *item = threaded_workqueue_get_request(queue);

    *item = wish;
    threaded_workqueue_submit_request(queue, item);
}

static void collect(ThreadedWorkqueue *queue)
{
    void *item;

    CHECK(!threaded_workqueue_collect_request(queue, WAIT_FOREVER, &item),
          "collect failed");
    threaded_workqueue_release_request(queue, item);
}

/* Turns of polling, and sleeps that are over, of all workers. */
static uint64_t restlessness(const ThreadedWorkqueue *queue,
                             unsigned threads_nr)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < threads_nr; i++) {
        ThreadedWorkqueueThreadStats stats;

        threaded_workqueue_thread_stats(queue, i, &stats);
        sum += stats.spins + stats.sleeps;
    }
    return sum;
}

static void check_idle(ThreadedWorkqueue *queue, unsigned threads_nr)
{
    check_phase = "an idle queue";
    for (unsigned i = 0; i < threads_nr; i++) {
        await_sleep(tids[i]);
    }
    uint64_t before = restlessness(queue, threads_nr);

    check_sleep(check_count(100) * MS);
    uint64_t more = restlessness(queue, threads_nr) - before;

    CHECK(!more, "%llu turns and sleeps of idle workers",
          (unsigned long long)more);
}

static void check_waiting(ThreadedWorkqueue *queue)
{
    ThreadedWorkqueueStats before, after;

    check_phase = "a submitter that waits";
    threaded_workqueue_stats(queue, &before);
    submit(queue, LET_SUBMITTER_SLEEP);
    collect(queue);
    threaded_workqueue_stats(queue, &after);
    CHECK(after.waits == before.waits + 1, "%llu sleeps of the submitter",
          (unsigned long long)(after.waits - before.waits));
}

/* Turns of polling in waits for what is not handled. */
static uint64_t wait_in_vain(ThreadedWorkqueue *queue, unsigned waits,
                             int64_t timeout_ns)
{
    ThreadedWorkqueueStats before, after;
    void *item;

    threaded_workqueue_stats(queue, &before);
    for (unsigned i = 0; i < waits; i++) {
        CHECK(threaded_workqueue_collect_request(queue, timeout_ns, &item) ==
                  -ETIMEDOUT, "collected what is not handled");
    }
    threaded_workqueue_stats(queue, &after);
    return after.spins - before.spins;
}

/*
 * A wait ends at the first look at the clock after its time limit, and such
 * waits say nothing about whether polling pays.  Longer ones say that it does
 * not, until there is none.
 */
static void check_time_limits(ThreadedWorkqueue *queue)
{
    bool may_spin = queue->spin.allowed_ns;

    check_phase = "time limits";
    submit(queue, PASS_GATE);
    uint64_t turns = wait_in_vain(queue, SHORT_WAITS, 1);

    CHECK(turns == (may_spin ? SHORT_WAITS * SPIN_TURNS : 0),
          "%llu turns in short waits", (unsigned long long)turns);
    wait_in_vain(queue, LONG_WAITS, MS);
    turns = wait_in_vain(queue, SHORT_WAITS, 1);
    CHECK(!turns, "%llu turns after long waits", (unsigned long long)turns);
    gate_open(&gate);
    collect(queue);
}

static void check_all(unsigned threads_nr)
{
    ThreadedWorkqueue *queue = check_queue(threads_nr, 4, &ops, NULL);

    /* First, while the limit of polling is at its most. */
    check_time_limits(queue);
    for (unsigned i = 0; i < 200; i++) {
        submit(queue, RETURN);
        collect(queue);
    }
    check_idle(queue, threads_nr);
    check_waiting(queue);
    threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN);
    check_operations += 202;
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    gate_init(&gate);
    check_all(1);
    check_all(4);
    check_all(THREADS_MOST);
    gate_end(&gate);
    return check_end();
}
