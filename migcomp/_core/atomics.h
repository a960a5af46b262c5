/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every atomic access of the core goes through this header, so that the
 * memory-order argument can be read in one place.  tests/models/event.pml
 * searches all executions of one submitter and one worker that these orders
 * allow, for P1 to P5, but for those in which a relaxed load is reordered with
 * a later store (load buffering).
 *
 * Each pairing is "what the left side did before is seen by the right side
 * afterwards": the left side's release store is read by the right side's
 * acquire load.
 *
 *   P1 request data   word_flip(fill)        -> word_observe(fill)
 *      The submitter fills a request, then flips its fill bit; the worker that
 *      sees the bit sees the data.  Only the submitter writes the word, so a
 *      later flip of another bit, which the worker may read instead, is his
 *      as well and comes after all that he did for this one.
 *   P2 result         word_flip(done)        -> word_observe(done)
 *      The same the other way round: the submitter that sees the bit reads
 *      the result, and may overwrite the request.
 *   P3 sleep and wake signal_exchange(set)   -> signal_exchange(reset),
 *                                               signal_replace, signal_observe
 *      Setter and waiter do read-modify-writes on one word, and those are
 *      totally ordered.  Either the set comes before the reset: then the
 *      reset, or something that the waiter did to the word earlier, has read
 *      the set's value with acquire, and the look that follows the reset sees
 *      the bit that the setter had flipped.  Or the set comes after the reset:
 *      then the word is SET when the waiter wants to sleep, or is ASLEEP when
 *      it is set, and the setter wakes him; the kernel compares the word
 *      before it lets him sleep, and he does after every return.  No
 *      store/load fence is needed, hence no sequentially consistent access.
 *      Who only waits, as create does for init_status, reads SET with acquire
 *      in signal_replace or signal_observe and sees what came before the set.
 *   P4 stopping       word_publish(control)  -> word_observe(control)
 *      destroy's wish, published after the last flip of fill and before the
 *      workers' events are set (P3).  A worker that observes the wish to drain
 *      sees all flips if it looks at fill afterwards, so it looks in this
 *      order.
 *   P5 first error    word_claim(error)      -> word_observe(error)
 *      The failing worker writes the status into its request, claims the error
 *      word, and only then flips done (P2).  Who observes the claim may read
 *      the request; who sees a failed request as handled, and looks at the
 *      error afterwards, cannot miss it.
 *   P6 a lock         signal_unlock          -> signal_try_lock
 *
 * pthread_create and pthread_join order what is constant while a thread runs
 * and what is read after its end.  Counters have one writer each and order
 * nothing.
 *
 * Weaker orders would do for the release of a reset, the acquire of a set, and
 * falling asleep; on x86-64 an exchange costs the same in every
 * order.
 */
#ifndef MIGCOMP_ATOMICS_H
#define MIGCOMP_ATOMICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Destructive interference size of x86-64 and AArch64 cores. */
#define CACHE_LINE 64

typedef _Atomic uint64_t SharedWord;
typedef _Atomic uint32_t SignalWord;
typedef _Atomic uint64_t Counter;

/* The value of a word that only the calling thread writes. */
static inline uint64_t word_own(const SharedWord *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

/* P1, P2: the calling thread is the word's only writer. */
static inline void word_flip(SharedWord *word, uint64_t mask)
{
    atomic_store_explicit(word, word_own(word) ^ mask, memory_order_release);
}

/* P4 */
static inline void word_publish(SharedWord *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

/* P1, P2, P4, P5 */
static inline uint64_t word_observe(const SharedWord *word)
{
    return atomic_load_explicit(word, memory_order_acquire);
}

/* P5: true for the one caller that turned the word from 0 into value. */
static inline bool word_claim(SharedWord *word, uint64_t value)
{
    uint64_t unclaimed = 0;

    return atomic_compare_exchange_strong_explicit(
        word, &unclaimed, value, memory_order_acq_rel, memory_order_acquire);
}

/* P3 */
static inline uint32_t signal_exchange(SignalWord *word, uint32_t value)
{
    return atomic_exchange_explicit(word, value, memory_order_acq_rel);
}

/* P3, P6: from, to; false (and nothing written) when the word is not from. */
static inline bool signal_replace(SignalWord *word, uint32_t from, uint32_t to)
{
    return atomic_compare_exchange_strong_explicit(
        word, &from, to, memory_order_acq_rel, memory_order_acquire);
}

/* P3: what a waiter looks at after every return of the futex call. */
static inline uint32_t signal_observe(const SignalWord *word)
{
    return atomic_load_explicit(word, memory_order_acquire);
}

/* P6: a lock that is never waited for: false when somebody has it. */
static inline bool signal_try_lock(SignalWord *word)
{
    return signal_replace(word, 0, 1);
}

static inline void signal_unlock(SignalWord *word)
{
    signal_exchange(word, 0);
}

/* The calling thread is the counter's only writer. */
static inline void counter_add(Counter *counter, uint64_t amount)
{
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);

    atomic_store_explicit(counter, now + amount, memory_order_relaxed);
}

static inline uint64_t counter_read(const Counter *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

#endif
