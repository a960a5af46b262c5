/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finds pages that equal an earlier page, in page order and on one thread, so
 * that the result depends on the image alone.  A hash only proposes; a page
 * is called equal after its bytes were compared.
 */
#ifndef MIGCOMP_DEDUP_H
#define MIGCOMP_DEDUP_H

#include "handlers.h"
#include "page_map.h"

/*
 * 2^20 entries of 16 bytes: enough for the distinct pages of 4 GiB.  Beyond
 * that, the oldest entry of four makes room.
 */
typedef struct DedupTable DedupTable;

DedupTable *dedup_new(void); /* NULL without memory */
void dedup_free(DedupTable *table);

/*
 * Marks as deduplicated those content pages of a classified request that
 * equal an earlier page of the map, and remembers the others.  -EFAULT when
 * mapped memory was gone.
 */
int dedup_resolve(DedupTable *table, const PageMap *map, PageRequest *request);

/*
 * Gives deduplicated pages of a decompressed request their content, read from
 * the image restored so far: page n at offset n * page_size of fd, zeros where
 * the file ends before.  Requests come in the order of their pages.  Negative
 * errno; -ENODATA when no file is so long, -ELOOP when a page refers to one that
 * is deduplicated itself, -EINVAL in another order.
 */
int dedup_restore(PageJob *job, PageRequest *request, int fd);

#endif
