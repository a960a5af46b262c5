/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every atomic access of the core goes through this header, so that the
 * memory-order argument can be read in one place.
 *
 * Pairings (each is "what the left side wrote before is seen by the right
 * side afterwards"):
 *
 *   P1 request data   word_flip(fill)        -> word_observe(fill)
 *      The submitter fills a request, then flips its fill bit with release;
 *      the worker that sees the bit by an acquire load sees the data.
 *   P2 result         word_flip(done)        -> word_observe(done)
 *      The worker writes the result, then flips the done bit; the submitter
 *      that sees it reads the result, and may overwrite the request.
 *   P3 sleep and wake signal_exchange(set)   -> signal_exchange(reset)
 *      Both sides of an event do a read-modify-write on one word, and those
 *      are totally ordered.  Either the setter comes first: then the resetter
 *      reads the setter's value with acquire and therefore sees the bit that
 *      the setter had flipped before.  Or the resetter comes first: then the
 *      setter changes the word after it, and the waiter, who compares the
 *      word before and after every sleep, does not stay asleep.  No
 *      store/load fence is needed, hence no sequentially consistent access.
 *   P4 stopping       word_publish(control)  -> word_observe(control)
 *      destroy's wish, published before the workers' events are set (P3).
 *   P5 first error    word_claim(error)      -> word_observe(error)
 *      The failing worker writes status and message into its request, then
 *      claims the error word with release; who observes the claim may read
 *      them.
 *
 * Counters have one writer each and order nothing.
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

/* P3: from, to; false (and nothing written) when the word is not from. */
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

/* A lock that is never waited for: false when somebody has it. */
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
