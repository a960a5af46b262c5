/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Included before everything else in the helgrind and drd builds.
 *
 * Those tools look at instructions, and a store with release is a plain one on
 * x86.  So each operation of <stdatomic.h> that the core uses is replaced by
 * the same operation with requests to the tool: that its word is no plain
 * memory, and what its order promises.  It is the order in the source that
 * counts: a relaxed operation promises nothing, and what it should have
 * ordered is reported as a race.  All plain memory is checked as ever.
 */
#ifndef MIGCOMP_VALGRIND_ATOMICS_H
#define MIGCOMP_VALGRIND_ATOMICS_H

#include <stdatomic.h>

#ifdef DRD
#include <valgrind/drd.h>
#define NO_PLAIN_MEMORY(word) DRD_IGNORE_VAR(*(word))
#else
#include <valgrind/helgrind.h>
#define NO_PLAIN_MEMORY(word) \
    VALGRIND_HG_DISABLE_CHECKING((word), sizeof(*(word)))
#endif

#define PROMISE_BEFORE(word, order)                                   \
    do {                                                              \
        NO_PLAIN_MEMORY(word);                                        \
        if ((order) != memory_order_relaxed &&                        \
            (order) != memory_order_acquire) {                        \
            ANNOTATE_HAPPENS_BEFORE(word);                            \
        }                                                             \
    } while (0)

#define PROMISE_AFTER(word, order)             \
    do {                                       \
        if ((order) != memory_order_relaxed && \
            (order) != memory_order_release) { \
            ANNOTATE_HAPPENS_AFTER(word);      \
        }                                      \
    } while (0)

#undef atomic_load_explicit
#define atomic_load_explicit(word, order)                        \
    ({                                                           \
        NO_PLAIN_MEMORY(word);                                   \
        __auto_type loaded_ = __atomic_load_n((word), (order));  \
        PROMISE_AFTER((word), (order));                          \
        loaded_;                                                 \
    })

#undef atomic_store_explicit
#define atomic_store_explicit(word, value, order)      \
    do {                                               \
        __auto_type stored_ = (value);                 \
        PROMISE_BEFORE((word), (order));               \
        __atomic_store_n((word), stored_, (order));    \
    } while (0)

#undef atomic_exchange_explicit
#define atomic_exchange_explicit(word, value, order)                        \
    ({                                                                      \
        PROMISE_BEFORE((word), (order));                                    \
        __auto_type before_ = __atomic_exchange_n((word), (value), (order)); \
        PROMISE_AFTER((word), (order));                                     \
        before_;                                                            \
    })

#undef atomic_compare_exchange_strong_explicit
#define atomic_compare_exchange_strong_explicit(word, from, to, order, other) \
    ({                                                                       \
        PROMISE_BEFORE((word), (order));                                     \
        bool replaced_ = __atomic_compare_exchange_n(                        \
            (word), (from), (to), false, (order), (other));                  \
        PROMISE_AFTER((word), replaced_ ? (order) : (other));                \
        replaced_;                                                           \
    })

#endif
