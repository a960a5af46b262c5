/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MIGCOMP_CLOCK_H
#define MIGCOMP_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Nanoseconds. */
static inline int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* CPU time of this thread. */
static inline uint64_t thread_cpu_ns(void)
{
    return (uint64_t)clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

#endif
