/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the designs with locks have in common. */
#ifndef MIGCOMP_BENCH_LOCKS_H
#define MIGCOMP_BENCH_LOCKS_H

#include "atomics.h"
#include "event.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A condition that waits on our clock. */
static inline void condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

/* 0 or ETIMEDOUT; a deadline of 0 is not set yet, and becomes timeout_ns from
 * now. */
static inline int condition_wait(pthread_cond_t *condition,
                                 pthread_mutex_t *lock, int64_t *deadline,
                                 int64_t timeout_ns)
{
    if (!*deadline) {
        *deadline = event_clock() + timeout_ns;
    }
    struct timespec until = {*deadline / 1000000000, *deadline % 1000000000};

    return pthread_cond_timedwait(condition, lock, &until);
}

/* Zeroed, and on cache lines of its own; NULL with errno set. */
static inline void *lines_alloc(size_t size)
{
    void *memory;

    size = (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    memory = aligned_alloc(CACHE_LINE, size);
    if (memory) {
        memset(memory, 0, size);
    }
    return memory;
}

#endif
