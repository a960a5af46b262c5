/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * XXH64, the 64-bit xxHash, in one shot and in pieces.  Algorithm after
 * doc/xxhash_spec.md of the xxHash project; the same that the zstd frame
 * format uses for its content checksum.  Not cryptographic.
 */
#ifndef MIGCOMP_XXH64_H
#define MIGCOMP_XXH64_H

#include <stddef.h>
#include <stdint.h>

#define XXH64_PRIME1 UINT64_C(0x9E3779B185EBCA87)
#define XXH64_PRIME2 UINT64_C(0xC2B2AE3D27D4EB4F)

typedef struct Xxh64 {
    uint64_t lanes[4];
    uint64_t seed;
    uint64_t length;
    uint8_t tail[32]; /* the length % 32 bytes that fill no stripe yet */
} Xxh64;

void xxh64_init(Xxh64 *state, uint64_t seed);
void xxh64_update(Xxh64 *state, const void *data, size_t size);
uint64_t xxh64_final(const Xxh64 *state);

uint64_t xxh64(const void *data, size_t size, uint64_t seed);

#endif
