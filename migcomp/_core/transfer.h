/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handler of a simulated migration: pages are compressed as a sender would,
 * and decompressed again as the receiver would.  What a request leaves behind
 * are the pages that arrived, in data; the sizes of what was sent, in details;
 * and the CPU time that the sender spent, in elapsed_ns.
 *
 * Every page but a zero page is compressed, whether it shrinks or not: QEMU
 * does that, and who does not can tell by the size.  With previous versions it
 * is compressed against its own, and not sent at all where it is the same.
 */
#ifndef MIGCOMP_TRANSFER_H
#define MIGCOMP_TRANSFER_H

#include "handlers.h"

/* A thread's own memory. */
typedef struct TransferState {
    void *compressor, *decompressor; /* NULL for codec none, and with streams */
    uint8_t *content;                /* pages side by side, to be sent */
    uint8_t *packed;                 /* what is sent for them */
    uint8_t *arrived;                /* pages side by side, decompressed */
    uint8_t *previous; /* deltas: what the receiver has of content, as content */
} TransferState;

int transfer_handler(void *request, void *thread_state, void *job);

#endif
