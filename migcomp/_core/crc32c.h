/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CRC-32C (Castagnoli), as iSCSI and snappy's framed format have it: RFC 3720,
 * section 12.1; the polynomial reflected is 0x82f63b78.
 */
#ifndef MIGCOMP_CRC32C_H
#define MIGCOMP_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(const void *data, size_t size);

#endif
