/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The zlib format (RFC 1950) through libdeflate, which is faster at pages
 * than libz but has no streaming.  Declarations after libdeflate.h; the
 * library does not tell its version.
 */
#include "codec.h"

#include <stdlib.h>

typedef struct LibdeflateApi {
    void *(*compressor_new)(int);
    void (*compressor_free)(void *);
    size_t (*compress)(void *, const void *, size_t, void *, size_t);
    size_t (*bound)(void *, size_t);
    void *(*decompressor_new)(void);
    void (*decompressor_free)(void *);
    int (*decompress)(void *, const void *, size_t, void *, size_t, size_t *,
                      size_t *);
} LibdeflateApi;

static const CodecSymbol libdeflate_symbols[] = {
    {"libdeflate_alloc_compressor", offsetof(LibdeflateApi, compressor_new)},
    {"libdeflate_free_compressor", offsetof(LibdeflateApi, compressor_free)},
    {"libdeflate_zlib_compress", offsetof(LibdeflateApi, compress)},
    {"libdeflate_zlib_compress_bound", offsetof(LibdeflateApi, bound)},
    {"libdeflate_alloc_decompressor",
     offsetof(LibdeflateApi, decompressor_new)},
    {"libdeflate_free_decompressor",
     offsetof(LibdeflateApi, decompressor_free)},
    {"libdeflate_zlib_decompress_ex", offsetof(LibdeflateApi, decompress)},
    {NULL, 0},
};

typedef struct LibdeflateContext {
    const LibdeflateApi *api;
    void *libdeflate; /* its compressor or decompressor */
} LibdeflateContext;

static int libdeflate_describe(CodecLibrary *library, CodecError *error)
{
    (void)error;
    /* It knows 0 to 12; only the zlib format's own levels are offered. */
    library->level_min = 0;
    library->level_max = 9;
    return 0;
}

static size_t libdeflate_bound(const CodecLibrary *library, size_t size)
{
    const LibdeflateApi *api = library->api;

    return api->bound(NULL, size);
}

static void *context_new(const LibdeflateApi *api, void *libdeflate)
{
    LibdeflateContext *context = malloc(sizeof(*context));

    if (context) {
        *context = (LibdeflateContext){api, libdeflate};
    }
    return context;
}

static void *libdeflate_compressor_new(const CodecLibrary *library, int level,
                                       bool streaming)
{
    const LibdeflateApi *api = library->api;
    void *libdeflate = streaming ? NULL : api->compressor_new(level);
    void *context = libdeflate ? context_new(api, libdeflate) : NULL;

    if (libdeflate && !context) {
        api->compressor_free(libdeflate);
    }
    return context;
}

static void *libdeflate_decompressor_new(const CodecLibrary *library,
                                         bool streaming)
{
    const LibdeflateApi *api = library->api;
    void *libdeflate = streaming ? NULL : api->decompressor_new();
    void *context = libdeflate ? context_new(api, libdeflate) : NULL;

    if (libdeflate && !context) {
        api->decompressor_free(libdeflate);
    }
    return context;
}

static void libdeflate_compressor_free(void *compressor)
{
    LibdeflateContext *context = compressor;

    if (context) {
        context->api->compressor_free(context->libdeflate);
        free(context);
    }
}

static void libdeflate_decompressor_free(void *decompressor)
{
    LibdeflateContext *context = decompressor;

    if (context) {
        context->api->decompressor_free(context->libdeflate);
        free(context);
    }
}

static ptrdiff_t libdeflate_compress(void *compressor, void *to, size_t room,
                                     const void *from, size_t size,
                                     CodecError *error)
{
    const LibdeflateContext *context = compressor;
    size_t written =
        context->api->compress(context->libdeflate, from, size, to, room);

    return written ? (ptrdiff_t)written
                   : codec_fail(error, "output exceeds its bound");
}

static int libdeflate_decompress(void *decompressor, void *to, size_t size,
                                 const void *from, size_t from_size,
                                 CodecError *error)
{
    const LibdeflateContext *context = decompressor;
    size_t taken;

    if (context->api->decompress(context->libdeflate, from, from_size, to,
                                 size, &taken, NULL) ||
        taken != from_size) {
        return codec_fail(error, "malformed block, or not of %zu bytes", size);
    }
    return 0;
}

const CodecOps codec_libdeflate = {
    .name = "zlib",
    .provider = "libdeflate",
    .symbols = libdeflate_symbols,
    .api_size = sizeof(LibdeflateApi),
    .streaming = false,
    .level_default = 1,
    .describe = libdeflate_describe,
    .bound = libdeflate_bound,
    .compressor_new = libdeflate_compressor_new,
    .compressor_free = libdeflate_compressor_free,
    .compress = libdeflate_compress,
    .decompressor_new = libdeflate_decompressor_new,
    .decompressor_free = libdeflate_decompressor_free,
    .decompress = libdeflate_decompress,
};
