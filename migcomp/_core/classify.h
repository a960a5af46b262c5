/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What each page of a request is, before its content is compressed. */
#ifndef MIGCOMP_CLASSIFY_H
#define MIGCOMP_CLASSIFY_H

#include "handlers.h"

/*
 * previous has room for a page, and gets what the receiver has of page i, if
 * the request has such.  A page with content becomes PAGE_NORMAL.  0 or -EIO.
 */
int classify_page(const PageJob *job, PageRequest *request, uint32_t i,
                  uint8_t *previous);

/* All of them; previous gets what the receiver has of those with content, side
 * by side. */
int classify_pages(const PageJob *job, PageRequest *request,
                   uint8_t *previous);

/* For STAGE_FRAME: no page is anything but content. */
void classify_frame(PageRequest *request);

#endif
