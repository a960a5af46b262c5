/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What each page of a request is, before its content is compressed. */
#ifndef MIGCOMP_CLASSIFY_H
#define MIGCOMP_CLASSIFY_H

#include "handlers.h"

/* Pages with content become PAGE_NORMAL; previous, with room for all pages,
 * gets what the receiver has of those, side by side, if the request has such.
 * 0 or -EIO. */
int classify_pages(const PageJob *job, PageRequest *request,
                   uint8_t *previous);

/* For STAGE_FRAME: no page is anything but content. */
void classify_frame(PageRequest *request);

#endif
