/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Little-endian integers at any address. */
#ifndef MIGCOMP_BYTES_H
#define MIGCOMP_BYTES_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define FROM_LE(bits, value) (value)
#else
#define FROM_LE(bits, value) __builtin_bswap##bits(value)
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
