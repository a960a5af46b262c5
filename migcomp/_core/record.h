/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The body of a PAGES record, as it comes from outside, read from its start:
 * docs/stream-format.md has the layout.
 */
#ifndef MIGCOMP_RECORD_H
#define MIGCOMP_RECORD_H

#include "handlers.h"

/* The part of the body that is still to be read. */
typedef struct RecordRest {
    const uint8_t *at;
    size_t size;
} RecordRest;

/* The next size bytes; NULL when there are not as many. */
const uint8_t *record_take(RecordRest *rest, size_t size);

/* Notes that the record's page i cannot be; -EIO. */
int record_malformed(PageRequest *request, uint32_t i, const char *what);

/* Reads classes and details into the request; 0 or -EIO. */
int record_table(const PageJob *job, PageRequest *request, RecordRest *rest);

#endif
