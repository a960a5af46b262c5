/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads and CPUs: names, binding, everything on one CPU, many more threads
 * than CPUs; and no spinning where it would take the CPU from another thread.
 */
#define _GNU_SOURCE
#include "check.h"

#include <sched.h>
#include <sys/syscall.h>

#define THREADS_MOST 200

/* Written by thread_init of each thread, its own. */
typedef struct Thread {
    pid_t tid;
    cpu_set_t cpus;
} Thread;

static Thread threads[THREADS_MOST];
static cpu_set_t allowed;

static int thread_init(void *thread_state, unsigned thread_index, void *opaque)
{
    Thread *thread = &threads[thread_index];

    (void)thread_state;
    (void)opaque;
    thread->tid = (pid_t)syscall(SYS_gettid);
    return sched_getaffinity(0, sizeof(thread->cpus), &thread->cpus) ? -errno
                                                                     : 0;
}

static int handle(void *request, void *thread_state, void *opaque)
{
    uint64_t *item = request;

    (void)thread_state;
    (void)opaque;
    *item *= 3;
    return 0;
}

static const ThreadedWorkqueueOps ops = {
    .thread_request_handler = handle,
    .thread_init = thread_init,
    .request_size = sizeof(uint64_t),
};

static void check_names(const char *name, const char *const *expected,
                        unsigned threads_nr)
{
    ThreadedWorkqueue *queue =
        threaded_workqueue_create(name, threads_nr, 1, &ops, NULL);

    check_phase = "names";
    CHECK(queue, "create: %s", strerror(errno));
    for (unsigned i = 0; queue && expected[i]; i++) {
        char path[64], line[32] = "";
        unsigned index = i ? threads_nr - 1 : 0;

        snprintf(path, sizeof(path), "/proc/self/task/%d/comm",
                 (int)threads[index].tid);
        FILE *file = fopen(path, "r");

        if (file) {
            if (fgets(line, sizeof(line), file)) {
                line[strcspn(line, "\n")] = 0;
            }
            fclose(file);
        }
        CHECK(!strcmp(line, expected[i]), "name: %s, not %s", line,
              expected[i]);
    }
    threaded_workqueue_destroy(queue, WORKQUEUE_CANCEL);
    check_operations++;
}

/* Submits and collects; the queue must not have spun unless it may. */
static void work(ThreadedWorkqueue *queue, unsigned threads_nr,
                 unsigned items_nr, bool may_spin)
{
    ThreadedWorkqueueStats stats;
    uint64_t collected = 0, submitted = 0, spins = 0;
    void *item;

    while (collected < items_nr) {
        item = submitted < items_nr ? threaded_workqueue_get_request(queue)
                                    : NULL;
        if (item) {
            *(uint64_t *)item = submitted++;
            threaded_workqueue_submit_request(queue, item);
        } else {
            CHECK(!threaded_workqueue_collect_request(queue, WAIT_FOREVER,
                                                      &item), "collect");
            CHECK(*(uint64_t *)item == 3 * collected, "wrong result");
            collected++;
            threaded_workqueue_release_request(queue, item);
        }
    }
    threaded_workqueue_stats(queue, &stats);
    spins = stats.spins;
    for (unsigned i = 0; i < threads_nr; i++) {
        ThreadedWorkqueueThreadStats thread_stats;

        threaded_workqueue_thread_stats(queue, i, &thread_stats);
        spins += thread_stats.spins;
        CHECK(thread_stats.cpu_ns, "thread %u used no CPU time", i);
    }
    CHECK(may_spin || !spins, "spins: %llu", (unsigned long long)spins);
    check_operations += items_nr;
}

static void check_work(unsigned threads_nr,
                       const ThreadedWorkqueueOptions *options, bool may_spin)
{
    ThreadedWorkqueue *queue = check_queue(threads_nr, 4, &ops, options);

    work(queue, threads_nr, check_count(2000), may_spin);
    threaded_workqueue_destroy(queue, WORKQUEUE_DRAIN);
}

static unsigned first_cpus(unsigned *cpus, unsigned most)
{
    unsigned found = 0;

    for (unsigned cpu = 0; cpu < CPU_SETSIZE && found < most; cpu++) {
        if (CPU_ISSET(cpu, &allowed)) {
            cpus[found++] = cpu;
        }
    }
    return found;
}

static void check_binding(void)
{
    unsigned cpus[8], cpus_nr = first_cpus(cpus, 8);
    unsigned absent = CPU_SETSIZE;
    ThreadedWorkqueueOptions options = {.cpus = cpus, .cpus_nr = cpus_nr};

    check_phase = "binding";
    check_work(5, &options, 5 < cpus_nr);
    for (unsigned i = 0; i < 5; i++) {
        CHECK(CPU_COUNT(&threads[i].cpus) == 1 &&
                  CPU_ISSET(cpus[i % cpus_nr], &threads[i].cpus),
              "binding: thread %u is not bound to CPU %u", i,
              cpus[i % cpus_nr]);
    }
    options.cpus_nr = 1;
    check_work(3, &options, false);
    CHECK(CPU_ISSET(cpus[0], &threads[2].cpus), "binding to one CPU");
    check_work(3, NULL, true);
    CHECK(CPU_EQUAL(&threads[2].cpus, &allowed), "bound, though not asked");

    options.cpus = &absent;
    CHECK(!threaded_workqueue_create("check", 1, 1, &ops, &options) &&
              errno == EINVAL, "bound to a CPU beyond any");
    absent = CPU_SETSIZE - 1;
    CHECK(CPU_ISSET(absent, &allowed) ||
              (!threaded_workqueue_create("check", 1, 1, &ops, &options) &&
               errno == EINVAL), "bound to a CPU that is not there");
}

static void check_one_cpu(void)
{
    cpu_set_t one;
    unsigned cpu = 0;

    check_phase = "one CPU";
    first_cpus(&cpu, 1);
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    CHECK(!sched_setaffinity(0, sizeof(one), &one), "sched_setaffinity");
    check_work(1, NULL, false);
    check_work(4, NULL, false);
    check_work(64, NULL, false);
    sched_setaffinity(0, sizeof(allowed), &allowed);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    sched_getaffinity(0, sizeof(allowed), &allowed);

    unsigned cpus_nr = (unsigned)CPU_COUNT(&allowed);

    check_names("check", (const char *[]){"check/0", "check/2", NULL}, 3);
    check_names("a-name-too-long",
                (const char *[]){"a-name-too-lo/0", "a-name-too-l/11", NULL},
                12);
    check_names(NULL, (const char *[]){"/0", NULL}, 1);
    check_binding();
    check_one_cpu();

    check_phase = "many threads";
    for (unsigned threads_nr = 1; threads_nr < THREADS_MOST; threads_nr *= 4) {
        check_work(threads_nr, NULL, threads_nr < cpus_nr);
    }
    check_work(THREADS_MOST, NULL, THREADS_MOST < cpus_nr);
    return check_end();
}
