/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a fuzz target of the core has.  Linked with spoil.c it spoils a file by
 * itself, linked without it libFuzzer drives it.
 */
#ifndef MIGCOMP_SPOIL_H
#define MIGCOMP_SPOIL_H

#include <stddef.h>
#include <stdint.h>

/* 0; data is nobody else's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Prints one line about what came of all inputs. */
void fuzz_report(void);

#endif
