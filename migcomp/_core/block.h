/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One compressed block of a job with a codec that compresses: pages, and as
 * many bytes of what the receiver has of them in previous, or NULL.
 */
#ifndef MIGCOMP_BLOCK_H
#define MIGCOMP_BLOCK_H

#include "handlers.h"

/* to has the codec's bound for size; the size of the block, or -1. */
ptrdiff_t block_compress(const PageJob *job, void *compressor, void *to,
                         const void *from, size_t size,
                         const uint8_t *previous, CodecError *error);

/* 0 when from becomes exactly size bytes, else -1. */
int block_decompress(const PageJob *job, void *decompressor, void *to,
                     size_t size, const void *from, size_t from_size,
                     const uint8_t *previous, CodecError *error);

#endif
