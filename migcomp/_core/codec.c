/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "codec.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const CodecOps *const codec_all[] = {
    &codec_zstd,   &codec_lz4, &codec_zlib, &codec_libdeflate,
    &codec_snappy, &codec_lzo, &codec_none, NULL,
};

int codec_fail(CodecError *error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    return -1;
}

/* The name of the first symbol that is not there, or NULL. */
static const char *bind_symbols(CodecLibrary *library,
                                const CodecSymbol *symbol)
{
    for (; symbol->name; symbol++) {
        void *function = dlsym(library->handle, symbol->name);

        if (!function) {
            return symbol->name;
        }
        memcpy((char *)library->api + symbol->offset, &function,
               sizeof(function));
    }
    return NULL;
}

enum { TRIAL_SIZE = 4096 };

static int try_page(const CodecLibrary *library, CodecError *error)
{
    const CodecOps *ops = library->ops;
    size_t room = ops->bound(library, TRIAL_SIZE);
    void *compressor =
        ops->compressor_new(library, ops->level_default, false);
    void *decompressor = ops->decompressor_new(library, false);
    uint8_t *memory = malloc(2 * TRIAL_SIZE + room);
    int failed = -1;

    if (!compressor || !decompressor || !memory) {
        codec_fail(error, "no memory for a trial page");
    } else {
        uint8_t *page = memory, *back = page + TRIAL_SIZE,
                *packed = back + TRIAL_SIZE;

        for (unsigned i = 0; i < TRIAL_SIZE; i++) {
            page[i] = (uint8_t)(i * i >> 6);
        }
        ptrdiff_t size =
            ops->compress(compressor, packed, room, page, TRIAL_SIZE, error);

        if (size >= 0 && !ops->decompress(decompressor, back, TRIAL_SIZE,
                                          packed, (size_t)size, error)) {
            failed = memcmp(page, back, TRIAL_SIZE)
                         ? codec_fail(error, "spoils a trial page")
                         : 0;
        }
    }
    free(memory);
    ops->decompressor_free(decompressor);
    ops->compressor_free(compressor);
    return failed;
}

static int open_shared_object(CodecLibrary *library, const char *path,
                              CodecError *error)
{
    /* RTLD_LOCAL, because two versions of a library may be loaded at once. */
    library->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library->handle) {
        return codec_fail(error, "%s", dlerror());
    }
    library->api = calloc(1, library->ops->api_size);
    if (!library->api) {
        return codec_fail(error, "no memory");
    }
    const char *missing = bind_symbols(library, library->ops->symbols);

    return missing ? codec_fail(error, "has no symbol %s", missing) : 0;
}

CodecLibrary *codec_library_open(const CodecOps *ops, const char *path,
                                 CodecError *error)
{
    CodecLibrary *library = calloc(1, sizeof(*library));

    if (!library) {
        codec_fail(error, "no memory");
        return NULL;
    }
    library->ops = ops;
    if ((ops->symbols && open_shared_object(library, path, error)) ||
        ops->describe(library, error) ||
        (ops->symbols && try_page(library, error))) {
        codec_library_close(library);
        return NULL;
    }
    return library;
}

void codec_library_close(CodecLibrary *library)
{
    if (!library) {
        return;
    }
    if (library->handle) {
        dlclose(library->handle);
    }
    free(library->api);
    free(library);
}

int codec_library_bind_deltas(CodecLibrary *library, CodecError *error)
{
    const CodecOps *ops = library->ops;

    if (library->deltas) {
        return 0;
    }
    if (!ops->compress_delta) {
        return codec_fail(error, "%s makes no deltas; take zstd or lz4",
                          ops->name);
    }
    const char *missing = bind_symbols(library, ops->delta_symbols);

    if (missing) {
        return codec_fail(error,
                          "%s %s has no symbol %s, which deltas need; install "
                          "a complete one",
                          ops->provider, library->version, missing);
    }
    library->deltas = true;
    return 0;
}

/* --- none: pages stay as they are ------------------------------------------ */

static int none_describe(CodecLibrary *library, CodecError *error)
{
    (void)library;
    (void)error;
    return 0;
}

/* Nobody asks none to compress: its pages are normal pages. */
const CodecOps codec_none = {
    .name = "none",
    .provider = "built in",
    .streaming = true,
    .describe = none_describe,
};
