/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "page_hash.h"

#include "xxh64.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

/* So many hide each other's latency, of multiplying and of memory. */
enum { GROUP = 8 };

#ifdef __x86_64__

/* It also asks whether the kernel saves the registers. */
static bool avx512_usable(void)
{
    return __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512dq");
}

/* The steps of xxh64.c; each vector has the lanes of two pages. */
__attribute__((target("avx512f,avx512dq"))) static void
hash_avx512(const uint8_t *const *pages, size_t size, uint64_t *hashes)
{
    const __m512i prime1 = _mm512_set1_epi64((int64_t)XXH64_PRIME1);
    const __m512i prime2 = _mm512_set1_epi64((int64_t)XXH64_PRIME2);
    __m512i lanes[GROUP / 2];
    Xxh64 state;

    xxh64_init(&state, 0);
    for (size_t n = 0; n < GROUP / 2; n++) {
        lanes[n] = _mm512_broadcast_i64x4(
            _mm256_loadu_si256((const void *)state.lanes));
    }
    for (size_t at = 0; at < size; at += sizeof(state.lanes)) {
        for (size_t n = 0; n < GROUP / 2; n++) {
            const void *low = pages[2 * n] + at;
            const void *high = pages[2 * n + 1] + at;
            __m512i input = _mm512_inserti64x4(
                _mm512_castsi256_si512(_mm256_loadu_si256(low)),
                _mm256_loadu_si256(high), 1);
            __m512i sum = _mm512_add_epi64(
                lanes[n], _mm512_mullo_epi64(input, prime2));

            lanes[n] = _mm512_mullo_epi64(_mm512_rol_epi64(sum, 31), prime1);
        }
    }
    state.length = size;
    for (size_t i = 0; i < GROUP; i++) {
        __m512i both = lanes[i / 2];

        _mm256_storeu_si256((void *)state.lanes,
                            i % 2 ? _mm512_extracti64x4_epi64(both, 1)
                                  : _mm512_castsi512_si256(both));
        hashes[i] = xxh64_final(&state);
    }
}

#endif

static void hash_group(const uint8_t *const *pages, size_t count, size_t size,
                       uint64_t *hashes)
{
#ifdef __x86_64__
    if (count == GROUP && avx512_usable()) {
        hash_avx512(pages, size, hashes);
        return;
    }
#endif
    for (size_t i = 0; i < count; i++) {
        hashes[i] = xxh64(pages[i], size, 0);
    }
}

void page_hash(PageRequest *request, const uint8_t *pages, uint32_t page_size,
               unsigned classes)
{
    const uint8_t *found[GROUP];
    uint32_t numbers[GROUP];
    uint64_t hashes[GROUP];
    size_t count = 0;

    for (uint32_t i = 0; i < request->pages; i++) {
        if (classes >> request->classes[i] & 1u) {
            found[count] = pages + (size_t)i * page_size;
            numbers[count++] = i;
        }
        if (count < GROUP && i + 1 < request->pages) {
            continue;
        }
        hash_group(found, count, page_size, hashes);
        for (; count; count--) {
            request->hashes[numbers[count - 1]] = hashes[count - 1];
        }
    }
}
