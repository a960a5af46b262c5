/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The codecs of the bare loop, each as thin as its library allows. */
#ifndef MIGCOMP_LIMIT_CODEC_H
#define MIGCOMP_LIMIT_CODEC_H

#include <stddef.h>

/* Room for any output: twice the largest input. */
#define LIMIT_ROOM ((size_t)1 << 20)

typedef struct LimitCodec {
    const char *name;
    /* NULL on failure; contexts live as long as the process. */
    void *(*context_new)(int level);
    /* The size of the output, at most LIMIT_ROOM; 0 on failure. */
    size_t (*compress)(void *context, void *to, const void *from, size_t size);
} LimitCodec;

/* Prints one line and ends the process. */
__attribute__((noreturn, format(printf, 1, 2))) void
limit_fail(const char *format, ...);

/* path is what dlopen takes; one codec per process. */
const LimitCodec *limit_codec_open(const char *name, const char *path);

#endif
