/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

static _Thread_local Guard *volatile armed;

/* Written once by install, before any guard is armed. */
static struct sigaction previous;
static int install_status;

static void on_sigbus(int signal, siginfo_t *info, void *context)
{
    Guard *guard = armed;
    uintptr_t address = (uintptr_t)info->si_addr;

    if (guard && info->si_code > 0 && address >= guard->start &&
        address < guard->end) {
        armed = NULL;
        /* The jump does not restore the mask of signals, and it may have been
         * changed for this handler (ThreadSanitizer blocks all). */
        pthread_sigmask(SIG_SETMASK, &((ucontext_t *)context)->uc_sigmask,
                        NULL);
        siglongjmp(guard->jump, 1);
    }
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(signal, info, context);
    } else if (previous.sa_handler != SIG_DFL &&
               previous.sa_handler != SIG_IGN) {
        previous.sa_handler(signal);
    } else if (info->si_code > 0) {
        /* The access is repeated and ends the process as it used to. */
        sigaction(SIGBUS, &previous, NULL);
    } else if (previous.sa_handler == SIG_DFL) {
        /* Sent by somebody, so that nothing is repeated. */
        sigaction(SIGBUS, &previous, NULL);
        raise(SIGBUS);
    }
}

static void install(void)
{
    /* SA_NODEFER: leaving by siglongjmp must not leave SIGBUS blocked. */
    struct sigaction action = {
        .sa_sigaction = on_sigbus,
        .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK,
    };

    sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, &previous)) {
        install_status = -errno;
    }
}

int guard_install(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, install);
    return install_status;
}

void guard_arm(Guard *guard, const void *start, size_t size)
{
    guard->start = (uintptr_t)start;
    guard->end = guard->start + size;
    armed = guard;
}

void guard_leave(Guard *guard)
{
    if (guard) {
        armed = NULL;
    }
}
