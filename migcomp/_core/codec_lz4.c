/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LZ4 blocks through liblz4 >= 1.9.0.  Levels as in the lz4 program: negative
 * is acceleration, 0 to 2 the default, 3 to 12 the HC compressor.
 * Declarations after the stable part of lz4.h and lz4hc.h.
 */
#include "codec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION_MIN = 10900 };
enum { LEVEL_MIN = -65537, LEVEL_MAX = 12, LEVEL_HC = 3 };
/* LZ4 matches reach back 64 KiB at most. */
enum { HISTORY = 65536, DISTANCE_MAX = HISTORY - 1 };

typedef struct Lz4Api {
    int (*version_number)(void);
    int (*bound)(int);
    void *(*fast_new)(void);
    int (*fast_free)(void *);
    int (*fast_block)(void *, const char *, char *, int, int, int);
    int (*fast_compress)(void *, const char *, char *, int, int, int);
    int (*fast_save)(void *, char *, int);
    void *(*hc_new)(void);
    int (*hc_free)(void *);
    void (*hc_reset)(void *, int);
    int (*hc_block)(void *, const char *, char *, int, int, int);
    int (*hc_compress)(void *, const char *, char *, int, int);
    int (*hc_save)(void *, char *, int);
    int (*decompress)(const char *, char *, int, int, const char *, int);
    /* Of deltas. */
    int (*fast_load)(void *, const char *, int);
    int (*hc_load)(void *, const char *, int);
} Lz4Api;

static const CodecSymbol lz4_symbols[] = {
    {"LZ4_versionNumber", offsetof(Lz4Api, version_number)},
    {"LZ4_compressBound", offsetof(Lz4Api, bound)},
    {"LZ4_createStream", offsetof(Lz4Api, fast_new)},
    {"LZ4_freeStream", offsetof(Lz4Api, fast_free)},
    {"LZ4_compress_fast_extState", offsetof(Lz4Api, fast_block)},
    {"LZ4_compress_fast_continue", offsetof(Lz4Api, fast_compress)},
    {"LZ4_saveDict", offsetof(Lz4Api, fast_save)},
    {"LZ4_createStreamHC", offsetof(Lz4Api, hc_new)},
    {"LZ4_freeStreamHC", offsetof(Lz4Api, hc_free)},
    {"LZ4_resetStreamHC_fast", offsetof(Lz4Api, hc_reset)},
    {"LZ4_compress_HC_extStateHC", offsetof(Lz4Api, hc_block)},
    {"LZ4_compress_HC_continue", offsetof(Lz4Api, hc_compress)},
    {"LZ4_saveDictHC", offsetof(Lz4Api, hc_save)},
    {"LZ4_decompress_safe_usingDict", offsetof(Lz4Api, decompress)},
    {NULL, 0},
};

static const CodecSymbol lz4_delta_symbols[] = {
    {"LZ4_loadDict", offsetof(Lz4Api, fast_load)},
    {"LZ4_loadDictHC", offsetof(Lz4Api, hc_load)},
    {NULL, 0},
};

/* A compressor has a stream, a decompressor only history. */
typedef struct Lz4Context {
    const Lz4Api *api;
    void *stream; /* LZ4_stream_t or, from LEVEL_HC on, LZ4_streamHC_t */
    int level;
    bool streaming;
    int history_size;
    char history[HISTORY]; /* of a streaming context: the latest bytes */
} Lz4Context;

static int lz4_describe(CodecLibrary *library, CodecError *error)
{
    const Lz4Api *api = library->api;
    unsigned version = (unsigned)api->version_number();

    snprintf(library->version, sizeof(library->version), "%u.%u.%u",
             version / 10000, version / 100 % 100, version % 100);
    if (version < VERSION_MIN) {
        return codec_fail(error, "is %s, older than 1.9.0", library->version);
    }
    library->version_number = version;
    library->level_min = LEVEL_MIN;
    library->level_max = LEVEL_MAX;
    return 0;
}

static size_t lz4_bound(const CodecLibrary *library, size_t size)
{
    const Lz4Api *api = library->api;

    return (size_t)api->bound((int)size);
}

static void lz4_free(void *opaque)
{
    Lz4Context *context = opaque;

    if (!context) {
        return;
    }
    if (context->stream && context->level >= LEVEL_HC) {
        context->api->hc_free(context->stream);
    } else if (context->stream) {
        context->api->fast_free(context->stream);
    }
    free(context);
}

static Lz4Context *lz4_context(const CodecLibrary *library, bool streaming)
{
    Lz4Context *context = malloc(sizeof(*context));

    if (context) {
        context->api = library->api;
        context->stream = NULL;
        context->level = 0;
        context->streaming = streaming;
        context->history_size = 0;
    }
    return context;
}

static void *lz4_compressor_new(const CodecLibrary *library, int level,
                                bool streaming)
{
    Lz4Context *context = lz4_context(library, streaming);

    if (!context) {
        return NULL;
    }
    context->level = level;
    if (level >= LEVEL_HC) {
        context->stream = context->api->hc_new();
        if (context->stream) {
            context->api->hc_reset(context->stream, level);
        }
    } else {
        context->stream = context->api->fast_new();
    }
    if (!context->stream) {
        lz4_free(context);
        return NULL;
    }
    return context;
}

static void *lz4_decompressor_new(const CodecLibrary *library, bool streaming)
{
    return lz4_context(library, streaming);
}

/*
 * An independent block is made from a state that is cleared before it, and not
 * by LZ4_resetStream_fast: that leaves traces of the blocks before, and the
 * output would depend on which thread had which page.
 */
static int compress_block(const Lz4Context *context, char *to, int room,
                          const char *from, int size)
{
    const Lz4Api *api = context->api;

    return context->level >= LEVEL_HC
               ? api->hc_block(context->stream, from, to, size, room,
                               context->level)
               : api->fast_block(context->stream, from, to, size, room,
                                 -context->level);
}

static int compress_on(Lz4Context *context, char *to, int room,
                       const char *from, int size)
{
    const Lz4Api *api = context->api;
    int written, saved;

    if (context->level >= LEVEL_HC) {
        written = api->hc_compress(context->stream, from, to, size, room);
        saved = api->hc_save(context->stream, context->history, HISTORY);
    } else {
        written = api->fast_compress(context->stream, from, to, size, room,
                                     -context->level);
        saved = api->fast_save(context->stream, context->history, HISTORY);
    }
    /* Unsaved, the history is the caller's memory, which he will overwrite. */
    return saved > 0 ? written : 0;
}

static ptrdiff_t lz4_compress(void *compressor, void *to, size_t room,
                              const void *from, size_t size, CodecError *error)
{
    Lz4Context *context = compressor;
    int written =
        context->streaming
            ? compress_on(context, to, (int)room, from, (int)size)
            : compress_block(context, to, (int)room, from, (int)size);

    return written > 0 ? written
                       : codec_fail(error, "the library failed");
}

static void remember(Lz4Context *context, const char *data, size_t size)
{
    if (size >= HISTORY) {
        memcpy(context->history, data + size - HISTORY, HISTORY);
        context->history_size = HISTORY;
        return;
    }
    size_t kept = (size_t)context->history_size;

    if (kept > HISTORY - size) {
        memmove(context->history, context->history + kept - (HISTORY - size),
                HISTORY - size);
        kept = HISTORY - size;
    }
    memcpy(context->history + kept, data, size);
    context->history_size = (int)(kept + size);
}

static int check_size(int written, size_t size, CodecError *error)
{
    if (written < 0) {
        return codec_fail(error, "malformed block");
    }
    if ((size_t)written != size) {
        return codec_fail(error, "%d bytes where %zu were expected", written,
                          size);
    }
    return 0;
}

static int lz4_decompress(void *decompressor, void *to, size_t size,
                          const void *from, size_t from_size,
                          CodecError *error)
{
    Lz4Context *context = decompressor;
    int written = context->api->decompress(from, to, (int)from_size, (int)size,
                                           context->history,
                                           context->history_size);

    if (check_size(written, size, error)) {
        return -1;
    }
    if (context->streaming) {
        remember(context, to, size);
    }
    return 0;
}

/* --- Deltas: previous is the dictionary of one block ------------------------ */

static ptrdiff_t lz4_compress_delta(void *compressor, void *to, size_t room,
                                    const void *from, size_t size,
                                    const void *previous, CodecError *error)
{
    Lz4Context *context = compressor;
    const Lz4Api *api = context->api;
    bool hc = context->level >= LEVEL_HC;
    /* Both forget the blocks before. */
    int loaded = hc ? api->hc_load(context->stream, previous, (int)size)
                    : api->fast_load(context->stream, previous, (int)size);
    int written = 0;

    if (loaded == (int)size) {
        written = hc ? api->hc_compress(context->stream, from, to, (int)size,
                                        (int)room)
                     : api->fast_compress(context->stream, from, to, (int)size,
                                          (int)room, -context->level);
    }
    return written > 0 ? written : codec_fail(error, "the library failed");
}

static int lz4_decompress_delta(void *decompressor, void *to, size_t size,
                                const void *from, size_t from_size,
                                const void *previous, CodecError *error)
{
    const Lz4Context *context = decompressor;

    return check_size(context->api->decompress(from, to, (int)from_size,
                                               (int)size, previous, (int)size),
                      size, error);
}

const CodecOps codec_lz4 = {
    .name = "lz4",
    .provider = "liblz4",
    .symbols = lz4_symbols,
    .api_size = sizeof(Lz4Api),
    .streaming = true,
    .level_default = 1,
    .describe = lz4_describe,
    .bound = lz4_bound,
    .compressor_new = lz4_compressor_new,
    .compressor_free = lz4_free,
    .compress = lz4_compress,
    .decompressor_new = lz4_decompressor_new,
    .decompressor_free = lz4_free,
    .decompress = lz4_decompress,
    .delta_symbols = lz4_delta_symbols,
    .delta_max = DISTANCE_MAX,
    .compress_delta = lz4_compress_delta,
    .decompress_delta = lz4_decompress_delta,
};
