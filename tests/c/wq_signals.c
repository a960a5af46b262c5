/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Signals sent to the process are the program's affair, so threads block
 * them.  Those that an instruction raises must stay deliverable: the kernel
 * ends a process that blocks them, and no handler is asked.
 */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>

enum { THREADS = 3, PAGE = 4096 };

static int inspect(void *request, void *thread_state, void *opaque)
{
    static const int raised[] = {SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP};
    static const int sent[] = {SIGALRM, SIGCHLD, SIGHUP,  SIGINT,
                               SIGTERM, SIGUSR1, SIGWINCH};
    sigset_t blocked;

    (void)request;
    (void)thread_state;
    (void)opaque;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    for (unsigned i = 0; i < sizeof(raised) / sizeof(*raised); i++) {
        CHECK(!sigismember(&blocked, raised[i]), "signal %d is blocked",
              raised[i]);
    }
    for (unsigned i = 0; i < sizeof(sent) / sizeof(*sent); i++) {
        CHECK(sigismember(&blocked, sent[i]), "signal %d is not blocked",
              sent[i]);
    }
    return 0;
}

static _Thread_local sigjmp_buf reading;

static void on_sigbus(int number)
{
    (void)number;
    siglongjmp(reading, 1);
}

/* opaque is a mapped page beyond the end of its file. */
static int read_cut_off(void *request, void *thread_state, void *opaque)
{
    (void)thread_state;
    if (sigsetjmp(reading, 1)) {
        *(bool *)request = true;
        return 0;
    }
    return *(volatile char *)opaque;
}

static void run(const ThreadedWorkqueueOps *ops, bool expected)
{
    ThreadedWorkqueue *queue = check_queue(THREADS, 4, ops, NULL);
    void *request;

    while ((request = threaded_workqueue_get_request(queue))) {
        threaded_workqueue_submit_request(queue, request);
    }
    while (!threaded_workqueue_collect_request(queue, WAIT_FOREVER,
                                               &request)) {
        CHECK(*(bool *)request == expected, "no signal was raised");
        check_operations++;
    }
    threaded_workqueue_destroy(queue, WORKQUEUE_CANCEL);
}

static void check_masks(void)
{
    const ThreadedWorkqueueOps ops = {
        .thread_request_handler = inspect,
        .request_size = sizeof(bool),
    };
    sigset_t before, after;

    check_phase = "signal masks";
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    run(&ops, false);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int number = 1; number < SIGRTMIN; number++) {
        CHECK(sigismember(&before, number) == sigismember(&after, number),
              "signal %d of the submitter", number);
    }
}

static void check_cut_off(void)
{
    FILE *file = tmpfile();
    void *page = file ? mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fileno(file), 0)
                      : MAP_FAILED;
    const ThreadedWorkqueueOps ops = {
        .thread_request_handler = read_cut_off,
        .request_size = sizeof(bool),
        .opaque = page,
    };

    check_phase = "a file that was cut off";
    signal(SIGBUS, on_sigbus);
    CHECK(page != MAP_FAILED, "no mapping");
    if (page != MAP_FAILED) {
        run(&ops, true);
        munmap(page, PAGE);
    }
    if (file) {
        fclose(file);
    }
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    for (unsigned i = 0; i < check_count(20); i++) {
        check_masks();
        check_cut_off();
    }
    return check_end();
}
