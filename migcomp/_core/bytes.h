/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Integers at any address: little-endian as in our streams, big-endian as in
 * QEMU's. */
#ifndef MIGCOMP_BYTES_H
#define MIGCOMP_BYTES_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define FROM_LE(bits, value) (value)
#define FROM_BE(bits, value) __builtin_bswap##bits(value)
#else
#define FROM_LE(bits, value) __builtin_bswap##bits(value)
#define FROM_BE(bits, value) (value)
#endif

static inline uint64_t load_le64(const void *from)
{
    uint64_t value;

    memcpy(&value, from, sizeof(value));
    return FROM_LE(64, value);
}

static inline uint32_t load_le32(const void *from)
{
    uint32_t value;

    memcpy(&value, from, sizeof(value));
    return FROM_LE(32, value);
}

static inline uint16_t load_le16(const void *from)
{
    uint16_t value;

    memcpy(&value, from, sizeof(value));
    return FROM_LE(16, value);
}

static inline uint64_t load_be64(const void *from)
{
    uint64_t value;

    memcpy(&value, from, sizeof(value));
    return FROM_BE(64, value);
}

static inline uint32_t load_be32(const void *from)
{
    uint32_t value;

    memcpy(&value, from, sizeof(value));
    return FROM_BE(32, value);
}

static inline uint16_t load_be16(const void *from)
{
    uint16_t value;

    memcpy(&value, from, sizeof(value));
    return FROM_BE(16, value);
}

static inline void store_le64(void *to, uint64_t value)
{
    value = FROM_LE(64, value);
    memcpy(to, &value, sizeof(value));
}

static inline void store_le32(void *to, uint32_t value)
{
    value = FROM_LE(32, value);
    memcpy(to, &value, sizeof(value));
}

static inline void store_le16(void *to, uint16_t value)
{
    value = FROM_LE(16, value);
    memcpy(to, &value, sizeof(value));
}

#endif
