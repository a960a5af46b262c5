/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What one page of guest memory is, by itself. */
#ifndef MIGCOMP_PAGES_H
#define MIGCOMP_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE_MIN 4096u
#define PAGE_SIZE_MAX 65536u

/*
 * How a page stands in a stream; the values are the stream format's (see
 * docs/stream-format.md), but for the last.
 */
typedef enum PageClass {
    PAGE_ZERO = 0,         /* all bytes zero; QEMU counts it as duplicate */
    PAGE_SAME = 1,         /* one 8-byte pattern repeated, not zero */
    PAGE_DEDUPLICATED = 2, /* equal to an earlier page */
    PAGE_NORMAL = 3,       /* as it is */
    PAGE_COMPRESSED = 4,
    PAGE_UNCHANGED = 5, /* as the receiver has it; in no stream */
    PAGE_CLASSES
} PageClass;

/*
 * True when the page is one 8-byte little-endian pattern over and over, which
 * is then stored; a zero page is the pattern 0.  size: a multiple of 8.
 */
bool page_same_filled(const uint8_t *page, size_t size, uint64_t *pattern);

void page_fill(uint8_t *page, size_t size, uint64_t pattern);

#endif
