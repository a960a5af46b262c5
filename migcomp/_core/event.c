/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "event.h"

#include "clock.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { EVENT_UNSET, EVENT_SET, EVENT_ASLEEP };

static const int64_t SECOND_NS = 1000000000;

int64_t event_clock(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

void event_init(Event *event)
{
    atomic_init(&event->word, EVENT_UNSET);
}

void event_reset(Event *event)
{
    signal_exchange(&event->word, EVENT_UNSET);
}

/* After a call that the kernel refused. */
static void doze(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static bool wake_sleeper(Event *event)
{
    return syscall(SYS_futex, &event->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL,
                   0) >= 0;
}

bool event_set(Event *event)
{
    if (signal_exchange(&event->word, EVENT_SET) != EVENT_ASLEEP) {
        return false;
    }
    /* Nobody else will wake the waiter.  Where the kernel refuses all calls,
     * he was never put to sleep and needs none. */
    if (!wake_sleeper(event)) {
        doze();
        wake_sleeper(event);
    }
    return true;
}

static void sleep_while_asleep(Event *event, int64_t deadline_ns)
{
    struct timespec until = {
        .tv_sec = deadline_ns / SECOND_NS,
        .tv_nsec = deadline_ns % SECOND_NS,
    };
    /* FUTEX_WAIT_BITSET, unlike FUTEX_WAIT, takes an absolute deadline. */
    long failed = syscall(SYS_futex, &event->word, FUTEX_WAIT_BITSET_PRIVATE,
                          EVENT_ASLEEP,
                          deadline_ns == DEADLINE_NEVER ? NULL : &until, NULL,
                          FUTEX_BITSET_MATCH_ANY);

    if (failed && errno != EAGAIN && errno != EINTR && errno != ETIMEDOUT) {
        doze();
    }
}

bool event_wait(Event *event, int64_t deadline_ns)
{
    if (!signal_replace(&event->word, EVENT_UNSET, EVENT_ASLEEP)) {
        return true;
    }
    while (signal_observe(&event->word) != EVENT_SET) {
        if (deadline_ns != DEADLINE_NEVER && event_clock() >= deadline_ns) {
            /* A set that comes in between wins: the caller must not miss it. */
            return !signal_replace(&event->word, EVENT_ASLEEP, EVENT_UNSET);
        }
        sleep_while_asleep(event, deadline_ns);
    }
    return true;
}
