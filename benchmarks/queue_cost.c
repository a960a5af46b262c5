/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What handing over a request costs: one submitter, one worker with nothing
 * to do in its handler, so that only the queue is left to measure.
 *
 *     queue_cost REQUESTS
 *
 * Prints one JSON object with a row for each pattern and size of the queue:
 *
 *   pipelined  submit while a request is free, else collect the oldest one:
 *              how the pipeline uses the queue, and what keeps a worker busy
 *   batch      submit until none is free, then collect them all
 *   lockstep   a batch of one: every hand-over is waited for
 */
#include "event.h"
#include "workqueue.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef void Pattern(ThreadedWorkqueue *queue, uint64_t requests);

typedef struct Row {
    const char *name;
    Pattern *run;
    unsigned size; /* requests of the thread */
} Row;

static int handle_nothing(void *request, void *thread_state, void *opaque)
{
    (void)request;
    (void)thread_state;
    (void)opaque;
    return 0;
}

static void collect_oldest(ThreadedWorkqueue *queue)
{
    void *request;

    if (threaded_workqueue_collect_request(queue, WAIT_FOREVER, &request)) {
        abort();
    }
    threaded_workqueue_release_request(queue, request);
}

/* The number of requests that were free, at most most. */
static unsigned submit_free(ThreadedWorkqueue *queue, uint64_t most)
{
    unsigned submitted = 0;

    while (submitted < most) {
        void *request = threaded_workqueue_get_request(queue);

        if (!request) {
            break;
        }
        threaded_workqueue_submit_request(queue, request);
        submitted++;
    }
    return submitted;
}

static void pipelined(ThreadedWorkqueue *queue, uint64_t requests)
{
    unsigned in_queue = 0;

    while (requests) {
        unsigned submitted = submit_free(queue, requests);

        requests -= submitted;
        in_queue += submitted;
        if (!submitted) {
            collect_oldest(queue);
            in_queue--;
        }
    }
    while (in_queue--) {
        collect_oldest(queue);
    }
}

static void batch(ThreadedWorkqueue *queue, uint64_t requests)
{
    while (requests) {
        unsigned submitted = submit_free(queue, requests);

        requests -= submitted;
        while (submitted--) {
            collect_oldest(queue);
        }
    }
}

static const Row rows[] = {
    {"pipelined", pipelined, 4}, {"pipelined", pipelined, 16},
    {"pipelined", pipelined, 64}, {"batch", batch, 4},
    {"batch", batch, 16}, {"batch", batch, 64},
    {"lockstep", batch, 1},
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static void print_row(const Row *row, uint64_t requests)
{
    const ThreadedWorkqueueOps ops = {
        .thread_request_handler = handle_nothing,
        .request_size = 64,
    };
    ThreadedWorkqueueStats before, after;
    ThreadedWorkqueueThreadStats worker_before, worker;
    ThreadedWorkqueue *queue =
        threaded_workqueue_create("cost", 1, row->size, &ops, NULL);

    if (!queue) {
        perror("queue_cost");
        exit(1);
    }
    /* First both sides learn for how long spinning is worth it. */
    row->run(queue, requests / 10 + 1);
    threaded_workqueue_stats(queue, &before);
    threaded_workqueue_thread_stats(queue, 0, &worker_before);
    int64_t elapsed = -event_clock();

    row->run(queue, requests);
    elapsed += event_clock();
    threaded_workqueue_stats(queue, &after);
    threaded_workqueue_thread_stats(queue, 0, &worker);
    threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN);
    printf("  {\"pattern\": \"%s\", \"requests_per_thread\": %u, "
           "\"ns_per_request\": %.2f, \"submitter_sleeps\": %" PRIu64
           ", \"worker_sleeps\": %" PRIu64 "}",
           row->name, row->size, (double)elapsed / (double)requests,
           after.waits - before.waits, worker.sleeps - worker_before.sleeps);
}

int main(int argc, char **argv)
{
    uint64_t requests = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;

    if (!requests) {
        fprintf(stderr, "usage: queue_cost REQUESTS\n");
        return 2;
    }
    printf("{\"requests\": %" PRIu64 ", \"rows\": [\n", requests);
    for (size_t i = 0; i < ROWS; i++) {
        print_row(&rows[i], requests);
        printf(i + 1 < ROWS ? ",\n" : "]}\n");
    }
    return 0;
}
