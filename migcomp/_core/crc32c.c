/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crc32c.h"

#include "bytes.h"

#include <pthread.h>

enum { SLICES = 8 };

/* [n][b]: what byte b does to the sum when n more bytes follow it.  Constant
 * once they are made. */
static uint32_t slices[SLICES][256];
static pthread_once_t made = PTHREAD_ONCE_INIT;

static void make_slices(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t sum = byte;

        for (int bit = 0; bit < 8; bit++) {
            sum = sum >> 1 ^ (sum & 1 ? 0x82f63b78u : 0);
        }
        slices[0][byte] = sum;
    }
    for (int n = 1; n < SLICES; n++) {
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t sum = slices[n - 1][byte];

            slices[n][byte] = sum >> 8 ^ slices[0][sum & 0xFF];
        }
    }
}

uint32_t crc32c(const void *data, size_t size)
{
    const uint8_t *at = data;
    uint32_t sum = UINT32_MAX;

    pthread_once(&made, make_slices);
    for (; size >= SLICES; at += SLICES, size -= SLICES) {
        uint64_t word = load_le64(at) ^ sum;

        sum = 0;
        for (int n = 0; n < SLICES; n++) {
            sum ^= slices[SLICES - 1 - n][word >> 8 * n & 0xFF];
        }
    }
    for (; size; at++, size--) {
        sum = sum >> 8 ^ slices[0][(sum ^ *at) & 0xFF];
    }
    return ~sum;
}
