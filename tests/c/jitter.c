/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Linked around the events of a program (ld --wrap), it holds threads up now
 * and then before and after each step of going to sleep and waking.  The
 * windows in which a wake-up could get lost become wide enough to be hit in
 * every run; a queue without such windows does not notice.
 */
#define _GNU_SOURCE
#include "event.h"

#include <sched.h>
#include <time.h>

void __real_event_reset(Event *event);
bool __real_event_set(Event *event);
bool __real_event_wait(Event *event, int64_t deadline_ns);
void __wrap_event_reset(Event *event);
bool __wrap_event_set(Event *event);
bool __wrap_event_wait(Event *event, int64_t deadline_ns);

static void hold_up(void)
{
    static _Thread_local uint64_t state;

    if (!state) {
        state = (uintptr_t)&state | 1;
    }
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    if (state % 16 == 0) {
        nanosleep(&(struct timespec){.tv_nsec = (long)(state >> 32) % 50000},
                  NULL);
    } else if (state % 4 == 0) {
        sched_yield();
    }
}

void __wrap_event_reset(Event *event)
{
    hold_up();
    __real_event_reset(event);
    hold_up();
}

bool __wrap_event_set(Event *event)
{
    hold_up();
    bool woken = __real_event_set(event);

    hold_up();
    return woken;
}

bool __wrap_event_wait(Event *event, int64_t deadline_ns)
{
    hold_up();
    return __real_event_wait(event, deadline_ns);
}
