/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which bytes of two pages differ, as widely as the CPU can compare. */
#include "bytes.h"
#include "xbzrle.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

/* --- Any machine ----------------------------------------------------------- */

/* A bit for each byte that is not zero. */
static uint64_t nonzero_bytes(uint64_t word)
{
    const uint64_t low = UINT64_C(0x7F7F7F7F7F7F7F7F);
    /* The top bit of each byte: of its own, or carried out of the others. */
    uint64_t top = ((word & low) + low) | word;

    /* Bit 8 k moves to bit 56 + k, and nothing else gets there. */
    return (top >> 7 & UINT64_C(0x0101010101010101)) *
               UINT64_C(0x0102040810204080) >> 56;
}

static void compare_words(const uint8_t *old, const uint8_t *new, size_t size,
                          uint64_t *differ)
{
    for (size_t i = 0; i < size; i += XBZRLE_WORD) {
        uint64_t bits = 0;

        for (unsigned j = 0; j < XBZRLE_WORD; j += 8) {
            uint64_t word = load_le64(old + i + j) ^ load_le64(new + i + j);

            if (word) {
                bits |= nonzero_bytes(word) << j;
            }
        }
        differ[i / XBZRLE_WORD] = bits;
    }
}

static bool words_usable(void)
{
    return true;
}

static const XbzrleCompare by_words = {"64-bit words", words_usable,
                                       compare_words};

/* --- x86-64 ---------------------------------------------------------------- */

#ifdef __x86_64__

/* __builtin_cpu_supports also asks whether the kernel saves the registers. */

static bool avx2_usable(void)
{
    return __builtin_cpu_supports("avx2");
}

__attribute__((target("avx2"))) static void
compare_avx2(const uint8_t *old, const uint8_t *new, size_t size,
             uint64_t *differ)
{
    for (size_t i = 0; i < size; i += XBZRLE_WORD) {
        const __m256i *a = (const __m256i *)(old + i);
        const __m256i *b = (const __m256i *)(new + i);
        uint32_t low = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(
            _mm256_loadu_si256(a), _mm256_loadu_si256(b)));
        uint32_t high = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(
            _mm256_loadu_si256(a + 1), _mm256_loadu_si256(b + 1)));

        differ[i / XBZRLE_WORD] = ~((uint64_t)high << 32 | low);
    }
}

static bool avx512_usable(void)
{
    return __builtin_cpu_supports("avx512bw");
}

__attribute__((target("avx512bw"))) static void
compare_avx512(const uint8_t *old, const uint8_t *new, size_t size,
               uint64_t *differ)
{
    for (size_t i = 0; i < size; i += XBZRLE_WORD) {
        differ[i / XBZRLE_WORD] = _mm512_cmpneq_epu8_mask(
            _mm512_loadu_si512(old + i), _mm512_loadu_si512(new + i));
    }
}

static const XbzrleCompare by_avx2 = {"AVX2", avx2_usable, compare_avx2};
static const XbzrleCompare by_avx512 = {"AVX-512", avx512_usable,
                                        compare_avx512};

#endif

/* --- Choice ---------------------------------------------------------------- */

const XbzrleCompare *const xbzrle_compares[] = {
#ifdef __x86_64__
    &by_avx512,
    &by_avx2,
#endif
    &by_words,
    NULL,
};

const XbzrleCompare *xbzrle_compare_best(void)
{
    const XbzrleCompare *const *compare = xbzrle_compares;

    while (!(*compare)->usable()) {
        compare++;
    }
    return *compare;
}
