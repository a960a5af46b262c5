/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls of the core that can fail do so at their n-th occurrence.  faults.c
 * is linked around the core (ld --wrap); programs.py names the functions.
 */
#ifndef MIGCOMP_FAULTS_H
#define MIGCOMP_FAULTS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum Fault {
    FAULT_ALLOCATE,     /* malloc, calloc, aligned_alloc, realloc */
    FAULT_START_THREAD, /* pthread_create */
    FAULT_ATTRIBUTE,    /* pthread_attr_init, pthread_attr_setaffinity_np */
    FAULT_FUTEX,
    FAULT_MAP,       /* mmap */
    FAULT_READ,      /* pread */
    FAULT_LOAD,      /* dlopen */
    FAULT_SIGACTION,
    /* What the programs themselves let fail. */
    FAULT_SYMBOL, /* dlsym */
    FAULT_INIT_REQUEST,
    FAULT_INIT_THREAD,
    FAULT_CODEC,
    FAULTS
} Fault;

#define FAULT_ALWAYS 0u

/* From now on: counted anew, and failing at the n-th occurrence, from 1. */
void fault_arm(Fault fault, unsigned at);
void fault_disarm(void);

/* Counts one occurrence, on any thread.  Whether it has to fail. */
bool fault_hits(Fault fault);

/* Whether the armed fault has happened. */
bool fault_happened(void);

/* What the core has taken and not given back: allocations, mappings, and
 * libraries. */
int fault_resources(void);

#endif
