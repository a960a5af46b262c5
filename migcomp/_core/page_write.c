/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "page_write.h"

#include <errno.h>
#include <unistd.h>

static int write_fully(int fd, const uint8_t *from, size_t size, off_t offset)
{
    while (size) {
        ssize_t put = pwrite(fd, from, size, offset);

        if (put > 0) {
            from += put;
            size -= (size_t)put;
            offset += put;
        } else if (!put || errno != EINTR) {
            return put ? -errno : -ENOSPC;
        }
    }
    return 0;
}

static bool is_among(const PageRequest *request, uint32_t i, unsigned classes)
{
    return classes >> request->classes[i] & 1u;
}

int page_write(const PageRequest *request, const uint8_t *pages,
               uint32_t page_size, int fd, off_t offset, unsigned classes)
{
    uint32_t i = 0;

    while (i < request->pages) {
        uint32_t start = i;

        while (i < request->pages && is_among(request, i, classes)) {
            i++;
        }
        size_t begin = (size_t)start * page_size;
        size_t size = (size_t)(i - start) * page_size;
        off_t at;
        int failed = __builtin_add_overflow(offset, begin, &at)
                         ? -EFBIG
                         : write_fully(fd, pages + begin, size, at);

        if (failed) {
            return failed;
        }
        while (i < request->pages && !is_among(request, i, classes)) {
            i++;
        }
    }
    return 0;
}

int page_write_output(const PageRequest *request, const PageJob *job,
                      unsigned classes)
{
    off_t end;

    if (__builtin_add_overflow(request->first_page, request->pages, &end) ||
        __builtin_mul_overflow(end, job->page_size, &end)) {
        return -EFBIG;
    }
    return page_write(request, request->data, job->page_size, job->output_fd,
                      (off_t)request->first_page * job->page_size, classes);
}
