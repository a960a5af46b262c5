/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The zlib format (RFC 1950) through libz: with the window and memory level
 * of deflateInit, which is what QEMU uses, so that sizes are QEMU's sizes.
 * Declarations after zlib.h; z_stream's layout has been stable since 1.0.
 */
#include "codec.h"

#include <stdio.h>
#include <stdlib.h>

enum { Z_OK = 0, Z_STREAM_END = 1 };
enum { Z_SYNC_FLUSH = 2, Z_FINISH = 4 };

typedef struct ZStream {
    const uint8_t *next_in;
    unsigned avail_in;
    unsigned long total_in;
    uint8_t *next_out;
    unsigned avail_out;
    unsigned long total_out;
    const char *msg;
    void *state;
    void *(*zalloc)(void *, unsigned, unsigned);
    void (*zfree)(void *, void *);
    void *opaque;
    int data_type;
    unsigned long adler;
    unsigned long reserved;
} ZStream;

typedef struct ZlibApi {
    const char *(*version)(void);
    unsigned long (*bound)(unsigned long);
    int (*deflate_init)(ZStream *, int, const char *, int);
    int (*deflate)(ZStream *, int);
    int (*deflate_reset)(ZStream *);
    int (*deflate_end)(ZStream *);
    int (*inflate_init)(ZStream *, const char *, int);
    int (*inflate)(ZStream *, int);
    int (*inflate_reset)(ZStream *);
    int (*inflate_end)(ZStream *);
} ZlibApi;

static const CodecSymbol zlib_symbols[] = {
    {"zlibVersion", offsetof(ZlibApi, version)},
    {"compressBound", offsetof(ZlibApi, bound)},
    {"deflateInit_", offsetof(ZlibApi, deflate_init)},
    {"deflate", offsetof(ZlibApi, deflate)},
    {"deflateReset", offsetof(ZlibApi, deflate_reset)},
    {"deflateEnd", offsetof(ZlibApi, deflate_end)},
    {"inflateInit_", offsetof(ZlibApi, inflate_init)},
    {"inflate", offsetof(ZlibApi, inflate)},
    {"inflateReset", offsetof(ZlibApi, inflate_reset)},
    {"inflateEnd", offsetof(ZlibApi, inflate_end)},
    {NULL, 0},
};

typedef struct ZlibContext {
    const ZlibApi *api;
    ZStream stream;
    bool streaming;
} ZlibContext;

static int zlib_describe(CodecLibrary *library, CodecError *error)
{
    const ZlibApi *api = library->api;
    const char *version = api->version();

    snprintf(library->version, sizeof(library->version), "%s", version);
    if (version[0] != '1') {
        return codec_fail(error, "is %s, which is not zlib 1", version);
    }
    library->level_min = 0;
    library->level_max = 9;
    return 0;
}

static size_t zlib_bound(const CodecLibrary *library, size_t size)
{
    const ZlibApi *api = library->api;

    /* compressBound knows the default settings; deflate with other levels
     * and flushing may add a header of 5 bytes to each 16 KiB, and more. */
    return api->bound(size) + 8 * (size >> 12) + 64;
}

static void zlib_compressor_free(void *compressor)
{
    ZlibContext *context = compressor;

    if (context) {
        context->api->deflate_end(&context->stream);
        free(context);
    }
}

static void zlib_decompressor_free(void *decompressor)
{
    ZlibContext *context = decompressor;

    if (context) {
        context->api->inflate_end(&context->stream);
        free(context);
    }
}

static void *zlib_compressor_new(const CodecLibrary *library, int level,
                                 bool streaming)
{
    ZlibContext *context = calloc(1, sizeof(*context));

    if (!context) {
        return NULL;
    }
    context->api = library->api;
    context->streaming = streaming;
    if (context->api->deflate_init(&context->stream, level,
                                   context->api->version(),
                                   sizeof(ZStream)) != Z_OK) {
        free(context);
        return NULL;
    }
    return context;
}

static void *zlib_decompressor_new(const CodecLibrary *library, bool streaming)
{
    ZlibContext *context = calloc(1, sizeof(*context));

    if (!context) {
        return NULL;
    }
    context->api = library->api;
    context->streaming = streaming;
    if (context->api->inflate_init(&context->stream, context->api->version(),
                                   sizeof(ZStream)) != Z_OK) {
        free(context);
        return NULL;
    }
    return context;
}

static void set_buffers(ZStream *stream, void *to, size_t room,
                        const void *from, size_t size)
{
    stream->next_in = from;
    stream->avail_in = (unsigned)size;
    stream->next_out = to;
    stream->avail_out = (unsigned)room;
}

static ptrdiff_t zlib_compress(void *compressor, void *to, size_t room,
                               const void *from, size_t size,
                               CodecError *error)
{
    ZlibContext *context = compressor;
    ZStream *stream = &context->stream;
    int result;

    if (!context->streaming) {
        context->api->deflate_reset(stream);
    }
    set_buffers(stream, to, room, from, size);
    result = context->api->deflate(
        stream, context->streaming ? Z_SYNC_FLUSH : Z_FINISH);
    if (result != (context->streaming ? Z_OK : Z_STREAM_END) ||
        !stream->avail_out) {
        return codec_fail(error, "deflate failed (%d)", result);
    }
    return (ptrdiff_t)(room - stream->avail_out);
}

static int zlib_decompress(void *decompressor, void *to, size_t size,
                           const void *from, size_t from_size,
                           CodecError *error)
{
    ZlibContext *context = decompressor;
    ZStream *stream = &context->stream;
    int result;

    if (!context->streaming) {
        context->api->inflate_reset(stream);
    }
    set_buffers(stream, to, size, from, from_size);
    result = context->api->inflate(stream, Z_SYNC_FLUSH);
    if (stream->avail_out || stream->avail_in ||
        result != (context->streaming ? Z_OK : Z_STREAM_END)) {
        return codec_fail(error, "%s",
                          stream->msg ? stream->msg : "malformed block");
    }
    return 0;
}

const CodecOps codec_zlib = {
    .name = "zlib",
    .provider = "libz",
    .symbols = zlib_symbols,
    .api_size = sizeof(ZlibApi),
    .streaming = true,
    .level_default = 1,
    .describe = zlib_describe,
    .bound = zlib_bound,
    .compressor_new = zlib_compressor_new,
    .compressor_free = zlib_compressor_free,
    .compress = zlib_compress,
    .decompressor_new = zlib_decompressor_new,
    .decompressor_free = zlib_decompressor_free,
    .decompress = zlib_decompress,
};
