/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Prototypes after zstd.h, lz4.h, zlib.h and libdeflate.h: only functions of
 * the libraries' stable interfaces, so that no header is needed.
 */
#define _GNU_SOURCE
#include "limit_codec.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void limit_fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fprintf(stderr, "limit: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

static void *library;

/* POSIX lets a data pointer hold a function, ISO C wants it copied. */
static void bind_symbol(void *function, const char *name)
{
    void *symbol = dlsym(library, name);

    if (!symbol) {
        limit_fail("the library has no symbol %s", name);
    }
    memcpy(function, &symbol, sizeof(symbol));
}

static struct {
    void *(*cctx_new)(void);
    size_t (*set)(void *, int, int);
    size_t (*compress)(void *, void *, size_t, const void *, size_t);
    unsigned (*is_error)(size_t);
} zstd;

static void *zstd_new(int level)
{
    enum { COMPRESSION_LEVEL = 100 };
    void *context = zstd.cctx_new();

    if (!context ||
        zstd.is_error(zstd.set(context, COMPRESSION_LEVEL, level))) {
        return NULL;
    }
    return context;
}

static size_t zstd_compress(void *context, void *to, const void *from,
                            size_t size)
{
    size_t written = zstd.compress(context, to, LIMIT_ROOM, from, size);

    return zstd.is_error(written) ? 0 : written;
}

static struct {
    void *(*stream_new)(void);
    void (*reset)(void *);
    int (*compress)(void *, const char *, char *, int, int, int);
} lz4;

typedef struct Lz4Context {
    void *stream;
    int acceleration;
} Lz4Context;

/* As for the lz4 program, a negative level is an acceleration. */
static void *lz4_new(int level)
{
    Lz4Context *context = malloc(sizeof(*context));

    if (!context || level > 2) {
        free(context);
        return NULL;
    }
    *context = (Lz4Context){lz4.stream_new(), level < 0 ? -level : 1};
    return context;
}

static size_t lz4_compress(void *opaque, void *to, const void *from,
                           size_t size)
{
    Lz4Context *context = opaque;
    int written;

    lz4.reset(context->stream);
    written = lz4.compress(context->stream, from, to, (int)size, (int)LIMIT_ROOM,
                           context->acceleration);
    return written > 0 ? (size_t)written : 0;
}

/* z_stream of zlib.h. */
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

static struct {
    const char *(*version)(void);
    int (*init)(ZStream *, int, const char *, int);
    int (*reset)(ZStream *);
    int (*deflate)(ZStream *, int);
} zlib;

static void *zlib_new(int level)
{
    ZStream *stream = calloc(1, sizeof(*stream));

    if (!stream ||
        zlib.init(stream, level, zlib.version(), sizeof(*stream))) {
        free(stream);
        return NULL;
    }
    return stream;
}

static size_t zlib_compress(void *context, void *to, const void *from,
                            size_t size)
{
    enum { FINISH = 4, STREAM_END = 1 };
    ZStream *stream = context;

    zlib.reset(stream);
    stream->next_in = from;
    stream->avail_in = (unsigned)size;
    stream->next_out = to;
    stream->avail_out = (unsigned)LIMIT_ROOM;
    return zlib.deflate(stream, FINISH) == STREAM_END ? stream->total_out : 0;
}

static struct {
    void *(*compressor_new)(int);
    size_t (*compress)(void *, const void *, size_t, void *, size_t);
} libdeflate;

static void *libdeflate_new(int level)
{
    return libdeflate.compressor_new(level);
}

static size_t libdeflate_compress(void *context, void *to, const void *from,
                                  size_t size)
{
    return libdeflate.compress(context, from, size, to, LIMIT_ROOM);
}

static void *memcpy_new(int level)
{
    static char nothing;

    (void)level;
    return &nothing;
}

static size_t memcpy_compress(void *context, void *to, const void *from,
                              size_t size)
{
    (void)context;
    memcpy(to, from, size);
    return size;
}

static const LimitCodec codecs[] = {
    {"zstd", zstd_new, zstd_compress},
    {"lz4", lz4_new, lz4_compress},
    {"zlib", zlib_new, zlib_compress},
    {"libdeflate", libdeflate_new, libdeflate_compress},
    {"memcpy", memcpy_new, memcpy_compress},
};

static const struct {
    const char *codec, *symbol;
    void *function;
} symbols[] = {
    {"zstd", "ZSTD_createCCtx", &zstd.cctx_new},
    {"zstd", "ZSTD_CCtx_setParameter", &zstd.set},
    {"zstd", "ZSTD_compress2", &zstd.compress},
    {"zstd", "ZSTD_isError", &zstd.is_error},
    {"lz4", "LZ4_createStream", &lz4.stream_new},
    {"lz4", "LZ4_resetStream_fast", &lz4.reset},
    {"lz4", "LZ4_compress_fast_continue", &lz4.compress},
    {"zlib", "zlibVersion", &zlib.version},
    {"zlib", "deflateInit_", &zlib.init},
    {"zlib", "deflateReset", &zlib.reset},
    {"zlib", "deflate", &zlib.deflate},
    {"libdeflate", "libdeflate_alloc_compressor", &libdeflate.compressor_new},
    {"libdeflate", "libdeflate_zlib_compress", &libdeflate.compress},
};

static const LimitCodec *find_codec(const char *name)
{
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        if (!strcmp(codecs[i].name, name)) {
            return &codecs[i];
        }
    }
    limit_fail("there is no codec %s", name);
}

const LimitCodec *limit_codec_open(const char *name, const char *path)
{
    const LimitCodec *codec = find_codec(name);

    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        if (strcmp(symbols[i].codec, name)) {
            continue;
        }
        if (!library && !(library = dlopen(path, RTLD_NOW | RTLD_LOCAL))) {
            limit_fail("%s", dlerror());
        }
        bind_symbol(symbols[i].function, symbols[i].symbol);
    }
    return codec;
}
