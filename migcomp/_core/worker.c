/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The worker's side of the queue: everything here runs on its thread. */
#include "workqueue_private.h"

#include <errno.h>

#define NO_SLOT UINT32_MAX

static unsigned find_valid_slot(const Worker *worker)
{
    uint64_t valid = worker_valid(worker);

    return valid ? first_slot_from(valid, worker->cursor) : NO_SLOT;
}

static unsigned spin_for_slot(Worker *worker)
{
    int64_t end = event_clock() + worker->spin.limit_ns;
    uint64_t turns = 0;
    unsigned slot = NO_SLOT;

    if (!worker->spin.limit_ns) {
        return NO_SLOT;
    }
    do {
        cpu_relax();
        slot = find_valid_slot(worker);
        turns++;
    } while (slot == NO_SLOT &&
             (turns % SPIN_TURNS || spin_goes_on(end)));
    counter_add(&worker->spins, turns);
    if (slot != NO_SLOT) {
        spin_paid(&worker->spin);
    } else {
        spin_wasted(&worker->spin);
    }
    return slot;
}

/* NO_SLOT when the thread has to end. */
static unsigned wait_for_slot(Worker *worker)
{
    const SharedWord *control = &worker->queue->control;

    for (;;) {
        /* Reset, then look, then sleep: any other order loses a wake-up. */
        event_reset(&worker->request_valid);
        uint64_t wish = word_observe(control);
        unsigned slot = find_valid_slot(worker);

        if (wish == CONTROL_CANCEL) {
            return NO_SLOT;
        }
        if (slot != NO_SLOT || wish == CONTROL_DRAIN) {
            return slot;
        }
        slot = spin_for_slot(worker);
        if (slot != NO_SLOT) {
            return slot;
        }

        int64_t asleep = event_clock();

        event_wait(&worker->request_valid, DEADLINE_NEVER);
        counter_add(&worker->sleeps, 1);
        spin_learn(&worker->spin, event_clock() - asleep);
    }
}

static void handle_slot(Worker *worker, unsigned slot)
{
    ThreadedWorkqueue *queue = worker->queue;
    const ThreadedWorkqueueOps *ops = queue->ops;
    RequestHeader *header = worker_header(worker, slot);

    if (word_observe(&queue->error)) {
        header->status = -ECANCELED;
    } else {
        int status = ops->thread_request_handler(header_payload(header),
                                                 worker->state, ops->opaque);

        counter_add(&worker->handled, 1);
        if (status) {
            header->status = status;
            word_claim(&queue->error,
                       1 + (uint64_t)worker->index * MAX_THREAD_REQUEST_NR +
                           slot);
        }
    }
    word_flip(&worker->done, (uint64_t)1 << slot);
    if (event_set(&worker->request_free)) {
        counter_add(&worker->wakeups, 1);
    }
}

void *worker_run(void *opaque)
{
    Worker *worker = opaque;
    ThreadedWorkqueue *queue = worker->queue;
    const ThreadedWorkqueueOps *ops = queue->ops;

    if (ops->thread_init) {
        worker->init_status =
            ops->thread_init(worker->state, worker->index, ops->opaque);
    }
    /* From here on the worker may be destroyed if init_status is not 0. */
    int failed = worker->init_status;

    event_set(&worker->request_free);
    if (failed) {
        return NULL;
    }

    for (;;) {
        unsigned slot = word_observe(&queue->control) == CONTROL_CANCEL
                            ? NO_SLOT
                            : find_valid_slot(worker);

        if (slot == NO_SLOT) {
            slot = wait_for_slot(worker);
        }
        if (slot == NO_SLOT) {
            break;
        }
        handle_slot(worker, slot);
        worker->cursor = (slot + 1) % queue->thread_requests_nr;
    }

    if (ops->thread_uninit) {
        ops->thread_uninit(worker->state, ops->opaque);
    }
    return NULL;
}
