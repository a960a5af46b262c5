/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xbzrle.h"

#include <string.h>

/* Bytes read, or 0 when there is no length of at most two bytes. */
static size_t read_length(const uint8_t *from, size_t left, size_t *length)
{
    if (left && from[0] < 0x80) {
        *length = from[0];
        return 1;
    }
    if (left > 1 && from[1] < 0x80) {
        *length = (size_t)(from[0] & 0x7F) | (size_t)from[1] << 7;
        return 2;
    }
    return 0;
}

int xbzrle_decode(const uint8_t *delta, size_t size, uint8_t *page,
                  size_t page_size)
{
    size_t at = 0, to = 0;

    while (at < size) {
        size_t same, new, read = read_length(delta + at, size - at, &same);

        /* Only the first pair may start with a change. */
        if (!read || (at && !same)) {
            return -1;
        }
        at += read;
        read = read_length(delta + at, size - at, &new);
        if (!read || !new) {
            return -1;
        }
        at += read;
        if (same > page_size - to || new > page_size - to - same ||
            new > size - at) {
            return -1;
        }
        to += same;
        memcpy(page + to, delta + at, new);
        to += new;
        at += new;
    }
    return 0;
}
