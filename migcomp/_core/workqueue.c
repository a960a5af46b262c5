/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The submitter's side of the queue; worker.c has the other one. */
#define _GNU_SOURCE
#include "workqueue_private.h"

#include <errno.h>
#include <unistd.h>

/* --- The list of submitted requests, oldest first ------------------------ */

static void list_append(ThreadedWorkqueue *queue, RequestHeader *header)
{
    header->older = queue->newest;
    header->newer = NULL;
    *(queue->newest ? &queue->newest->newer : &queue->oldest) = header;
    queue->newest = header;
}

static void list_remove(ThreadedWorkqueue *queue, RequestHeader *header)
{
    *(header->older ? &header->older->newer : &queue->oldest) = header->newer;
    *(header->newer ? &header->newer->older : &queue->newest) = header->older;
}

/* --- States of a request -------------------------------------------------- */

static Worker *header_worker(ThreadedWorkqueue *queue,
                             const RequestHeader *header)
{
    return &queue->workers[header->thread_index];
}

static uint64_t header_bit(const RequestHeader *header)
{
    return (uint64_t)1 << header->slot;
}

static bool is_reserved(const ThreadedWorkqueue *queue,
                        const RequestHeader *header)
{
    const Worker *worker = &queue->workers[header->thread_index];

    return worker->in_use & ~worker->submitted & header_bit(header);
}

static bool is_handled(ThreadedWorkqueue *queue, const RequestHeader *header)
{
    return !(worker_valid(header_worker(queue, header)) & header_bit(header));
}

static RequestHeader *payload_header(const void *request)
{
    return (RequestHeader *)request - 1;
}

static void *reserve_slot(ThreadedWorkqueue *queue, Worker *worker)
{
    uint64_t free_slots = ~worker->in_use & queue->slots_mask;

    if (!free_slots) {
        return NULL;
    }
    unsigned slot = first_slot_from(free_slots, worker->next_slot);

    worker->in_use |= (uint64_t)1 << slot;
    worker->next_slot = (slot + 1) % queue->thread_requests_nr;
    queue->free_nr--;
    return header_payload(worker_header(worker, slot));
}

static void *reserve_any_slot(ThreadedWorkqueue *queue)
{
    if (!queue->free_nr) {
        return NULL;
    }
    for (unsigned i = 0; i < queue->threads_nr; i++) {
        Worker *worker = &queue->workers[queue->next_thread];
        void *request = reserve_slot(queue, worker);

        queue->next_thread = (queue->next_thread + 1) % queue->threads_nr;
        if (request) {
            return request;
        }
    }
    return NULL;
}

/* The request is handled; it becomes reserved. */
static void take(ThreadedWorkqueue *queue, RequestHeader *header)
{
    list_remove(queue, header);
    header_worker(queue, header)->submitted &= ~header_bit(header);
    queue->depth--;
    queue->stats.collected++;
}

static void set_free(ThreadedWorkqueue *queue, RequestHeader *header)
{
    header_worker(queue, header)->in_use &= ~header_bit(header);
    queue->free_nr++;
}

/* --- Waiting --------------------------------------------------------------- */

/* 0, which has passed, when there is to be no wait. */
static int64_t deadline_after(int64_t timeout_ns)
{
    int64_t deadline;

    if (timeout_ns <= 0) {
        return 0;
    }
    if (__builtin_add_overflow(event_clock(), timeout_ns, &deadline)) {
        return DEADLINE_NEVER;
    }
    return deadline;
}

/* Whether the submitter need not wait for the request any longer. */
static bool is_settled(ThreadedWorkqueue *queue, const RequestHeader *header)
{
    return is_handled(queue, header) || word_observe(&queue->error);
}

static bool spin_until_settled(ThreadedWorkqueue *queue,
                               const RequestHeader *header, int64_t deadline)
{
    int64_t limit = event_clock() + queue->spin.limit_ns;
    int64_t end = limit < deadline ? limit : deadline;
    uint64_t turns = 0;
    bool settled;

    if (!queue->spin.limit_ns) {
        return false;
    }
    do {
        cpu_relax();
        settled = is_settled(queue, header);
        turns++;
    } while (!settled && (turns % SPIN_TURNS || spin_goes_on(end)));
    queue->stats.spins += turns;
    if (settled) {
        spin_paid(&queue->spin);
    } else if (end == limit) {
        spin_wasted(&queue->spin);
    }
    return settled;
}

static void wait_until_settled(ThreadedWorkqueue *queue,
                               const RequestHeader *header, int64_t deadline)
{
    Event *request_free = &header_worker(queue, header)->request_free;
    bool goes_on = !spin_until_settled(queue, header, deadline);

    while (goes_on) {
        event_reset(request_free);
        if (is_settled(queue, header)) {
            return;
        }
        int64_t asleep = event_clock();

        goes_on = event_wait(request_free, deadline);
        queue->stats.waits++;
        if (goes_on) {
            spin_learn(&queue->spin, event_clock() - asleep);
        }
    }
}

/*
 * Waits until the request is handled.  -ETIMEDOUT; -ECANCELED after an error,
 * also of another thread: its workers still hand back this request, which
 * sets the event.
 */
static int wait_for_handled(ThreadedWorkqueue *queue,
                            const RequestHeader *header, int64_t deadline)
{
    if (deadline && !is_settled(queue, header)) {
        wait_until_settled(queue, header, deadline);
    }
    /* In this order: a request that is handled may be the one that failed,
     * and then the error was there before. */
    bool handled = is_handled(queue, header);

    if (word_observe(&queue->error)) {
        return -ECANCELED;
    }
    return handled ? 0 : -ETIMEDOUT;
}

/* Gives the oldest request, which is handled, to thread_request_done. */
static void deliver_oldest(ThreadedWorkqueue *queue)
{
    RequestHeader *header = queue->oldest;

    take(queue, header);
    queue->ops->thread_request_done(header_payload(header),
                                    queue->ops->opaque);
    set_free(queue, header);
}

static void deliver_handled(ThreadedWorkqueue *queue)
{
    if (!queue->ops->thread_request_done) {
        return;
    }
    while (queue->oldest && is_handled(queue, queue->oldest) &&
           !word_observe(&queue->error)) {
        deliver_oldest(queue);
    }
}

/* --- The interface --------------------------------------------------------- */

static void *reserve(ThreadedWorkqueue *queue, uint32_t thread)
{
    return thread == ANY_THREAD ? reserve_any_slot(queue)
                                : reserve_slot(queue, &queue->workers[thread]);
}

int threaded_workqueue_get_request_timed(ThreadedWorkqueue *queue,
                                         uint32_t thread, int64_t timeout_ns,
                                         void **request)
{
    *request = NULL;
    if (thread != ANY_THREAD && thread >= queue->threads_nr) {
        return -EINVAL;
    }
    deliver_handled(queue);
    if (word_observe(&queue->error)) {
        return -ECANCELED;
    }
    *request = reserve(queue, thread);
    if (*request) {
        return 0;
    }
    queue->stats.busy++;
    for (int64_t deadline = deadline_after(timeout_ns); !*request;) {
        if (!queue->ops->thread_request_done || !queue->oldest) {
            return -EDEADLK;
        }
        int failed = wait_for_handled(queue, queue->oldest, deadline);

        if (failed) {
            return failed;
        }
        deliver_handled(queue);
        *request = reserve(queue, thread);
    }
    return 0;
}

void *threaded_workqueue_get_request(ThreadedWorkqueue *queue)
{
    void *request;

    threaded_workqueue_get_request_timed(queue, ANY_THREAD, 0, &request);
    return request;
}

int threaded_workqueue_submit_request(ThreadedWorkqueue *queue, void *request)
{
    RequestHeader *header = payload_header(request);
    Worker *worker = header_worker(queue, header);

    if (!is_reserved(queue, header)) {
        return -EINVAL;
    }
    header->sequence = queue->next_sequence++;
    header->status = 0;
    list_append(queue, header);
    worker->submitted |= header_bit(header);

    queue->depth++;
    queue->stats.submitted++;
    queue->stats.depth_sum += queue->depth;
    if (queue->depth > queue->stats.depth_max) {
        queue->stats.depth_max = queue->depth;
    }

    word_flip(&worker->fill, header_bit(header));
    if (event_set(&worker->request_valid)) {
        queue->stats.wakeups++;
    }
    return 0;
}

int threaded_workqueue_collect_request(ThreadedWorkqueue *queue,
                                       int64_t timeout_ns, void **request)
{
    RequestHeader *header = queue->oldest;

    *request = NULL;
    if (!header) {
        return word_observe(&queue->error) ? -ECANCELED : -ENOENT;
    }
    /* The clock is not asked for nothing: it costs as much as all the rest. */
    bool settled = is_settled(queue, header);
    int failed = wait_for_handled(queue, header,
                                  settled ? 0 : deadline_after(timeout_ns));

    if (failed) {
        return failed;
    }
    take(queue, header);
    *request = header_payload(header);
    return 0;
}

void *threaded_workqueue_poll_request(ThreadedWorkqueue *queue)
{
    for (unsigned i = 0; i < queue->threads_nr; i++) {
        Worker *worker = &queue->workers[queue->poll_thread];
        uint64_t handled = worker->submitted & ~worker_valid(worker);

        if (word_observe(&queue->error)) {
            return NULL;
        }
        queue->poll_thread = (queue->poll_thread + 1) % queue->threads_nr;
        if (handled) {
            unsigned slot = first_slot_from(handled, worker->poll_slot);
            RequestHeader *header = worker_header(worker, slot);

            worker->poll_slot = (slot + 1) % queue->thread_requests_nr;
            take(queue, header);
            return header_payload(header);
        }
    }
    return NULL;
}

int threaded_workqueue_release_request(ThreadedWorkqueue *queue, void *request)
{
    RequestHeader *header = payload_header(request);

    if (!is_reserved(queue, header)) {
        return -EINVAL;
    }
    set_free(queue, header);
    return 0;
}

int threaded_workqueue_wait_for_requests(ThreadedWorkqueue *queue,
                                         int64_t timeout_ns)
{
    int64_t deadline = deadline_after(timeout_ns);
    RequestHeader *header = queue->oldest;

    while (header) {
        RequestHeader *newer = header->newer;
        int failed = wait_for_handled(queue, header, deadline);

        if (failed) {
            return failed;
        }
        if (queue->ops->thread_request_done) {
            deliver_oldest(queue);
        }
        header = newer;
    }
    return word_observe(&queue->error) ? -ECANCELED : 0;
}

uint64_t threaded_workqueue_request_sequence(const void *request)
{
    return payload_header(request)->sequence;
}

unsigned threaded_workqueue_request_thread(const void *request)
{
    return payload_header(request)->thread_index;
}

bool threaded_workqueue_error(const ThreadedWorkqueue *queue,
                              ThreadedWorkqueueError *error)
{
    uint64_t claimed = word_observe(&queue->error);

    if (!claimed) {
        return false;
    }
    const Worker *worker =
        &queue->workers[(claimed - 1) / MAX_THREAD_REQUEST_NR];
    RequestHeader *header =
        worker_header(worker, (claimed - 1) % MAX_THREAD_REQUEST_NR);

    *error = (ThreadedWorkqueueError){
        .status = header->status,
        .sequence = header->sequence,
        .request = header_payload(header),
    };
    return true;
}
