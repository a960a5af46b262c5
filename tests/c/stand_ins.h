/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each function of a codec's library that can fail is replaced, as it is bound
 * (--wrap=dlsym), by one that fails when FAULT_CODEC says so, in the way in
 * which that function fails, and otherwise passes on to the library.
 */
#ifndef MIGCOMP_STAND_INS_H
#define MIGCOMP_STAND_INS_H

#include <stdbool.h>

/* Whether the function that failed may have had nothing to do. */
bool stand_in_may_go_unnoticed(void);

#endif
