/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Create, with each step that can fail failing at its n-th occurrence, for
 * every n: the reason arrives in errno, and all that was made is unmade.
 * Linked with --wrap=aligned_alloc,--wrap=free,--wrap=pthread_create.
 */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>

enum { THREADS = 3, REQUESTS = 4, MAGIC = 0x4d41 };

typedef enum Step {
    STEP_ALLOCATE,
    STEP_START_THREAD,
    STEP_INIT_REQUEST,
    STEP_INIT_THREAD,
    STEPS
} Step;

/* Written by the creating thread, and by the thread that it waits for. */
static Step failing_step;
static unsigned failing_at; /* from 1; 0 for never */
static unsigned seen[STEPS];
static unsigned memory, requests; /* in use */
static atomic_uint threads;       /* initialised */

void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *pointer);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*start)(void *), void *argument);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void __wrap_free(void *pointer);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*start)(void *), void *argument);

static bool fails(Step step)
{
    return ++seen[step] == failing_at && step == failing_step;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    if (fails(STEP_ALLOCATE)) {
        errno = ENOMEM;
        return NULL;
    }
    memory++;
    return __real_aligned_alloc(alignment, size);
}

void __wrap_free(void *pointer)
{
    memory -= pointer != NULL;
    __real_free(pointer);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*start)(void *), void *argument)
{
    if (fails(STEP_START_THREAD)) {
        return EAGAIN;
    }
    return __real_pthread_create(thread, attr, start, argument);
}

static int request_init(void *request, void *opaque)
{
    (void)opaque;
    if (fails(STEP_INIT_REQUEST)) {
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
    if (fails(STEP_INIT_THREAD)) {
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
    CHECK(!memory, "at %u: %u allocations left", at, memory);
    CHECK(!requests, "at %u: %u requests left", at, requests);
    CHECK(!threads, "at %u: %u threads left", at, threads);
}

static void check_step(Step step, const char *name, int reason,
                       unsigned occurrences)
{
    ThreadedWorkqueue *queue = NULL;

    check_phase = name;
    for (unsigned at = 1; at <= occurrences + 1; at++) {
        check_alive();
        failing_step = step;
        failing_at = at;
        memset(seen, 0, sizeof(seen));
        errno = 0;
        queue = threaded_workqueue_create("faults", THREADS, REQUESTS, &ops,
                                          NULL);
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

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    for (unsigned i = 0; i < check_count(10); i++) {
        /* The queue, and each thread's requests and state. */
        check_step(STEP_ALLOCATE, "allocation", ENOMEM, 1 + 2 * THREADS);
        check_step(STEP_START_THREAD, "thread", EAGAIN, THREADS);
        check_step(STEP_INIT_REQUEST, "request_init", ENXIO,
                   THREADS * REQUESTS);
        check_step(STEP_INIT_THREAD, "thread_init", EPERM, THREADS);
    }
    return check_end();
}
