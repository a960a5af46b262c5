/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the steps of a hand-over cost on this machine, one by one: the
 * constants of queue_model.py.
 *
 *     queue_constants ROUNDS
 *
 * Prints one JSON object of nanoseconds, medians of ROUNDS rounds:
 *
 *   submit    get_request and submit_request, while the worker is busy
 *   collect   collect_request and release_request of a handled request
 *   dispatch  what a worker does for an empty request that waits for it
 *   line      a cache line from one CPU to the other
 *   wake      event_set when somebody sleeps: what the waker pays
 *   latency   from there until the woken thread runs, on an idle CPU
 *   switch    one thread puts itself to sleep and wakes the next on its CPU
 *
 * Needs two CPUs.
 */
#define _GNU_SOURCE
#include "atomics.h"
#include "event.h"
#include "workqueue.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BATCH = MAX_THREAD_REQUEST_NR, TURNS = 1000 };

static unsigned cpus[2];
static int64_t *samples;
static unsigned rounds;

/* --- Medians, and threads in their place --------------------------------------- */

static int compare(const void *a, const void *b)
{
    int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;

    return (one > other) - (one < other);
}

/* Of all rounds, each of which has count operations. */
static double median(unsigned count)
{
    qsort(samples, rounds, sizeof(*samples), compare);
    return (double)samples[rounds / 2] / count;
}

static void pin(unsigned cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set)) {
        perror("queue_constants: sched_setaffinity");
        exit(1);
    }
}

static void find_cpus(void)
{
    cpu_set_t set;
    unsigned found = 0;

    sched_getaffinity(0, sizeof(set), &set);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++) {
        if (CPU_ISSET(cpu, &set)) {
            cpus[found++] = cpu;
        }
    }
    if (found < 2) {
        fprintf(stderr, "queue_constants: there is one CPU only\n");
        exit(1);
    }
}

/* --- The queue: a batch behind a closed gate -------------------------------------- */

/* Most do nothing but answer: what else is done would be part of dispatch. */
enum { AT_GATE = 0, LAST = BATCH - 1, TIMED = BATCH };

typedef struct Item {
    uint64_t number; /* within the batch, or TIMED */
    uint64_t answer;
    int64_t begun; /* of the one that is TIMED */
} Item;

static SharedWord gate, entered, handled;

static int handle(void *request, void *thread_state, void *opaque)
{
    Item *item = request;

    (void)thread_state;
    (void)opaque;
    if (item->number == TIMED) {
        item->begun = event_clock();
    } else if (item->number == AT_GATE) {
        word_publish(&entered, 1);
        while (!word_observe(&gate)) {
            cpu_relax();
        }
    }
    item->answer = ~item->number;
    if (item->number == LAST) {
        word_publish(&handled, 1);
    }
    return 0;
}

static const ThreadedWorkqueueOps ops = {
    .thread_request_handler = handle,
    .request_size = sizeof(Item),
};

static ThreadedWorkqueue *make_queue(void)
{
    const ThreadedWorkqueueOptions options = {.cpus = &cpus[1], .cpus_nr = 1};
    ThreadedWorkqueue *queue =
        threaded_workqueue_create("constants", 1, BATCH, &ops, &options);

    if (!queue) {
        perror("queue_constants");
        exit(1);
    }
    return queue;
}

static void submit(ThreadedWorkqueue *queue, uint64_t number)
{
    Item *item = threaded_workqueue_get_request(queue);

    item->number = number;
    threaded_workqueue_submit_request(queue, item);
}

static int64_t collect(ThreadedWorkqueue *queue)
{
    void *request;

    if (threaded_workqueue_collect_request(queue, WAIT_FOREVER, &request) ||
        ((Item *)request)->answer != ~((Item *)request)->number) {
        abort();
    }
    threaded_workqueue_release_request(queue, request);
    return ((Item *)request)->begun;
}

typedef enum Part { SUBMIT, DISPATCH, COLLECT } Part;

static int64_t batch(ThreadedWorkqueue *queue, Part part)
{
    int64_t at[4];

    word_publish(&gate, 0);
    word_publish(&entered, 0);
    word_publish(&handled, 0);
    submit(queue, AT_GATE);
    while (!word_observe(&entered)) {
        cpu_relax();
    }
    at[0] = event_clock();
    for (unsigned i = AT_GATE + 1; i <= LAST; i++) {
        submit(queue, i);
    }
    at[1] = event_clock();
    word_publish(&gate, 1);
    while (!word_observe(&handled)) {
        cpu_relax();
    }
    at[2] = event_clock();
    for (unsigned i = 0; i < BATCH; i++) {
        collect(queue);
    }
    at[3] = event_clock();
    return at[part + 1] - at[part];
}

static double measure_part(Part part)
{
    ThreadedWorkqueue *queue = make_queue();

    for (unsigned i = 0; i < rounds; i++) {
        samples[i] = batch(queue, part);
    }
    threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN);
    return median(BATCH - (part != COLLECT));
}

/* The worker sleeps; what waking it costs us, or how long it takes. */
static double measure_wake(bool latency)
{
    ThreadedWorkqueue *queue = make_queue();

    for (unsigned i = 0; i < rounds; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        int64_t start = event_clock();

        submit(queue, TIMED);
        int64_t end = event_clock();
        int64_t begun = collect(queue);

        samples[i] = (latency ? begun : end) - start;
    }
    threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN);
    return median(1);
}

/* --- Two threads in turns ---------------------------------------------------------- */

typedef struct Turns {
    _Alignas(CACHE_LINE) SharedWord ball;
    _Alignas(CACHE_LINE) Event first, second;
    unsigned cpu; /* of the second player */
} Turns;

static void *return_ball(void *opaque)
{
    Turns *turns = opaque;

    pin(turns->cpu);
    for (uint64_t i = 1; i < 2 * (uint64_t)rounds * TURNS; i += 2) {
        while (word_observe(&turns->ball) != i) {
            cpu_relax();
        }
        word_publish(&turns->ball, i + 1);
    }
    return NULL;
}

static double measure_line(void)
{
    Turns turns = {.cpu = cpus[1]};
    pthread_t other;
    uint64_t ball = 1;

    if (pthread_create(&other, NULL, return_ball, &turns)) {
        abort();
    }
    for (unsigned round = 0; round < rounds; round++) {
        int64_t start = event_clock();

        for (unsigned i = 0; i < TURNS; i++, ball += 2) {
            word_publish(&turns.ball, ball);
            while (word_observe(&turns.ball) != ball + 1) {
                cpu_relax();
            }
        }
        samples[round] = event_clock() - start;
    }
    pthread_join(other, NULL);
    return median(2 * TURNS);
}

static void await(Event *event)
{
    event_wait(event, DEADLINE_NEVER);
    event_reset(event);
}

static void *return_event(void *opaque)
{
    Turns *turns = opaque;

    pin(turns->cpu);
    for (unsigned i = 0; i < rounds * TURNS; i++) {
        await(&turns->second);
        event_set(&turns->first);
    }
    return NULL;
}

static double measure_switch(void)
{
    Turns turns = {.cpu = cpus[0]};
    pthread_t other;

    event_init(&turns.first);
    event_init(&turns.second);
    if (pthread_create(&other, NULL, return_event, &turns)) {
        abort();
    }
    for (unsigned round = 0; round < rounds; round++) {
        int64_t start = event_clock();

        for (unsigned i = 0; i < TURNS; i++) {
            event_set(&turns.second);
            await(&turns.first);
        }
        samples[round] = event_clock() - start;
    }
    pthread_join(other, NULL);
    return median(2 * TURNS);
}

int main(int argc, char **argv)
{
    rounds = argc == 2 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
    samples = rounds ? calloc(rounds, sizeof(*samples)) : NULL;
    if (!samples) {
        fprintf(stderr, "usage: queue_constants ROUNDS\n");
        return 2;
    }
    find_cpus();
    pin(cpus[0]);
    printf("{\"submit\": %.1f, ", measure_part(SUBMIT));
    printf("\"dispatch\": %.1f, ", measure_part(DISPATCH));
    printf("\"collect\": %.1f, ", measure_part(COLLECT));
    printf("\"line\": %.1f, ", measure_line());
    printf("\"wake\": %.1f, ", measure_wake(false));
    printf("\"latency\": %.1f, ", measure_wake(true));
    printf("\"switch\": %.1f}\n", measure_switch());
    free(samples);
    return 0;
}
