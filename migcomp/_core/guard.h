/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading a mapped file that may shrink meanwhile.
 *
 * The kernel answers a read beyond the new end with SIGBUS.  Between
 * GUARD_ENTER and guard_leave, such a signal of the calling thread for an
 * address in the guarded range makes GUARD_ENTER return a second time, with
 * false.  Any other SIGBUS goes where it went before.
 *
 *     Guard guard;
 *     if (!GUARD_ENTER(&guard, start, size)) { ...the file shrank... }
 *     ...read...
 *     guard_leave(&guard);
 *
 * Code in between must not hold a lock, and what it allocates may leak.
 */
#ifndef MIGCOMP_GUARD_H
#define MIGCOMP_GUARD_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Guard {
    sigjmp_buf jump;
    uintptr_t start, end;
} Guard;

/* Installs the handler, once in a process.  Negative errno on failure. */
int guard_install(void);

void guard_arm(Guard *guard, const void *start, size_t size);
/* NULL is allowed. */
void guard_leave(Guard *guard);

#define GUARD_ENTER(guard, start, size) \
    (guard_arm(guard, start, size), sigsetjmp((guard)->jump, 0) == 0)

#endif
