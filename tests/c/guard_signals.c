/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What becomes of a SIGBUS, by whom it was sent and what was to be done with it
 * before the guard was installed.  Each case has a process of its own, because
 * the guard is installed once in a process's life.
 */
#define _GNU_SOURCE
#include "check.h"

#include "guard.h"

#include <sys/mman.h>
#include <sys/wait.h>

enum { PAGE = 4096, FOUND = 17, DONE = 18 };

static volatile sig_atomic_t asked;

static void on_sigbus(int signal)
{
    asked = signal;
}

static const volatile char *beyond_the_end(void)
{
    int fd = memfd_create("short", MFD_CLOEXEC);

    return mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
}

/* Reads behind the end of a file: whether the guard found that out. */
static bool shrank(void)
{
    const volatile char *content = beyond_the_end();
    Guard guard;

    if (!GUARD_ENTER(&guard, (const void *)content, PAGE)) {
        return true;
    }
    (void)*content;
    guard_leave(&guard);
    return false;
}

/* --- Cases, each of which ends the process ---------------------------------- */

static void guarded(void)
{
    _exit(shrank() && shrank() ? FOUND : DONE);
}

static void not_guarded(void)
{
    (void)*beyond_the_end();
    _exit(DONE);
}

static void sent(void)
{
    raise(SIGBUS);
    _exit(asked ? FOUND : DONE);
}

static void sent_and_then_guarded(void)
{
    raise(SIGBUS);
    guarded();
}

/* Who sends a signal has a number, which is not an address. */
static void sent_while_guarded(void)
{
    Guard guard;

    if (!GUARD_ENTER(&guard, NULL, SIZE_MAX)) {
        _exit(DONE);
    }
    raise(SIGBUS);
    guard_leave(&guard);
    _exit(asked ? FOUND : DONE);
}

static const struct Case {
    const char *name;
    void (*run)(void);
    void (*before)(int); /* the guard was installed */
    int code, signal;    /* with which it ends */
} cases[] = {
    {"guarded", guarded, SIG_DFL, FOUND, 0},
    {"guarded, ignored", guarded, SIG_IGN, FOUND, 0},
    {"guarded, handled", guarded, on_sigbus, FOUND, 0},
    {"not guarded", not_guarded, SIG_DFL, 0, SIGBUS},
    {"not guarded, ignored", not_guarded, SIG_IGN, 0, SIGBUS},
    {"sent", sent, SIG_DFL, 0, SIGBUS},
    {"sent, handled", sent, on_sigbus, FOUND, 0},
    {"sent, ignored", sent_and_then_guarded, SIG_IGN, FOUND, 0},
    {"sent while guarded", sent_while_guarded, on_sigbus, FOUND, 0},
};

static void check_case(const struct Case *at)
{
    int status = -1;

    check_phase = at->name;
    fflush(stdout);
    pid_t child = fork();

    if (!child) {
        signal(SIGBUS, at->before);
        if (!guard_install()) {
            at->run();
        }
        _exit(DONE);
    }
    CHECK(waitpid(child, &status, 0) == child, "waitpid");
    CHECK(at->signal ? WIFSIGNALED(status) && WTERMSIG(status) == at->signal
                     : WIFEXITED(status) && WEXITSTATUS(status) == at->code,
          "ended with status %#x", status);
    check_operations++;
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        check_case(&cases[i]);
    }
    return check_end();
}
