/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Codecs, bound to a shared library at run time: nothing is linked, and a
 * build needs no codec's header.  A library counts as usable only when it has
 * every symbol, is recent enough and brings one page through unharmed.
 */
#ifndef MIGCOMP_CODEC_H
#define MIGCOMP_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct CodecLibrary CodecLibrary;

/* Why something failed, for people. */
typedef struct CodecError {
    char text[120];
} CodecError;

/* Always returns -1, so that a failing function can end with it. */
__attribute__((format(printf, 2, 3))) int
codec_fail(CodecError *error, const char *format, ...);

typedef struct CodecSymbol {
    const char *name;
    size_t offset; /* of the function pointer in the codec's api struct */
} CodecSymbol;

/*
 * Contexts (compressors and decompressors) belong to one thread at a time.
 * A context made with streaming keeps history from call to call: its outputs
 * must be decompressed in the same order by one streaming decompressor.
 * Functions that can fail return -1 and fill in error.
 */
typedef struct CodecOps {
    const char *name;     /* of the format: "zstd", "lz4", "zlib", "none" */
    const char *provider; /* of the library: "libzstd", "libdeflate", ... */
    const CodecSymbol *symbols; /* ends with name NULL */
    size_t api_size;
    bool streaming;
    int level_default;

    /* Fills in version, level_min and level_max. */
    int (*describe)(CodecLibrary *library, CodecError *error);

    /* Room that any output of size bytes needs, flushing included. */
    size_t (*bound)(const CodecLibrary *library, size_t size);

    /* NULL when there is no memory. */
    void *(*compressor_new)(const CodecLibrary *library, int level,
                            bool streaming);
    void (*compressor_free)(void *compressor); /* NULL is allowed */
    /* The size of the output.  With streaming everything is flushed. */
    ptrdiff_t (*compress)(void *compressor, void *to, size_t room,
                          const void *from, size_t size, CodecError *error);

    void *(*decompressor_new)(const CodecLibrary *library, bool streaming);
    void (*decompressor_free)(void *decompressor); /* NULL is allowed */
    /* 0 when from inflates to exactly size bytes, -1 otherwise. */
    int (*decompress)(void *decompressor, void *to, size_t size,
                      const void *from, size_t from_size, CodecError *error);

    /*
     * Deltas: as compress and decompress of independent blocks, but that both
     * sides have previous, size bytes as well.  NULL for a codec that makes
     * none; see codec_library_bind_deltas.
     */
    const CodecSymbol *delta_symbols;
    size_t delta_max; /* size at most, for a match in previous to be near */
    ptrdiff_t (*compress_delta)(void *compressor, void *to, size_t room,
                                const void *from, size_t size,
                                const void *previous, CodecError *error);
    int (*decompress_delta)(void *decompressor, void *to, size_t size,
                            const void *from, size_t from_size,
                            const void *previous, CodecError *error);
} CodecOps;

struct CodecLibrary {
    const CodecOps *ops;
    void *handle; /* of dlopen; NULL for codecs that need no library */
    void *api;    /* the codec's struct of function pointers */
    int level_min, level_max;
    uint32_t version_number; /* for comparing; 0 when unknown */
    char version[24];        /* "" when unknown */
    bool deltas;             /* their symbols are bound */
    void *user;              /* for codecs that module.c brings */
};

/* Ends with NULL. */
extern const CodecOps *const codec_all[];

extern const CodecOps codec_none, codec_zstd, codec_lz4, codec_zlib,
    codec_libdeflate, codec_snappy, codec_lzo;

/* path is what dlopen takes.  NULL with error filled in. */
CodecLibrary *codec_library_open(const CodecOps *ops, const char *path,
                                 CodecError *error);
void codec_library_close(CodecLibrary *library); /* NULL is allowed */

/* To be called, by one thread at a time, before deltas are made.  -1 with error
 * filled in when the codec or its library has none. */
int codec_library_bind_deltas(CodecLibrary *library, CodecError *error);

#endif
