/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "block.h"

ptrdiff_t block_compress(const PageJob *job, void *compressor, void *to,
                         const void *from, size_t size,
                         const uint8_t *previous, CodecError *error)
{
    const CodecOps *codec = job->library->ops;
    size_t room = codec->bound(job->library, size);

    return previous ? codec->compress_delta(compressor, to, room, from, size,
                                            previous, error)
                    : codec->compress(compressor, to, room, from, size, error);
}

int block_decompress(const PageJob *job, void *decompressor, void *to,
                     size_t size, const void *from, size_t from_size,
                     const uint8_t *previous, CodecError *error)
{
    const CodecOps *codec = job->library->ops;

    return previous ? codec->decompress_delta(decompressor, to, size, from,
                                              from_size, previous, error)
                    : codec->decompress(decompressor, to, size, from,
                                        from_size, error);
}
