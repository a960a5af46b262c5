/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many requests, and many queues, under conditions that are hard on a queue:
 * more threads than CPUs, one CPU, handlers that sleep, that fail, that take a
 * thousand times longer once in a thousand.  Of every request it is checked
 * that it comes in order, was handled once and has the right result; of every
 * queue, that nothing is lost and nothing appears from nowhere.
 *
 *     wq_torture [scale [name]]    1,000,000 requests, times the scale, under
 *                                  all conditions, or under the named one
 *
 * Handlers write nothing but their request: anything shared would order the
 * threads and hide a race from ThreadSanitizer.
 */
#define _GNU_SOURCE
#include "check.h"

#include <sched.h>

/* After how many requests a program that is not stuck says so. */
enum { ALIVE_EVERY = 1 << 12 };
enum { REQUESTS_ALL = 1000000 };

typedef enum Trouble { NONE, SLEEPS, FAILS, STALLS } Trouble;

typedef struct Condition {
    const char *name;
    unsigned threads_nr, thread_requests_nr;
    bool one_cpu;
    Trouble trouble;
    unsigned requests; /* of REQUESTS_ALL */
} Condition;

static const Condition conditions[] = {
    {"1x1", 1, 1, false, NONE, 10000},
    {"1x1-one-cpu", 1, 1, true, NONE, 10000},
    {"1x4", 1, 4, false, NONE, 40000},
    {"1x4-one-cpu", 1, 4, true, NONE, 40000},
    {"1x64", 1, 64, false, NONE, 200000},
    {"1x64-one-cpu", 1, 64, true, NONE, 150000},
    {"2x4", 2, 4, false, NONE, 20000},
    {"2x4-one-cpu", 2, 4, true, NONE, 40000},
    {"2x64", 2, 64, false, NONE, 150000},
    {"2x64-one-cpu", 2, 64, true, NONE, 150000},
    {"16x4", 16, 4, false, NONE, 30000},
    {"16x4-one-cpu", 16, 4, true, NONE, 30000},
    {"64x64", 64, 64, false, NONE, 50000},
    {"64x64-one-cpu", 64, 64, true, NONE, 50000},
    {"sleeping", 4, 16, false, SLEEPS, 3000},
    {"sleeping-one-cpu", 4, 16, true, SLEEPS, 3000},
    {"stalling", 2, 8, false, STALLS, 8000},
    {"stalling-one-cpu", 16, 4, true, STALLS, 8000},
    {"failing", 2, 8, false, FAILS, 4000},
    {"failing-one-cpu", 4, 4, true, FAILS, 4000},
};

typedef struct Item {
    uint64_t input, output;
    unsigned handled;                    /* since it was submitted */
    uint64_t all_handled, all_submitted; /* in the queue's life */
} Item;

/* One queue's; the opaque of its operations. */
typedef struct Life {
    Trouble trouble;                      /* constant while it runs */
    uint64_t salt;                        /* constant while it runs */
    uint64_t left_handled, left_submitted; /* summed up by uninit */
} Life;

static uint64_t work(uint64_t input)
{
    input *= 0x9e3779b97f4a7c15u;
    return input ^ input >> 29;
}

static bool is_to_fail(const Life *life, uint64_t number)
{
    return life->trouble == FAILS && work(number + life->salt) % 256 == 0;
}

static void take_time(const Life *life, uint64_t number)
{
    uint64_t random = work(number + life->salt);

    if (life->trouble == SLEEPS && random % 4 == 0) {
        check_sleep((int64_t)(random >> 32) % 200000);
    } else if (life->trouble == STALLS) {
        for (unsigned turns = random % 1000 ? 20 : 20000; turns; turns--) {
            cpu_relax();
        }
    }
}

static int handle(void *request, void *thread_state, void *opaque)
{
    Item *item = request;
    const Life *life = opaque;

    (void)thread_state;
    take_time(life, item->input);
    item->output = work(item->input);
    item->handled++;
    item->all_handled++;
    return is_to_fail(life, item->input) ? -EIO : 0;
}

static void request_uninit(void *request, void *opaque)
{
    const Item *item = request;
    Life *life = opaque;

    life->left_handled += item->all_handled;
    life->left_submitted += item->all_submitted;
}

static void submit(ThreadedWorkqueue *queue, Item *item, uint64_t number)
{
    item->input = number;
    item->output = 0;
    item->handled = 0;
    item->all_submitted++;
    CHECK(!threaded_workqueue_submit_request(queue, item), "submit");
}

static void verify(const Life *life, const Item *item, uint64_t number)
{
    CHECK(item->input == number &&
              threaded_workqueue_request_sequence(item) == number,
          "order: %llu came as number %llu", (unsigned long long)item->input,
          (unsigned long long)number);
    CHECK(item->handled == 1, "once: number %llu was handled %u times",
          (unsigned long long)number, item->handled);
    CHECK(item->output == work(number), "wrong result");
    CHECK(!is_to_fail(life, number), "a request that failed was collected");
}

/*
 * Submits requests_nr requests, if none fails, and collects them with half of
 * the queue in flight.  The number that was collected.
 */
static uint64_t run(ThreadedWorkqueue *queue, const Life *life,
                    uint64_t requests_nr, uint64_t window, uint64_t *submitted)
{
    uint64_t collected = 0;
    int failed = 0;

    while (collected < requests_nr && !failed) {
        void *item;

        while (*submitted < requests_nr &&
               (item = threaded_workqueue_get_request(queue))) {
            submit(queue, item, (*submitted)++);
        }
        do {
            failed = threaded_workqueue_collect_request(queue, WAIT_FOREVER,
                                                        &item);
            if (failed) {
                break;
            }
            verify(life, item, collected++);
            threaded_workqueue_release_request(queue, item);
            if (collected % ALIVE_EVERY == 0) {
                check_alive();
            }
        } while (*submitted - collected > window / 2);
    }
    CHECK(!failed || (failed == -ECANCELED && life->trouble == FAILS),
          "collect: %d", failed);
    return collected;
}

static uint64_t handled_by_threads(const ThreadedWorkqueue *queue,
                                   unsigned threads_nr)
{
    uint64_t handled = 0;

    for (unsigned i = 0; i < threads_nr; i++) {
        ThreadedWorkqueueThreadStats stats;

        threaded_workqueue_thread_stats(queue, i, &stats);
        handled += stats.requests;
    }
    return handled;
}

/* One queue, until all is collected or one has failed.  Requests submitted. */
static uint64_t live(const Condition *condition, uint64_t requests_nr,
                     uint64_t salt)
{
    Life life = {.trouble = condition->trouble, .salt = salt};
    const ThreadedWorkqueueOps ops = {
        .thread_request_uninit = request_uninit,
        .thread_request_handler = handle,
        .request_size = sizeof(Item),
        .opaque = &life,
    };
    unsigned window = condition->threads_nr * condition->thread_requests_nr;
    ThreadedWorkqueue *queue =
        check_queue(condition->threads_nr, condition->thread_requests_nr, &ops,
                    NULL);
    ThreadedWorkqueueError error;
    uint64_t submitted = 0;
    uint64_t collected = run(queue, &life, requests_nr, window, &submitted);
    uint64_t handled = handled_by_threads(queue, condition->threads_nr);
    bool failed = threaded_workqueue_error(queue, &error);

    CHECK(failed == (collected < requests_nr), "%llu of %llu collected",
          (unsigned long long)collected, (unsigned long long)requests_nr);
    CHECK(!failed || (is_to_fail(&life, error.sequence) &&
                      error.status == -EIO && collected <= error.sequence),
          "wrong error");
    uint64_t unseen = threaded_workqueue_destroy(queue, WORKQUEUE_CANCEL);

    CHECK(submitted == collected + unseen && submitted == life.left_submitted,
          "conservation: %llu submitted, %llu collected, %llu unseen",
          (unsigned long long)submitted, (unsigned long long)collected,
          (unsigned long long)unseen);
    /* After an error, others may have been in their handlers. */
    CHECK(failed ? life.left_handled >= handled &&
                       life.left_handled <= submitted
                 : life.left_handled == submitted && handled == submitted,
          "conservation: %llu submitted, %llu handled, %llu by the threads",
          (unsigned long long)submitted, (unsigned long long)life.left_handled,
          (unsigned long long)handled);
    return submitted;
}

/* This thread, and those that it creates. */
static void bind_to_one_cpu(const cpu_set_t *allowed)
{
    cpu_set_t one;
    size_t cpu = 0;

    while (!CPU_ISSET(cpu, allowed)) {
        cpu++;
    }
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    CHECK(!sched_setaffinity(0, sizeof(one), &one), "not bound to one CPU");
}

static void torture(const Condition *condition, uint64_t requests_nr)
{
    cpu_set_t before;
    uint64_t submitted = 0, queues = 0;
    int64_t start = event_clock();

    check_phase = condition->name;
    sched_getaffinity(0, sizeof(before), &before);
    if (condition->one_cpu) {
        bind_to_one_cpu(&before);
    }
    while (submitted < requests_nr) {
        submitted += live(condition, requests_nr - submitted, ++queues);
    }
    sched_setaffinity(0, sizeof(before), &before);
    printf("%s: %llu requests, %llu queues, %.1f s\n", condition->name,
           (unsigned long long)submitted, (unsigned long long)queues,
           (double)(event_clock() - start) / (double)SECOND);
    check_operations += submitted;
}

int main(int argc, char **argv)
{
    const char *name = argc > 2 ? argv[2] : NULL;

    check_begin(argc, argv);
    for (unsigned i = 0; i < sizeof(conditions) / sizeof(*conditions); i++) {
        if (!name) {
            torture(&conditions[i], check_count(conditions[i].requests));
        } else if (!strcmp(name, conditions[i].name)) {
            torture(&conditions[i], check_count(REQUESTS_ALL));
        }
    }
    CHECK(check_operations, "there is no condition %s", name);
    return check_end();
}
