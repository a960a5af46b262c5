/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * zstd (RFC 8878) through libzstd >= 1.4.0.  Only functions and parameter
 * numbers of the stable part of zstd.h are used; they are declared here from
 * its manual, so that no header is needed.
 */
#include "codec.h"

#include <stdio.h>
#include <stdlib.h>

enum { C_COMPRESSION_LEVEL = 100, C_WINDOW_LOG = 101, D_WINDOW_LOG_MAX = 100 };
enum { E_FLUSH = 1 };
enum { VERSION_MIN = 10400 };

/* Bounds the history of a channel, and so what a hostile stream can make a
 * decompressor allocate, to 8 MiB. */
enum { STREAM_WINDOW_LOG = 23 };
/* From this level on zstd's own window is larger. */
enum { WIDE_WINDOW_LEVEL = 20 };

typedef struct ZstdInput {
    const void *from;
    size_t size, position;
} ZstdInput;

typedef struct ZstdOutput {
    void *to;
    size_t size, position;
} ZstdOutput;

typedef struct ZstdApi {
    unsigned (*version_number)(void);
    int (*level_min)(void);
    int (*level_max)(void);
    size_t (*bound)(size_t);
    unsigned (*is_error)(size_t);
    const char *(*error_name)(size_t);
    void *(*cctx_new)(void);
    size_t (*cctx_free)(void *);
    size_t (*cctx_set)(void *, int, int);
    size_t (*compress)(void *, void *, size_t, const void *, size_t);
    size_t (*compress_stream)(void *, ZstdOutput *, ZstdInput *, int);
    void *(*dctx_new)(void);
    size_t (*dctx_free)(void *);
    size_t (*dctx_set)(void *, int, int);
    size_t (*decompress)(void *, void *, size_t, const void *, size_t);
    size_t (*decompress_stream)(void *, ZstdOutput *, ZstdInput *);
    /* Of deltas. */
    size_t (*cctx_prefix)(void *, const void *, size_t);
    size_t (*dctx_prefix)(void *, const void *, size_t);
} ZstdApi;

static const CodecSymbol zstd_symbols[] = {
    {"ZSTD_versionNumber", offsetof(ZstdApi, version_number)},
    {"ZSTD_minCLevel", offsetof(ZstdApi, level_min)},
    {"ZSTD_maxCLevel", offsetof(ZstdApi, level_max)},
    {"ZSTD_compressBound", offsetof(ZstdApi, bound)},
    {"ZSTD_isError", offsetof(ZstdApi, is_error)},
    {"ZSTD_getErrorName", offsetof(ZstdApi, error_name)},
    {"ZSTD_createCCtx", offsetof(ZstdApi, cctx_new)},
    {"ZSTD_freeCCtx", offsetof(ZstdApi, cctx_free)},
    {"ZSTD_CCtx_setParameter", offsetof(ZstdApi, cctx_set)},
    {"ZSTD_compress2", offsetof(ZstdApi, compress)},
    {"ZSTD_compressStream2", offsetof(ZstdApi, compress_stream)},
    {"ZSTD_createDCtx", offsetof(ZstdApi, dctx_new)},
    {"ZSTD_freeDCtx", offsetof(ZstdApi, dctx_free)},
    {"ZSTD_DCtx_setParameter", offsetof(ZstdApi, dctx_set)},
    {"ZSTD_decompressDCtx", offsetof(ZstdApi, decompress)},
    {"ZSTD_decompressStream", offsetof(ZstdApi, decompress_stream)},
    {NULL, 0},
};

static const CodecSymbol zstd_delta_symbols[] = {
    {"ZSTD_CCtx_refPrefix", offsetof(ZstdApi, cctx_prefix)},
    {"ZSTD_DCtx_refPrefix", offsetof(ZstdApi, dctx_prefix)},
    {NULL, 0},
};

/* A ZSTD_CCtx or a ZSTD_DCtx. */
typedef struct ZstdContext {
    const ZstdApi *api;
    void *zstd;
    bool streaming;
} ZstdContext;

static int zstd_describe(CodecLibrary *library, CodecError *error)
{
    const ZstdApi *api = library->api;
    unsigned version = api->version_number();

    snprintf(library->version, sizeof(library->version), "%u.%u.%u",
             version / 10000, version / 100 % 100, version % 100);
    if (version < VERSION_MIN) {
        return codec_fail(error, "is %s, older than 1.4.0", library->version);
    }
    library->version_number = version;
    library->level_min = api->level_min();
    library->level_max = api->level_max();
    return 0;
}

static size_t zstd_bound(const CodecLibrary *library, size_t size)
{
    const ZstdApi *api = library->api;

    /* A flushed stream has a header for each block of at most 128 KiB, and
     * one more for what was held back. */
    return api->bound(size) + 3 * (size >> 17) + 32;
}

static void zstd_compressor_free(void *compressor)
{
    ZstdContext *context = compressor;

    if (context) {
        context->api->cctx_free(context->zstd);
        free(context);
    }
}

static void zstd_decompressor_free(void *decompressor)
{
    ZstdContext *context = decompressor;

    if (context) {
        context->api->dctx_free(context->zstd);
        free(context);
    }
}

static void *zstd_compressor_new(const CodecLibrary *library, int level,
                                 bool streaming)
{
    const ZstdApi *api = library->api;
    ZstdContext *context = malloc(sizeof(*context));

    if (!context) {
        return NULL;
    }
    *context = (ZstdContext){api, api->cctx_new(), streaming};
    if (!context->zstd ||
        api->is_error(
            api->cctx_set(context->zstd, C_COMPRESSION_LEVEL, level)) ||
        (streaming && level >= WIDE_WINDOW_LEVEL &&
         api->is_error(api->cctx_set(context->zstd, C_WINDOW_LOG,
                                     STREAM_WINDOW_LOG)))) {
        zstd_compressor_free(context);
        return NULL;
    }
    return context;
}

static void *zstd_decompressor_new(const CodecLibrary *library, bool streaming)
{
    const ZstdApi *api = library->api;
    ZstdContext *context = malloc(sizeof(*context));

    if (!context) {
        return NULL;
    }
    *context = (ZstdContext){api, api->dctx_new(), streaming};
    if (!context->zstd ||
        api->is_error(api->dctx_set(context->zstd, D_WINDOW_LOG_MAX,
                                    STREAM_WINDOW_LOG))) {
        zstd_decompressor_free(context);
        return NULL;
    }
    return context;
}

static ptrdiff_t zstd_compress(void *compressor, void *to, size_t room,
                               const void *from, size_t size,
                               CodecError *error)
{
    const ZstdContext *context = compressor;
    const ZstdApi *api = context->api;
    size_t result;

    if (!context->streaming) {
        result = api->compress(context->zstd, to, room, from, size);
        return api->is_error(result)
                   ? codec_fail(error, "%s", api->error_name(result))
                   : (ptrdiff_t)result;
    }
    ZstdInput input = {from, size, 0};
    ZstdOutput output = {to, room, 0};

    result = api->compress_stream(context->zstd, &output, &input, E_FLUSH);
    if (api->is_error(result)) {
        return codec_fail(error, "%s", api->error_name(result));
    }
    if (result || input.position < size) {
        return codec_fail(error, "output exceeds its bound");
    }
    return (ptrdiff_t)output.position;
}

static int zstd_decompress(void *decompressor, void *to, size_t size,
                           const void *from, size_t from_size,
                           CodecError *error)
{
    const ZstdContext *context = decompressor;
    const ZstdApi *api = context->api;
    size_t result, written;

    if (!context->streaming) {
        result = api->decompress(context->zstd, to, size, from, from_size);
        written = result;
    } else {
        ZstdInput input = {from, from_size, 0};
        ZstdOutput output = {to, size, 0};
        size_t before;

        do {
            before = input.position + output.position;
            result = api->decompress_stream(context->zstd, &output, &input);
        } while (!api->is_error(result) && input.position < from_size &&
                 input.position + output.position > before);
        written = output.position;
        if (!api->is_error(result) && input.position < from_size) {
            return codec_fail(error, "data beyond the expected %zu bytes",
                              size);
        }
    }
    if (api->is_error(result)) {
        return codec_fail(error, "%s", api->error_name(result));
    }
    if (written != size) {
        return codec_fail(error, "%zu bytes where %zu were expected", written,
                          size);
    }
    return 0;
}

/* --- Deltas: previous is the prefix of one frame ---------------------------- */

static ptrdiff_t zstd_compress_delta(void *compressor, void *to, size_t room,
                                     const void *from, size_t size,
                                     const void *previous, CodecError *error)
{
    const ZstdContext *context = compressor;
    const ZstdApi *api = context->api;
    size_t result = api->cctx_prefix(context->zstd, previous, size);

    return api->is_error(result)
               ? codec_fail(error, "%s", api->error_name(result))
               : zstd_compress(compressor, to, room, from, size, error);
}

static int zstd_decompress_delta(void *decompressor, void *to, size_t size,
                                 const void *from, size_t from_size,
                                 const void *previous, CodecError *error)
{
    const ZstdContext *context = decompressor;
    const ZstdApi *api = context->api;
    size_t result = api->dctx_prefix(context->zstd, previous, size);

    return api->is_error(result)
               ? codec_fail(error, "%s", api->error_name(result))
               : zstd_decompress(decompressor, to, size, from, from_size,
                                 error);
}

const CodecOps codec_zstd = {
    .name = "zstd",
    .provider = "libzstd",
    .symbols = zstd_symbols,
    .api_size = sizeof(ZstdApi),
    .streaming = true,
    .level_default = 1,
    .describe = zstd_describe,
    .bound = zstd_bound,
    .compressor_new = zstd_compressor_new,
    .compressor_free = zstd_compressor_free,
    .compress = zstd_compress,
    .decompressor_new = zstd_decompressor_new,
    .decompressor_free = zstd_decompressor_free,
    .decompress = zstd_decompress,
    .delta_symbols = zstd_delta_symbols,
    .delta_max = (size_t)1 << STREAM_WINDOW_LOG,
    .compress_delta = zstd_compress_delta,
    .decompress_delta = zstd_decompress_delta,
};
