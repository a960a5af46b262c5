/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * XBZRLE, QEMU's code for what changed in a page: pairs of a length of bytes
 * that stay and a length of bytes that are new, followed by these.  Lengths are
 * ULEB128 of one or two bytes.
 */
#ifndef MIGCOMP_XBZRLE_H
#define MIGCOMP_XBZRLE_H

#include <stddef.h>
#include <stdint.h>

/* Applies a delta to page; -1 if it is malformed, page being spoilt then. */
int xbzrle_decode(const uint8_t *delta, size_t size, uint8_t *page,
                  size_t page_size);

#endif
