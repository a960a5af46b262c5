/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xbzrle.h"

#include "pages.h"

#include <string.h>

/* What 14 bits hold. */
enum { LENGTH_MAX = 0x3FFF };

/* --- Encoding -------------------------------------------------------------- */

/* The first byte from at on whose bit, xor flip, is set; size if none is. */
static size_t next_byte(const uint64_t *differ, size_t size, size_t at,
                        uint64_t flip)
{
    size_t word = at / XBZRLE_WORD;
    uint64_t bits =
        (differ[word] ^ flip) & UINT64_MAX << (at % XBZRLE_WORD);

    while (!bits) {
        if (++word == size / XBZRLE_WORD) {
            return size;
        }
        bits = differ[word] ^ flip;
    }
    return word * XBZRLE_WORD + (size_t)__builtin_ctzll(bits);
}

/* Room for two bytes is there.  Bytes written. */
static size_t put_length(uint8_t *to, size_t length)
{
    if (length < 0x80) {
        to[0] = (uint8_t)length;
        return 1;
    }
    to[0] = (uint8_t)(length | 0x80);
    to[1] = (uint8_t)(length >> 7);
    return 2;
}

int xbzrle_encode(const XbzrleCompare *compare, const uint8_t *old,
                  const uint8_t *new, size_t size, uint8_t *to, size_t room)
{
    uint64_t differ[PAGE_SIZE_MAX / XBZRLE_WORD];
    size_t at = 0, written = 0;

    compare->compare(old, new, size, differ);
    while (at < size) {
        /* Where QEMU looks for room, and for how much of it, decides what
         * just does not fit: it wants two bytes even where nothing follows
         * (migration/xbzrle.c; its plain C is in 8.2 what it was at first). */
        if (written + 2 > room) {
            return -1;
        }
        size_t start = next_byte(differ, size, at, 0);

        if (start == size) {
            break;
        }
        /* QEMU's assertion would end it (util/cutils.c,
         * uleb128_encode_small); pages of 16 KiB and less have no such runs
         * but for a whole page, which does not fit anyway. */
        if (start - at > LENGTH_MAX) {
            return -1;
        }
        written += put_length(to + written, start - at);
        if (written + 2 > room) {
            return -1;
        }
        size_t end = next_byte(differ, size, start, UINT64_MAX);
        size_t changed = end - start;

        if (changed > LENGTH_MAX) {
            return -1;
        }
        written += put_length(to + written, changed);
        if (changed > room - written) {
            return -1;
        }
        memcpy(to + written, new + start, changed);
        written += changed;
        at = end;
    }
    return (int)written;
}

/* --- Decoding -------------------------------------------------------------- */

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
