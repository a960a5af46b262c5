/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Queues that are destroyed with work in flight, thousands of times: no hang,
 * every init gets its uninit, and the count of unseen results is right.
 */
#define _GNU_SOURCE
#include "check.h"

#define THREADS_MOST 4
#define MAGIC 0x7265717565737421u /* from init to uninit */

typedef struct Item {
    uint64_t magic;
    uint64_t submitted, handled, seen;
} Item;

typedef struct ThreadState {
    uint64_t magic;
    unsigned index;
} ThreadState;

/* Of one queue: its opaque. */
typedef struct Life {
    unsigned inits, uninits; /* of requests; the submitter's */
    uint64_t submitted, seen;
    uint64_t left_submitted, left_handled; /* summed up by uninit */
    /* Written by the threads, each its own. */
    unsigned thread_inits[THREADS_MOST], thread_uninits[THREADS_MOST];
    uint64_t handled_late[THREADS_MOST]; /* begun after destroy was called */
    SharedWord destroying;
    uint64_t handler_ns;
} Life;

static int request_init(void *request, void *opaque)
{
    Item *item = request;
    Life *life = opaque;

    CHECK(!item->magic, "the memory of a request is not zeroed");
    item->magic = MAGIC;
    life->inits++;
    return 0;
}

static void request_uninit(void *request, void *opaque)
{
    Item *item = request;
    Life *life = opaque;

    CHECK(item->magic == MAGIC, "uninit without init");
    item->magic = 0;
    life->uninits++;
    life->left_submitted += item->submitted;
    life->left_handled += item->handled;
    CHECK(item->handled <= item->submitted, "handled more than submitted");
}

static int thread_init(void *thread_state, unsigned thread_index, void *opaque)
{
    ThreadState *state = thread_state;
    Life *life = opaque;

    CHECK(!state->magic, "the memory of a thread is not zeroed");
    state->magic = MAGIC;
    state->index = thread_index;
    life->thread_inits[thread_index]++;
    return 0;
}

static void thread_uninit(void *thread_state, void *opaque)
{
    ThreadState *state = thread_state;
    Life *life = opaque;

    CHECK(state->magic == MAGIC, "thread_uninit without thread_init");
    state->magic = 0;
    life->thread_uninits[state->index]++;
}

static int handle(void *request, void *thread_state, void *opaque)
{
    Item *item = request;
    ThreadState *state = thread_state;
    Life *life = opaque;

    CHECK(state->magic == MAGIC, "handler without thread_init");
    if (word_observe(&life->destroying)) {
        life->handled_late[state->index]++;
    }
    if (life->handler_ns) {
        check_sleep((int64_t)life->handler_ns);
    }
    item->handled++;
    return 0;
}

static void see(Item *item, Life *life)
{
    item->seen++;
    life->seen++;
    CHECK(item->seen == item->handled && item->seen == item->submitted,
          "lost or handled twice");
}

static void done(void *request, void *opaque)
{
    see(request, opaque);
}

static void work_for_a_while(ThreadedWorkqueue *queue, Life *life,
                             const ThreadedWorkqueueOps *ops, uint64_t turns,
                             uint64_t *random)
{
    void *item;

    while (turns--) {
        item = threaded_workqueue_get_request(queue);
        if (item) {
            ((Item *)item)->submitted++;
            life->submitted++;
            threaded_workqueue_submit_request(queue, item);
        }
        if (!ops->thread_request_done && check_random(random) % 3 == 0 &&
            !threaded_workqueue_collect_request(queue, 0, &item)) {
            see(item, life);
            threaded_workqueue_release_request(queue, item);
        }
    }
    if (check_random(random) % 4 == 0) {
        check_sleep((int64_t)(check_random(random) % 100000));
    }
    /* A request that is held, but not submitted, must not matter. */
    threaded_workqueue_get_request(queue);
}

static void live(unsigned threads_nr, unsigned thread_requests_nr,
                 uint64_t turns, bool with_done, ThreadedWorkqueueEnd end,
                 uint64_t handler_ns, uint64_t *random)
{
    Life life = {.handler_ns = handler_ns};
    ThreadedWorkqueueOps ops = {
        .thread_request_init = request_init,
        .thread_request_uninit = request_uninit,
        .thread_request_handler = handle,
        .thread_request_done = with_done ? done : NULL,
        .thread_init = thread_init,
        .thread_uninit = thread_uninit,
        .request_size = sizeof(Item),
        .thread_state_size = sizeof(ThreadState),
        .opaque = &life,
    };
    ThreadedWorkqueue *queue =
        check_queue(threads_nr, thread_requests_nr, &ops, NULL);

    work_for_a_while(queue, &life, &ops, turns, random);
    word_publish(&life.destroying, 1);
    uint64_t unseen = threaded_workqueue_destroy(queue, end);

    CHECK(unseen == life.submitted - life.seen, "unseen: %llu of %llu - %llu",
          (unsigned long long)unseen, (unsigned long long)life.submitted,
          (unsigned long long)life.seen);
    CHECK(life.inits == threads_nr * thread_requests_nr &&
              life.uninits == life.inits,
          "%u uninits for %u inits", life.uninits, life.inits);
    CHECK(life.left_submitted == life.submitted, "a request was lost");
    if (end == WORKQUEUE_DRAIN) {
        CHECK(life.left_handled == life.submitted, "drained %llu of %llu",
              (unsigned long long)life.left_handled,
              (unsigned long long)life.submitted);
        CHECK(!with_done || !unseen, "drained, but not done");
    }
    for (unsigned i = 0; i < threads_nr; i++) {
        CHECK(life.thread_inits[i] == 1 && life.thread_uninits[i] == 1,
              "thread init %u, uninit %u", life.thread_inits[i],
              life.thread_uninits[i]);
        /* One that it is about to begin; more if this thread is held up. */
        CHECK(end == WORKQUEUE_DRAIN || !handler_ns ||
                  life.handled_late[i] <= 3,
              "late: thread %u began %llu requests after the cancel", i,
              (unsigned long long)life.handled_late[i]);
    }
    check_operations++;
}

int main(int argc, char **argv)
{
    uint64_t random = 0x9e3779b97f4a7c15u;
    unsigned cycles;

    check_begin(argc, argv);
    cycles = check_count(2000);
    for (unsigned i = 0; i < cycles; i++) {
        uint64_t choice = check_random(&random);

        check_phase = "short lives";
        live(1 + (unsigned)(choice % THREADS_MOST),
             1 + (unsigned)((choice >> 8) % 8), (choice >> 16) % 20,
             choice >> 24 & 1, choice >> 25 & 1, 0, &random);
    }
    check_phase = "slow handlers";
    for (unsigned i = 0; i < 4; i++) {
        live(THREADS_MOST, 8, 32, i & 1, i >> 1 & 1, 10 * MS, &random);
    }
    return check_end();
}
