/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A manual-reset event on one futex word, for one waiter and one setter.
 *
 * The waiter's order is always: event_reset, look whether there is something
 * to do, only then event_wait.  The setter makes the work visible first and
 * calls event_set afterwards.  Pairing P3 in atomics.h says why no wake-up is
 * lost.
 */
#ifndef MIGCOMP_EVENT_H
#define MIGCOMP_EVENT_H

#include "atomics.h"

/* Deadlines are absolute nanoseconds of CLOCK_MONOTONIC. */
#define DEADLINE_NEVER INT64_MAX

typedef struct Event {
    SignalWord word; /* EVENT_* in event.c; written by waiter and setter */
} Event;

void event_init(Event *event);

/* Waiter only. */
void event_reset(Event *event);

/* Setter only.  Returns true when a sleeping waiter had to be woken. */
bool event_set(Event *event);

/*
 * Waiter only.  Returns true once the event is set, false when the deadline
 * passed before.  Signals do not end the wait; a kernel that refuses futex
 * calls turns it into polling each millisecond, never into an error.
 */
bool event_wait(Event *event, int64_t deadline_ns);

/* Now, in nanoseconds of CLOCK_MONOTONIC. */
int64_t event_clock(void);

#endif
