/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xxh64.h"

#include "bytes.h"

#include <string.h>

static const uint64_t PRIME1 = XXH64_PRIME1;
static const uint64_t PRIME2 = XXH64_PRIME2;
static const uint64_t PRIME3 = 0x165667B19E3779F9u;
static const uint64_t PRIME4 = 0x85EBCA77C2B2AE63u;
static const uint64_t PRIME5 = 0x27D4EB2F165667C5u;

#define STRIPE 32

static uint64_t rotate(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

static uint64_t mix(uint64_t lane, uint64_t input)
{
    return rotate(lane + input * PRIME2, 31) * PRIME1;
}

static uint64_t merge(uint64_t hash, uint64_t lane)
{
    return (hash ^ mix(0, lane)) * PRIME1 + PRIME4;
}

/* Takes whole stripes; size is a multiple of STRIPE. */
static void mix_stripes(uint64_t lanes[4], const uint8_t *data, size_t size)
{
    uint64_t a = lanes[0], b = lanes[1], c = lanes[2], d = lanes[3];

    for (const uint8_t *end = data + size; data < end; data += STRIPE) {
        a = mix(a, load_le64(data));
        b = mix(b, load_le64(data + 8));
        c = mix(c, load_le64(data + 16));
        d = mix(d, load_le64(data + 24));
    }
    lanes[0] = a, lanes[1] = b, lanes[2] = c, lanes[3] = d;
}

void xxh64_init(Xxh64 *state, uint64_t seed)
{
    *state = (Xxh64){
        .lanes = {seed + PRIME1 + PRIME2, seed + PRIME2, seed, seed - PRIME1},
        .seed = seed,
    };
}

void xxh64_update(Xxh64 *state, const void *input, size_t size)
{
    const uint8_t *data = input;
    size_t held = state->length % STRIPE;

    state->length += size;
    if (held) {
        size_t missing = STRIPE - held;

        if (size < missing) {
            memcpy(state->tail + held, data, size);
            return;
        }
        memcpy(state->tail + held, data, missing);
        mix_stripes(state->lanes, state->tail, STRIPE);
        data += missing;
        size -= missing;
    }
    size_t whole = size - size % STRIPE;

    mix_stripes(state->lanes, data, whole);
    if (size > whole) {
        memcpy(state->tail, data + whole, size - whole);
    }
}

static uint64_t finish(uint64_t hash, const uint8_t *tail, size_t size)
{
    for (; size >= 8; tail += 8, size -= 8) {
        hash = rotate(hash ^ mix(0, load_le64(tail)), 27) * PRIME1 + PRIME4;
    }
    if (size >= 4) {
        hash = rotate(hash ^ load_le32(tail) * PRIME1, 23) * PRIME2 + PRIME3;
        tail += 4;
        size -= 4;
    }
    for (; size; tail++, size--) {
        hash = rotate(hash ^ *tail * PRIME5, 11) * PRIME1;
    }
    hash = (hash ^ hash >> 33) * PRIME2;
    hash = (hash ^ hash >> 29) * PRIME3;
    return hash ^ hash >> 32;
}

uint64_t xxh64_final(const Xxh64 *state)
{
    const uint64_t *lanes = state->lanes;
    uint64_t hash = state->seed + PRIME5;

    if (state->length >= STRIPE) {
        hash = rotate(lanes[0], 1) + rotate(lanes[1], 7) +
               rotate(lanes[2], 12) + rotate(lanes[3], 18);
        for (int i = 0; i < 4; i++) {
            hash = merge(hash, lanes[i]);
        }
    }
    return finish(hash + state->length, state->tail, state->length % STRIPE);
}

uint64_t xxh64(const void *data, size_t size, uint64_t seed)
{
    Xxh64 state;

    xxh64_init(&state, seed);
    xxh64_update(&state, data, size);
    return xxh64_final(&state);
}
