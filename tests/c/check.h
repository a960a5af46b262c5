/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the test programs of the workqueue have in common: counting violations
 * and operations, a watchdog against hangs, random numbers.
 *
 *     program [scale]       scale multiplies the number of operations
 *     CHECK_WATCHDOG        seconds without progress that count as a hang
 *     CHECK_STOP            set: the first violation ends the program
 */
#ifndef MIGCOMP_CHECK_H
#define MIGCOMP_CHECK_H

#include <errno.h>
#include <limits.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "event.h"
#include "workqueue.h"

#define MS INT64_C(1000000)
#define SECOND INT64_C(1000000000)
#define PRINTED_MOST 10
#define WATCHDOG_SECONDS 120

/*
 * Touched only when something is wrong: an atomic that every handler wrote
 * would order the threads and hide from ThreadSanitizer what is missing.
 */
static atomic_uint check_violations;
static const char *volatile check_phase = "start";
static double check_scale = 1;
static unsigned check_patience;
static uint64_t check_operations;
static int64_t check_started;

__attribute__((format(printf, 3, 4))) static inline void
check_fail(const char *file, int line, const char *format, ...)
{
    va_list arguments;

    if (check_violations++ >= PRINTED_MOST) {
        return;
    }
    va_start(arguments, format);
    printf("%s:%d: in %s: ", file, line, check_phase);
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    if (getenv("CHECK_STOP")) {
        printf("violations: 1\n");
        fflush(stdout);
        _exit(1);
    }
}

/* CHECK(condition, "what is wrong %d", number) */
#define CHECK(condition, ...)                          \
    do {                                               \
        if (!(condition)) {                            \
            check_fail(__FILE__, __LINE__, __VA_ARGS__); \
        }                                              \
    } while (0)

static inline void check_hang(int signal)
{
    static const char before[] = "hang in ", after[] = "\nviolations: 1\n";
    const char *phase = check_phase;
    ssize_t written = write(STDOUT_FILENO, before, sizeof(before) - 1);

    (void)signal;
    written += write(STDOUT_FILENO, phase, strlen(phase));
    written += write(STDOUT_FILENO, after, sizeof(after) - 1);
    _exit(written < 0 ? 3 : 2);
}

/*
 * Whenever a program gets on, and first thing in a child process, to which
 * fork does not hand the alarm down.
 */
static inline void check_alive(void)
{
    alarm(check_patience);
}

static inline void check_begin(int argc, char **argv)
{
    const char *seconds = getenv("CHECK_WATCHDOG");

    if (argc > 1) {
        check_scale = atof(argv[1]);
    }
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    check_patience = seconds ? (unsigned)atoi(seconds) : WATCHDOG_SECONDS;
    signal(SIGALRM, check_hang);
    check_alive();
    check_started = event_clock();
}

static inline unsigned check_count(unsigned count)
{
    double scaled = count * check_scale;

    return scaled < 1 ? 1 : (unsigned)scaled;
}

/* The exit code. */
static inline int check_end(void)
{
    int64_t spent = event_clock() - check_started;
    uint64_t operations = check_operations ? check_operations : 1;

    printf("operations: %llu, %.0f ns per operation\n",
           (unsigned long long)check_operations,
           (double)spent / (double)operations);
    printf("violations: %u\n", (unsigned)check_violations);
    return check_violations ? 1 : 0;
}

/* xorshift64; the state must not be 0. */
static inline uint64_t check_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static inline void check_sleep(int64_t ns)
{
    struct timespec time = {ns / SECOND, ns % SECOND};

    while (nanosleep(&time, &time) && errno == EINTR) {
    }
}

/* A queue that the program cannot do without. */
static inline ThreadedWorkqueue *
check_queue(unsigned threads_nr, unsigned thread_requests_nr,
            const ThreadedWorkqueueOps *ops,
            const ThreadedWorkqueueOptions *options)
{
    ThreadedWorkqueue *queue = threaded_workqueue_create(
        "check", threads_nr, thread_requests_nr, ops, options);

    check_alive();
    if (!queue) {
        CHECK(false, "create(%u, %u): %s", threads_nr, thread_requests_nr,
              strerror(errno));
        exit(check_end());
    }
    return queue;
}

/*
 * A gate that one thread opens for one pass of another.  Not made of what is
 * tested.  It orders memory, so programs that look for races do without.
 */
typedef sem_t Gate;

static inline void gate_init(Gate *gate)
{
    sem_init(gate, 0, 0);
}

static inline void gate_end(Gate *gate)
{
    sem_destroy(gate);
}

static inline void gate_open(Gate *gate)
{
    sem_post(gate);
}

static inline void gate_pass(Gate *gate)
{
    while (sem_wait(gate)) {
    }
}

#endif
