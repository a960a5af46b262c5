/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Written by the submitter while no thread runs. */
static Fault armed = FAULTS;
static unsigned failing_at;
/* Written by all threads. */
static atomic_uint seen, happened;
static atomic_int resources;

void fault_arm(Fault fault, unsigned at)
{
    armed = fault;
    failing_at = at;
    seen = 0;
    happened = 0;
}

void fault_disarm(void)
{
    armed = FAULTS;
}

bool fault_hits(Fault fault)
{
    bool hit = fault == armed &&
               (++seen == failing_at || failing_at == FAULT_ALWAYS);

    if (hit) {
        happened = 1;
    }
    return hit;
}

bool fault_happened(void)
{
    return happened;
}

int fault_resources(void)
{
    return resources;
}

/* --- In place of the C library's functions --------------------------------- */

#define WRAP(type, name, ...)       \
    type __real_##name(__VA_ARGS__); \
    type __wrap_##name(__VA_ARGS__); \
    type __wrap_##name(__VA_ARGS__)

static void *count(void *taken)
{
    resources += taken != NULL;
    return taken;
}

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

WRAP(void *, malloc, size_t size)
{
    return fault_hits(FAULT_ALLOCATE) ? no_memory()
                                      : count(__real_malloc(size));
}

WRAP(void *, calloc, size_t number, size_t size)
{
    return fault_hits(FAULT_ALLOCATE) ? no_memory()
                                      : count(__real_calloc(number, size));
}

WRAP(void *, aligned_alloc, size_t alignment, size_t size)
{
    return fault_hits(FAULT_ALLOCATE)
               ? no_memory()
               : count(__real_aligned_alloc(alignment, size));
}

WRAP(void *, realloc, void *pointer, size_t size)
{
    if (fault_hits(FAULT_ALLOCATE)) {
        return no_memory();
    }
    void *taken = __real_realloc(pointer, size);

    return pointer ? taken : count(taken);
}

WRAP(void *, reallocarray, void *pointer, size_t number, size_t size)
{
    if (fault_hits(FAULT_ALLOCATE)) {
        return no_memory();
    }
    void *taken = __real_reallocarray(pointer, number, size);

    return pointer ? taken : count(taken);
}

WRAP(void, free, void *pointer)
{
    resources -= pointer != NULL;
    __real_free(pointer);
}

WRAP(void *, mmap, void *at, size_t size, int protection, int flags, int fd,
     off_t offset)
{
    if (fault_hits(FAULT_MAP)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    void *mapped = __real_mmap(at, size, protection, flags, fd, offset);

    resources += mapped != MAP_FAILED;
    return mapped;
}

WRAP(int, munmap, void *at, size_t size)
{
    resources--;
    return __real_munmap(at, size);
}

WRAP(ssize_t, pread, int fd, void *to, size_t size, off_t offset)
{
    if (fault_hits(FAULT_READ)) {
        errno = EIO;
        return -1;
    }
    return __real_pread(fd, to, size, offset);
}

WRAP(int, pthread_create, pthread_t *thread, const pthread_attr_t *attr,
     void *(*start)(void *), void *argument)
{
    return fault_hits(FAULT_START_THREAD)
               ? EAGAIN
               : __real_pthread_create(thread, attr, start, argument);
}

WRAP(int, pthread_attr_init, pthread_attr_t *attr)
{
    return fault_hits(FAULT_ATTRIBUTE) ? ENOMEM
                                       : __real_pthread_attr_init(attr);
}

WRAP(int, pthread_attr_setaffinity_np, pthread_attr_t *attr, size_t size,
     const cpu_set_t *set)
{
    return fault_hits(FAULT_ATTRIBUTE)
               ? ENOMEM
               : __real_pthread_attr_setaffinity_np(attr, size, set);
}

WRAP(int, sigaction, int number, const struct sigaction *action,
     struct sigaction *before)
{
    if (fault_hits(FAULT_SIGACTION)) {
        errno = EINVAL;
        return -1;
    }
    return __real_sigaction(number, action, before);
}

WRAP(void *, dlopen, const char *path, int flags)
{
    /* Failing in earnest, so that dlerror has something to say. */
    return count(__real_dlopen(
        fault_hits(FAULT_LOAD) ? "/nonexistent/lib.so" : path, flags));
}

WRAP(int, dlclose, void *handle)
{
    resources--;
    return __real_dlclose(handle);
}

/* The core makes no other system calls this way than those of event.c. */
WRAP(long, syscall, long number, ...)
{
    static const int refusals[] = {ENOSYS, EPERM, EINTR, EAGAIN, ENOMEM};
    va_list arguments;
    long a[6];

    va_start(arguments, number);
    for (int i = 0; i < 6; i++) {
        a[i] = va_arg(arguments, long);
    }
    va_end(arguments);
    if (number == SYS_futex && fault_hits(FAULT_FUTEX)) {
        errno = refusals[failing_at % (sizeof(refusals) / sizeof(*refusals))];
        return -1;
    }
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
