/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "stand_ins.h"

#include "faults.h"

#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

/*
 * All functions of codecs take at most six integers or pointers and return
 * one, which every ABI of a 64-bit Linux passes in registers of one kind.
 */
typedef uintptr_t (*Function)(uintptr_t, uintptr_t, uintptr_t, uintptr_t,
                              uintptr_t, uintptr_t);

static const struct Failure {
    const char *function;
    intptr_t result; /* of the function when it fails */
    bool harmless;   /* nothing has to be reset before the first use */
} failures[] = {
    {"ZSTD_createCCtx", 0, false},
    {"ZSTD_CCtx_setParameter", -1, false},
    {"ZSTD_compress2", -1, false},
    {"ZSTD_compressStream2", -1, false},
    {"ZSTD_createDCtx", 0, false},
    {"ZSTD_DCtx_setParameter", -1, false},
    {"ZSTD_decompressDCtx", -1, false},
    {"ZSTD_decompressStream", -1, false},
    {"ZSTD_CCtx_refPrefix", -1, false},
    {"ZSTD_DCtx_refPrefix", -1, false},
    {"LZ4_createStream", 0, false},
    {"LZ4_compress_fast_extState", 0, false},
    {"LZ4_compress_fast_continue", 0, false},
    {"LZ4_saveDict", 0, false},
    {"LZ4_createStreamHC", 0, false},
    {"LZ4_compress_HC_extStateHC", 0, false},
    {"LZ4_compress_HC_continue", 0, false},
    {"LZ4_saveDictHC", 0, false},
    {"LZ4_decompress_safe_usingDict", -1, false},
    {"LZ4_loadDict", 0, false},
    {"LZ4_loadDictHC", 0, false},
    {"deflateInit_", -4, false},
    {"deflate", -2, false},
    {"deflateReset", -2, true},
    {"inflateInit_", -4, false},
    {"inflate", -3, false},
    {"inflateReset", -2, true},
    {"libdeflate_alloc_compressor", 0, false},
    {"libdeflate_zlib_compress", 0, false},
    {"libdeflate_alloc_decompressor", 0, false},
    {"libdeflate_zlib_decompress", 1, false},
};

enum { FAILURES = sizeof(failures) / sizeof(*failures) };

/* Of failures; written before any thread calls it. */
static Function real[FAILURES];
/* Read after the thread's end, or after its request was collected. */
static const struct Failure *latest;

static uintptr_t pass(unsigned i, uintptr_t a, uintptr_t b, uintptr_t c,
                      uintptr_t d, uintptr_t e, uintptr_t f)
{
    if (fault_hits(FAULT_CODEC)) {
        latest = &failures[i];
        return (uintptr_t)latest->result;
    }
    return real[i](a, b, c, d, e, f);
}

#define STAND_IN(i)                                                        \
    static uintptr_t stand_in_##i(uintptr_t a, uintptr_t b, uintptr_t c,   \
                                  uintptr_t d, uintptr_t e, uintptr_t f)   \
    {                                                                      \
        return pass(i, a, b, c, d, e, f);                                  \
    }
#define EACH(DO)                                                           \
    DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10)     \
    DO(11) DO(12) DO(13) DO(14) DO(15) DO(16) DO(17) DO(18) DO(19) DO(20)  \
    DO(21) DO(22) DO(23) DO(24) DO(25) DO(26) DO(27) DO(28) DO(29) DO(30)
#define NAME(i) stand_in_##i,

EACH(STAND_IN)
static const Function stand_ins[FAILURES] = {EACH(NAME)};

void *__real_dlsym(void *handle, const char *name);
void *__wrap_dlsym(void *handle, const char *name);

void *__wrap_dlsym(void *handle, const char *name)
{
    void *symbol =
        fault_hits(FAULT_SYMBOL) ? NULL : __real_dlsym(handle, name);

    for (unsigned i = 0; i < FAILURES && symbol; i++) {
        if (!strcmp(name, failures[i].function)) {
            memcpy(&real[i], &symbol, sizeof(symbol));
            memcpy(&symbol, &stand_ins[i], sizeof(symbol));
            return symbol;
        }
    }
    return symbol;
}

bool stand_in_may_go_unnoticed(void)
{
    return latest->harmless;
}
