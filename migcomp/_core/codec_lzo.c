/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LZO1X blocks through liblzo2 >= 2.02.  Declarations after lzo/lzo1x.h, where
 * lzo_uint is size_t.
 */
#include "codec.h"

#include <stdio.h>
#include <stdlib.h>

enum { VERSION_MIN = 0x2020 };
/* LZO1X_1_MEM_COMPRESS: 16384 pointers. */
enum { WORK_SIZE = 16384 * sizeof(void *) };

typedef struct LzoApi {
    unsigned (*version)(void);
    const char *(*version_string)(void);
    int (*compress)(const uint8_t *, size_t, uint8_t *, size_t *, void *);
    int (*decompress)(const uint8_t *, size_t, uint8_t *, size_t *, void *);
} LzoApi;

static const CodecSymbol lzo_symbols[] = {
    {"lzo_version", offsetof(LzoApi, version)},
    {"lzo_version_string", offsetof(LzoApi, version_string)},
    {"lzo1x_1_compress", offsetof(LzoApi, compress)},
    {"lzo1x_decompress_safe", offsetof(LzoApi, decompress)},
    {NULL, 0},
};

/* A decompressor needs no room to work in. */
typedef struct LzoContext {
    const LzoApi *api;
    void *work;
} LzoContext;

static int lzo_describe(CodecLibrary *library, CodecError *error)
{
    const LzoApi *api = library->api;

    snprintf(library->version, sizeof(library->version), "%s",
             api->version_string());
    library->version_number = api->version();
    if (library->version_number < VERSION_MIN) {
        return codec_fail(error, "is %s, older than 2.02", library->version);
    }
    library->level_min = library->level_max = 1;
    return 0;
}

static size_t lzo_bound(const CodecLibrary *library, size_t size)
{
    (void)library;
    return size + size / 16 + 64 + 3;
}

static void lzo_free(void *opaque)
{
    LzoContext *context = opaque;

    if (context) {
        free(context->work);
        free(context);
    }
}

static void *lzo_new(const CodecLibrary *library, size_t work)
{
    LzoContext *context = malloc(sizeof(*context));

    if (!context) {
        return NULL;
    }
    context->api = library->api;
    context->work = work ? malloc(work) : NULL;
    if (work && !context->work) {
        free(context);
        return NULL;
    }
    return context;
}

static void *lzo_compressor_new(const CodecLibrary *library, int level,
                                bool streaming)
{
    (void)level;
    (void)streaming;
    return lzo_new(library, WORK_SIZE);
}

static void *lzo_decompressor_new(const CodecLibrary *library, bool streaming)
{
    (void)streaming;
    return lzo_new(library, 0);
}

/* The room is the bound's, which no output exceeds: LZO does not ask. */
static ptrdiff_t lzo_compress(void *compressor, void *to, size_t room,
                              const void *from, size_t size, CodecError *error)
{
    const LzoContext *context = compressor;
    size_t written = room;

    return context->api->compress(from, size, to, &written, context->work)
               ? codec_fail(error, "compression failed")
               : (ptrdiff_t)written;
}

static int lzo_decompress(void *decompressor, void *to, size_t size,
                          const void *from, size_t from_size,
                          CodecError *error)
{
    const LzoContext *context = decompressor;
    size_t written = size;

    if (context->api->decompress(from, from_size, to, &written, NULL)) {
        return codec_fail(error, "malformed block");
    }
    return written == size
               ? 0
               : codec_fail(error, "%zu bytes where %zu were expected",
                            written, size);
}

const CodecOps codec_lzo = {
    .name = "lzo",
    .provider = "liblzo2",
    .symbols = lzo_symbols,
    .api_size = sizeof(LzoApi),
    .level_default = 1,
    .describe = lzo_describe,
    .bound = lzo_bound,
    .compressor_new = lzo_compressor_new,
    .compressor_free = lzo_free,
    .compress = lzo_compress,
    .decompressor_new = lzo_decompressor_new,
    .decompressor_free = lzo_free,
    .decompress = lzo_decompress,
};
