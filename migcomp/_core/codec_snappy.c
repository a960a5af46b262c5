/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snappy blocks through libsnappy >= 1.0.2, which tells no version.
 * Declarations after snappy-c.h.
 */
#include "codec.h"

#include <stdlib.h>

typedef struct SnappyApi {
    int (*compress)(const char *, size_t, char *, size_t *);
    int (*uncompress)(const char *, size_t, char *, size_t *);
    size_t (*bound)(size_t);
} SnappyApi;

static const CodecSymbol snappy_symbols[] = {
    {"snappy_compress", offsetof(SnappyApi, compress)},
    {"snappy_uncompress", offsetof(SnappyApi, uncompress)},
    {"snappy_max_compressed_length", offsetof(SnappyApi, bound)},
    {NULL, 0},
};

/* Compressor and decompressor have no state: each is the library's functions. */
typedef struct SnappyContext {
    const SnappyApi *api;
} SnappyContext;

static int snappy_describe(CodecLibrary *library, CodecError *error)
{
    (void)error;
    library->level_min = library->level_max = 1;
    return 0;
}

static size_t snappy_bound(const CodecLibrary *library, size_t size)
{
    const SnappyApi *api = library->api;

    return api->bound(size);
}

static void *snappy_new(const CodecLibrary *library)
{
    SnappyContext *context = malloc(sizeof(*context));

    if (context) {
        context->api = library->api;
    }
    return context;
}

static void *snappy_compressor_new(const CodecLibrary *library, int level,
                                   bool streaming)
{
    (void)level;
    (void)streaming;
    return snappy_new(library);
}

static void *snappy_decompressor_new(const CodecLibrary *library,
                                     bool streaming)
{
    (void)streaming;
    return snappy_new(library);
}

static ptrdiff_t snappy_compress(void *compressor, void *to, size_t room,
                                 const void *from, size_t size,
                                 CodecError *error)
{
    const SnappyContext *context = compressor;
    size_t written = room;

    return context->api->compress(from, size, to, &written)
               ? codec_fail(error, "output exceeds its bound")
               : (ptrdiff_t)written;
}

static int snappy_decompress(void *decompressor, void *to, size_t size,
                             const void *from, size_t from_size,
                             CodecError *error)
{
    const SnappyContext *context = decompressor;
    size_t written = size;

    if (context->api->uncompress(from, from_size, to, &written)) {
        return codec_fail(error, "malformed block");
    }
    return written == size
               ? 0
               : codec_fail(error, "%zu bytes where %zu were expected",
                            written, size);
}

const CodecOps codec_snappy = {
    .name = "snappy",
    .provider = "libsnappy",
    .symbols = snappy_symbols,
    .api_size = sizeof(SnappyApi),
    .level_default = 1,
    .describe = snappy_describe,
    .bound = snappy_bound,
    .compressor_new = snappy_compressor_new,
    .compressor_free = free,
    .compress = snappy_compress,
    .decompressor_new = snappy_decompressor_new,
    .decompressor_free = free,
    .decompress = snappy_decompress,
};
