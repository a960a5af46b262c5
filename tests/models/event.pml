/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The events, and every other pairing of migcomp/_core/atomics.h, under the
 * memory order that the C code asks for: one submitter, one worker, REQUESTS
 * requests, from create to destroy.
 *
 *     spin [-DSUBMITS=n ...] -a event.pml
 *     cc -O2 -DSAFETY -DCOLLAPSE -DVECTORSZ=4096 -o pan pan.c
 *     ./pan -m100000
 *
 * tests/models/test_models.py does so, with the sizes that it names.
 *
 * Memory is not a set of values here but the history of each word.  Each
 * message of a history carries the view of its writer: how far he had seen the
 * histories of all words.  A load may return any message that is not older than
 * what the thread has seen of that word, also an outdated one; with acquire,
 * the thread's view is joined with the message's.  A store appends a message,
 * whose view is the writer's with release and nearly empty without.  A
 * read-modify-write reads the newest message, and hands on that message's view
 * as well (it continues a release sequence).  This is C11's release/acquire
 * fragment in the form of a machine, and weaker than any store buffer.  New
 * messages may go to the end, because each word has either one writer or none
 * that does not read-modify-write; BUG_..._IS_A_STORE break the second rule and
 * keep the first for lack of a later message that could be passed.
 *
 * Plain memory (a request's data, its status, init_status) is a counter of
 * accesses; who makes one has to have seen all those before, else there is a
 * data race, and the run fails.
 *
 * What a run proves for the numbers below, beyond what workqueue.pml says about
 * sequentially consistent memory: with the orders of atomics.h, and no fence,
 *
 *   - no wake-up is lost: every execution ends with the thread joined;
 *   - there is no data race: who gets a request, a status or an init_status
 *     sees everything that was done to it before;
 *   - a worker that observes the wish to drain sees all that was submitted;
 *   - a submitter that observes a failed request as handled observes the error.
 *
 * It does not prove anything about relaxed accesses beyond those of the
 * WEAKER_ and BUG_ switches, whose reordering with later stores (C11's load
 * buffering) is not modelled; about compilers; or about the kernel, of which it
 * assumes what futex(2) promises: a call compares the word and queues its
 * caller in one step with respect to wakes.  The compared value may even be
 * outdated as long as the wake that belongs to the newer one is yet to come.
 *
 * -DBUG_... weakens one order that is needed, or brings back one mistake, and
 * has to make the run fail.  -DWEAKER_... weakens one that is not, and has to
 * pass: the answer to "is this release needed?".
 */

#ifndef SUBMITS
#define SUBMITS 2
#endif
#ifndef REQUESTS
#define REQUESTS 2
#endif
#ifndef FAILS
#define FAILS 0
#endif
#ifndef SPURIOUS
#define SPURIOUS 0
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 0
#endif

#include "memory.pml"

/* --- Events ---------------------------------------------------------------- */

#define UNSET 0
#define SET 1
#define ASLEEP 2

/* In the kernel: who waits for the event is queued; the newest message that a
 * wake was done for. */
bool queued[2];
byte woken[2];
byte spurious = SPURIOUS, timeouts = TIMEOUTS;

inline event_reset(p, w)
{
    atomic {
#ifdef BUG_RESET_IS_A_STORE
        append(p, w, UNSET, RESET_RELEASE, false)
#else
        if
        :: RESET_ACQUIRE -> join_message(p, w, NEWEST(w))
        :: else
        fi;
        append(p, w, UNSET, RESET_RELEASE, true)
#endif
    }
}

inline event_set(p, w)
{
#ifdef BUG_SET_IS_A_STORE
    atomic { load(p, w, SET_ACQUIRE, before) };
    atomic { append(p, w, SET, SET_RELEASE, false) };
#else
    atomic {
        before = VALUE(w, NEWEST(w));
        if
        :: SET_ACQUIRE -> join_message(p, w, NEWEST(w))
        :: else
        fi;
        append(p, w, SET, SET_RELEASE, true)
    };
#endif
    if
    :: atomic { before == ASLEEP ->
                queued[w] = false;
                woken[w] = view[p].seen[w] }
    :: before != ASLEEP
    fi;
    before = 0
}

/* signal_replace.  When it fails it is a load, maybe of an outdated message;
 * when it succeeds it has read the newest.  before: 0 on success, else SET. */
inline replace(p, w, from, to)
{
    choose(p, w);
    if
    :: VALUE(w, i) == from -> i = NEWEST(w)
    :: else
    fi;
    if
    :: VALUE(w, i) == from ->
       if
       :: SLEEP_ORDERED -> join_message(p, w, i)
       :: else
       fi;
       append(p, w, to, SLEEP_ORDERED, true);
       before = 0
    :: else ->
       view[p].seen[w] = i;
       if
       :: WAIT_ACQUIRE -> join_message(p, w, i)
       :: else
       fi;
       before = SET
    fi;
    i = 0
}

inline event_wait(p, w, may_time_out)
{
    atomic { replace(p, w, UNSET, ASLEEP) };
    do
    :: before == SET -> break
    :: before != SET && late ->
       atomic {
           late = false;
           replace(p, w, ASLEEP, UNSET);
           in_time = (before == SET);
           before = SET
       }
    :: before != SET && !late ->
       atomic { load(p, w, WAIT_ACQUIRE, before) };
       if
       :: before == SET
       :: atomic { before != SET && may_time_out && timeouts > 0 ->
                   timeouts--; late = true }
       :: before != SET ->
          /* The kernel's look, and queueing. */
          atomic {
              i = view[p].seen[w];
              if
              :: woken[w] > i -> i = woken[w]
              :: else
              fi;
              do
              :: i < NEWEST(w) -> i++
              :: break
              od;
              view[p].seen[w] = i;
#ifdef BUG_KERNEL_DOES_NOT_COMPARE
              queued[w] = true;
#else
              queued[w] = (VALUE(w, i) == ASLEEP);
#endif
              i = 0
          };
          if
          :: atomic { !queued[w] ->
                      if
                      :: woken[w] > view[p].seen[w] ->
                         view[p].seen[w] = woken[w]
                      :: else
                      fi }
          :: atomic { queued[w] && spurious > 0 ->
                      spurious--; queued[w] = false }
          :: atomic { queued[w] && may_time_out && timeouts > 0 ->
                      timeouts--; late = true; queued[w] = false }
          fi;
#ifdef BUG_WORD_NOT_COMPARED_AFTER_FUTEX
          late = false;
          before = SET
#endif
       fi
    od;
    before = 0
}

/* --- Worker ---------------------------------------------------------------- */

#define RUN 0
#define DRAIN 1
#define CANCEL 2
#define NONE 255

byte fails = FAILS;
bool ended;
bool submitted[REQUESTS]; /* whose turn it is to touch the request */

/* The worker's own word is known to it; the other's is observed. */
inline look()
{
    atomic {
        load(WORKER, FILL, FILL_ACQUIRE, slot);
        slot = slot ^ VALUE(DONE, NEWEST(DONE));
        if
        :: slot == 0 -> slot = NONE
        :: slot & 1 -> slot = 0
        :: slot & 2 -> slot = 1
        fi
    }
}

inline flip_done()
{
    atomic {
        append(WORKER, DONE, VALUE(DONE, NEWEST(DONE)) ^ (1 << slot),
               DONE_RELEASE, false)
    }
}

proctype Worker()
{
    byte i, before, slot, wish;
    bool late, in_time;

    atomic { touch(WORKER, INIT) };
    event_set(WORKER, FREE);

next:
    atomic { load(WORKER, CONTROL, CONTROL_ACQUIRE, wish) };
    if
    :: wish == CANCEL -> goto finish
    :: wish != CANCEL
    fi;
    look();
    if
    :: slot != NONE -> goto handle
    :: slot == NONE
    fi;

wait:
#if defined(BUG_RESET_AFTER_LOOK)
    atomic { load(WORKER, CONTROL, CONTROL_ACQUIRE, wish) };
    look();
    event_reset(WORKER, VALID);
#elif defined(BUG_RESET_AFTER_CONTROL)
    atomic { load(WORKER, CONTROL, CONTROL_ACQUIRE, wish) };
    event_reset(WORKER, VALID);
    look();
#elif defined(BUG_LOOK_BEFORE_CONTROL)
    event_reset(WORKER, VALID);
    look();
    atomic { load(WORKER, CONTROL, CONTROL_ACQUIRE, wish) };
#else
    event_reset(WORKER, VALID);
    atomic { load(WORKER, CONTROL, CONTROL_ACQUIRE, wish) };
    look();
#endif
    if
    :: wish == CANCEL -> goto finish
    :: wish != CANCEL && slot != NONE -> goto handle
    :: wish == DRAIN && slot == NONE -> goto finish
    :: wish == RUN && slot == NONE
    fi;
    event_wait(WORKER, VALID, false);
    goto wait;

handle:
    wish = 0;
    atomic {
        assert(submitted[slot]);
        submitted[slot] = false;
        touch(WORKER, REQUEST(slot))
    };
    if
    :: atomic { fails > 0 && VALUE(ERROR, NEWEST(ERROR)) == 0 -> fails-- };
#ifdef BUG_ERROR_CLAIMED_AFTER_DONE
       flip_done();
       atomic { append(WORKER, ERROR, 1 + slot, CLAIM_RELEASE, true) }
#else
       atomic { append(WORKER, ERROR, 1 + slot, CLAIM_RELEASE, true) };
       flip_done()
#endif
    :: flip_done()
    fi;
    slot = 0;
    event_set(WORKER, FREE);
    goto next;

finish:
    atomic { slot = 0; wish = 0; ended = true }
}

/* --- Submitter ------------------------------------------------------------- */

/* The request is read by who asks for the error. */
inline check_error()
{
    atomic {
        assert(view[SUBMITTER].seen[REQUEST(stopped - 1)] ==
               accesses[REQUEST(stopped - 1)])
    }
}

inline observe_done()
{
    atomic {
        load(SUBMITTER, DONE, DONE_ACQUIRE, answer);
        answer = !((answer ^ VALUE(FILL, NEWEST(FILL))) & (1 << oldest))
    }
}

inline observe_error()
{
    atomic { load(SUBMITTER, ERROR, ERROR_ACQUIRE, stopped) }
}

inline wait_for_handled()
{
    in_time = true;
    observe_done();
    do
    :: answer || stopped || !in_time -> break
    :: !answer && !stopped && in_time ->
#ifdef BUG_SUBMITTER_RESETS_AFTER_LOOK
       observe_done();
       observe_error();
       event_reset(SUBMITTER, FREE);
#else
       event_reset(SUBMITTER, FREE);
       observe_done();
       observe_error();
#endif
       if
       :: answer || stopped -> break
       :: !answer && !stopped
       fi;
       event_wait(SUBMITTER, FREE, true)
    od;
    in_time = false;
    observe_done();
    observe_error()
}

active proctype Submitter()
{
    byte i, before, answer, stopped, oldest, slot, depth, submits, wish = CANCEL;
    bool late, in_time;

    run Worker();
    event_wait(SUBMITTER, FREE, false);
    atomic { touch(SUBMITTER, INIT) };

    do
    :: !stopped && submits < SUBMITS && depth < REQUESTS ->
       atomic {
           assert(!submitted[slot]);
           submitted[slot] = true;
           touch(SUBMITTER, REQUEST(slot))
       };
       atomic {
           append(SUBMITTER, FILL, VALUE(FILL, NEWEST(FILL)) ^ (1 << slot),
                  FILL_RELEASE, false);
           depth++;
           submits++;
           slot = (slot + 1) % REQUESTS
       };
       event_set(SUBMITTER, VALID)
    :: !stopped && depth > 0 ->
       wait_for_handled();
       if
       :: stopped -> check_error()
       :: atomic { !stopped && answer ->
                   assert(!submitted[oldest]);
                   touch(SUBMITTER, REQUEST(oldest));
                   assert(NEWEST(ERROR) == 0 ||
                          VALUE(ERROR, NEWEST(ERROR)) != 1 + oldest);
                   oldest = (oldest + 1) % REQUESTS;
                   depth-- }
       :: !stopped && !answer
       fi;
       answer = 0
    :: wish = DRAIN; break
    :: break
    od;

    atomic { append(SUBMITTER, CONTROL, wish, CONTROL_RELEASE, false) };
    event_set(SUBMITTER, VALID);
    ended;
    assert(wish == CANCEL ||
           VALUE(FILL, NEWEST(FILL)) == VALUE(DONE, NEWEST(DONE)))
}
