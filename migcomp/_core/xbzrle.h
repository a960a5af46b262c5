/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * XBZRLE, QEMU's code for what changed in a page: pairs of a length of bytes
 * that stay and a length of bytes that are new, followed by these.  Lengths are
 * ULEB128 of one or two bytes.
 */
#ifndef MIGCOMP_XBZRLE_H
#define MIGCOMP_XBZRLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of a page; its size is a multiple of it. */
#define XBZRLE_WORD 64u

/* A way to compare pages. */
typedef struct XbzrleCompare {
    const char *name;
    bool (*usable)(void); /* by this CPU */
    /* Sets bit i % 64 of differ[i / 64] where byte i differs, and clears it
     * where not. */
    void (*compare)(const uint8_t *old, const uint8_t *new, size_t size,
                    uint64_t *differ);
} XbzrleCompare;

/* The fastest first, ends with NULL; the last one is always usable. */
extern const XbzrleCompare *const xbzrle_compares[];

/* The first that is usable. */
const XbzrleCompare *xbzrle_compare_best(void);

/*
 * The delta that makes old to new, byte for byte as QEMU's
 * xbzrle_encode_buffer makes it: 0 for equal pages, else its size, or -1 if it
 * does not fit in room bytes or a run does not fit in a length.  size: a
 * multiple of XBZRLE_WORD, at most PAGE_SIZE_MAX.
 */
int xbzrle_encode(const XbzrleCompare *compare, const uint8_t *old,
                  const uint8_t *new, size_t size, uint8_t *to, size_t room);

/* Applies a delta to page; -1 if it is malformed, page being spoilt then. */
int xbzrle_decode(const uint8_t *delta, size_t size, uint8_t *page,
                  size_t page_size);

#endif
