/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Decompressed pages into a file, each at its place in the image. */
#ifndef MIGCOMP_PAGE_WRITE_H
#define MIGCOMP_PAGE_WRITE_H

#include "handlers.h"

#include <sys/types.h>

/* What a record's own bytes tell; a bit for each PageClass. */
#define OWN_CLASSES \
    (1u << PAGE_SAME | 1u << PAGE_NORMAL | 1u << PAGE_COMPRESSED)
#define DEDUPLICATED_CLASS (1u << PAGE_DEDUPLICATED)

/*
 * Writes the request's pages of those classes, which lie from pages on; the
 * first one's place in the file is offset.  0 or a negative errno.
 */
int page_write(const PageRequest *request, const uint8_t *pages,
               uint32_t page_size, int fd, off_t offset, unsigned classes);

/* Those of a decompressed request, each to its place in the image. */
int page_write_output(const PageRequest *request, const PageJob *job,
                      unsigned classes);

#endif
