/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The workqueue of migcomp/_core: one submitter, two workers with two requests
 * each, from create to destroy.  Every interleaving of every access to shared
 * memory is tried.
 *
 *     spin [-DSUBMITS=n ...] -a workqueue.pml
 *     cc -O2 -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -o pan pan.c
 *     ./pan -m100000
 *     cc -O2 -DNP -DCOLLAPSE -DVECTORSZ=2048 -o pan pan.c
 *     ./pan -l -m100000
 *
 * tests/models/test_models.py does so, with the sizes that it names.
 *
 * What the first run proves, by assertions and the absence of invalid end
 * states, for the numbers below:
 *
 *   - no wake-up is lost: nobody sleeps while there is something for him to
 *     do, so every execution ends with both threads ended and joined;
 *   - each submitted request is handled exactly once, or handed back after an
 *     error, or left alone when the queue is cancelled; at the end
 *     submitted = collected + unseen;
 *   - results are collected in the order of submission;
 *   - no request is given out twice, and none is touched by two sides at once;
 *   - threads take turns, except those whose requests are all in use;
 *   - the first error stays the reported one, the failed request is never
 *     collected and stays readable, and after a draining destroy no request
 *     is left that nobody looked at;
 *   - create reads a thread's init status after the thread has written it.
 *
 * The second run proves that no execution is endless.
 *
 * The submitter is any program: at each point it does anything the interface
 * allows, and may destroy the queue, draining or cancelling.  Handlers and
 * thread_init fail wherever they like, FAILS times in all.  Futex calls return
 * without reason, SPURIOUS times, and waits time out, TIMEOUTS times; a budget
 * is needed, because a sleeper that is woken for nothing again and again would
 * hide that the real wake-up got lost.
 *
 * Abstracted away: memory is sequentially consistent here (event.pml has the
 * C11 order); a look at the bitmaps is one load, because each side's own bitmap
 * does not change under it; a poll before a sleep is one more look; the
 * kernel's futex call compares and queues in one step, as it promises; counters
 * and CPUs are left out.  thread_request_done is collect and release in one.
 *
 * Each -DBUG_... brings back one mistake, and has to make the run fail.
 */

#ifndef SUBMITS
#define SUBMITS 4 /* in a queue's life */
#endif
#ifndef FAILS
#define FAILS 1
#endif
#ifndef SPURIOUS
#define SPURIOUS 1
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 1
#endif
#ifndef POLLS
#define POLLS 0
#endif

#define THREADS 2
#define REQUESTS 2
#define ALL (THREADS * REQUESTS)
#define MASK ((1 << REQUESTS) - 1)
#define NONE 255

#define ID(thread, slot) ((thread) * REQUESTS + (slot))
#define BIT(id) (1 << ((id) % REQUESTS))
#define THREAD(id) ((id) / REQUESTS)

/* --- Shared memory --------------------------------------------------------- */

mtype = { unset, set, asleep };
mtype = { run_, drain, cancel };

byte fill[THREADS], done[THREADS];
mtype valid_word[THREADS] = unset, free_word[THREADS] = unset;
mtype control = run_;
byte error; /* 1 + id of the request that failed first */
bool init_failed[THREADS];

/* In the kernel: the waiter is in the futex's queue. */
bool valid_queued[THREADS], free_queued[THREADS];

/* --- What is checked, and what the executions may contain ------------------ */

mtype = { nobody, submitter, submitted, worker_, handled, failed, back };

mtype state[ALL] = nobody; /* who may touch the request, and what is in it */
byte sequence[ALL];
bool initialised[THREADS], ended[THREADS];
byte first_error;
byte fails = FAILS, spurious = SPURIOUS, timeouts = TIMEOUTS;

/* --- Events ---------------------------------------------------------------- */

/*
 * A step is one statement or one atomic block.  It has one access to shared
 * memory that matters, with what the process makes of it by itself.
 */

inline event_reset(word)
{
    word = unset
}

inline event_set(word, queued)
{
#ifdef BUG_SET_BY_LOAD_AND_STORE
    if
    :: word != asleep -> word = set
    :: word == asleep -> word = set; queued = false
    fi
#else
    if
    :: atomic { word != asleep -> word = set }
    :: atomic { word == asleep -> word = set }; queued = false
    fi
#endif
}

/*
 * in_time becomes false when the wait times out; late is the caller's and false
 * before and after.  The waiter's look at the word and the futex call's are one
 * step: if the word changes between the two, the call returns at once and the
 * waiter looks again.
 */
inline event_wait(word, queued, may_time_out)
{
    if
    :: word != unset
#ifdef BUG_SLEEP_BY_LOAD_AND_STORE
    :: word == unset -> word = asleep;
#else
    :: atomic { word == unset -> word = asleep };
#endif
       do
       :: atomic { word == set && !late -> break }
       :: atomic { late -> late = false;
                   if
                   :: word == asleep -> word = unset; in_time = false
                   :: else
                   fi;
                   break }
       :: atomic { may_time_out && word != set && !late && timeouts > 0 ->
                   timeouts--; late = true }
#ifdef BUG_KERNEL_DOES_NOT_COMPARE
       :: word != set && !late -> queued = true;
#else
       :: atomic { word != set && !late -> queued = (word == asleep) };
#endif
          if
          :: !queued
          :: atomic { queued && spurious > 0 -> spurious--; queued = false }
          :: atomic { may_time_out && queued && timeouts > 0 ->
                      timeouts--; late = true; queued = false }
          fi;
#ifdef BUG_WORD_NOT_COMPARED_AFTER_FUTEX
          late = false;
          break
#endif
       od
    fi
}

/* --- Worker ---------------------------------------------------------------- */

/* find_valid_slot: the first valid slot at or after the cursor. */
#define VALID(slot) ((fill[me] ^ done[me]) & (1 << (slot)))

inline look()
{
    d_step {
        if
        :: VALID(cursor) -> slot = cursor
        :: else ->
           if
           :: VALID(1 - cursor) -> slot = 1 - cursor
           :: else -> slot = NONE
           fi
        fi
    }
}

/* Also what the worker does by itself before and after. */
inline flip_done(outcome)
{
#ifdef BUG_ONE_BITMAP_FOR_BOTH
    flipped = fill[me] ^ (1 << slot);
    d_step {
        fill[me] = flipped;
        flipped = 0;
#else
    d_step {
        done[me] = done[me] ^ (1 << slot);
#endif
        assert(state[ID(me, slot)] == worker_ || outcome == failed);
        state[ID(me, slot)] = outcome;
        cursor = 1 - slot;
        slot = 0
    }
}

inline claim_error(id)
{
    d_step {
#ifdef BUG_ERROR_STORED
        error = 1 + id;
        if
        :: first_error == 0 -> first_error = error
        :: else
        fi
#else
        if
        :: error == 0 -> error = 1 + id; first_error = error
        :: else
        fi
#endif
    }
}

#define LEAVE_IF_CANCELLED \
    if \
    :: control == cancel -> goto finish \
    :: else \
    fi

proctype Worker(byte me)
{
    byte slot, cursor, flipped;
    mtype wish = run_;
    bool in_time, late;

#ifdef CREATE
    if
    :: d_step { fails > 0 -> fails--; init_failed[me] = true }
    :: true
    fi;
    initialised[me] = true;
    event_set(free_word[me], free_queued[me]);
    if
    :: init_failed[me] -> goto finish
    :: !init_failed[me]
    fi;
#endif

    /* One step for both looks, because nothing is submitted after a cancel. */
next:
    atomic {
        LEAVE_IF_CANCELLED;
        look();
        if
        :: slot != NONE -> goto valid
#ifdef BUG_CONTROL_NOT_CHECKED_AFTER_RESET
        :: slot == NONE && control == drain -> goto finish
#endif
        :: else
        fi
    };

wait:
#if defined(BUG_RESET_AFTER_CONTROL)
    atomic { LEAVE_IF_CANCELLED; wish = control };
    event_reset(valid_word[me]);
    look();
#elif defined(BUG_RESET_AFTER_LOOK)
    atomic { LEAVE_IF_CANCELLED; wish = control };
    look();
    event_reset(valid_word[me]);
#elif defined(BUG_NO_LOOK_AFTER_RESET)
    event_reset(valid_word[me]);
    atomic { LEAVE_IF_CANCELLED; wish = control };
#elif defined(BUG_CONTROL_NOT_CHECKED_AFTER_RESET)
    event_reset(valid_word[me]);
    look();
#elif defined(BUG_LOOK_BEFORE_CONTROL)
    event_reset(valid_word[me]);
    look();
    atomic { LEAVE_IF_CANCELLED; wish = control };
#else
    event_reset(valid_word[me]);
    atomic { LEAVE_IF_CANCELLED; wish = control };
    look();
#endif
    if
    :: slot != NONE -> goto valid
    :: slot == NONE && wish == drain -> goto finish
    :: slot == NONE && wish == run_
    fi;
    event_wait(valid_word[me], valid_queued[me], false);
    goto wait;

    /* handle_slot.  The worker touches the request until it flips the bit;
     * whoever else touches it meanwhile is noticed. */
valid:
    wish = run_;
    d_step {
        assert(state[ID(me, slot)] == submitted);
        state[ID(me, slot)] = worker_
    };
    if
    :: error != 0 ->
#ifdef BUG_STOP_WITHOUT_HANDING_BACK
       goto finish;
#endif
       flip_done(back)
    :: error == 0 ->
       if
       :: atomic { fails > 0 ->
                   fails--;
                   assert(state[ID(me, slot)] == worker_);
                   state[ID(me, slot)] = failed };
#ifdef BUG_ERROR_CLAIMED_AFTER_DONE
          flip_done(failed);
          claim_error(ID(me, 1 - cursor))
#else
          claim_error(ID(me, slot));
          flip_done(failed)
#endif
       :: true ->
#ifdef BUG_WAKE_BEFORE_DONE
          event_set(free_word[me], free_queued[me]);
          flip_done(handled);
          goto next
#else
          flip_done(handled)
#endif
       fi
    fi;
    event_set(free_word[me], free_queued[me]);
    goto next;

finish:
    wish = run_;
    d_step { slot = 0; cursor = 0; in_time = false; ended[me] = true }
}

#include "submitter.pml"
