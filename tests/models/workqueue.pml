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

/* --- Submitter ------------------------------------------------------------- */

/* in_use and in_queue are sets of request ids. */
#define IS_IN(id, ids) ((ids) & (1 << (id)))
#define HELD (in_use & ~in_queue)
#define OF_THREAD(thread, ids) (((ids) >> ((thread) * REQUESTS)) & MASK)

inline reserve()
{
    d_step {
        id = NONE;
        n = 0;
        do
        :: n == THREADS || id != NONE -> break
        :: else ->
#ifdef BUG_TWO_GETS_ONE_REQUEST
           /* What the bitmaps say, and nothing else. */
           busy = fill[next_thread] ^ done[next_thread];
#else
           busy = OF_THREAD(next_thread, in_use);
#endif
           if
           :: busy == MASK
           :: else ->
              if
              :: busy & (1 << next_slot[next_thread]) ->
                 id = ID(next_thread, 1 - next_slot[next_thread])
              :: else -> id = ID(next_thread, next_slot[next_thread])
              fi;
#ifndef BUG_TWO_GETS_ONE_REQUEST
              next_slot[next_thread] = 1 - (id % REQUESTS)
#endif
           fi;
           next_thread = (next_thread + 1) % THREADS;
           n++
        od;
        if
        :: id != NONE ->
           assert(state[id] == nobody);
           assert(THREAD(id) == turn || OF_THREAD(turn, in_use) == MASK);
           turn = (THREAD(id) + 1) % THREADS;
           state[id] = submitter;
           in_use = in_use | (1 << id)
        :: else -> assert(in_use == (1 << ALL) - 1)
        fi;
        gets--;
        n = 0; busy = 0; id = 0
    }
}

/* The request's bookkeeping, and the flip. */
inline submit_without_wake()
{
    d_step {
        assert(state[id] == submitter);
        state[id] = submitted;
        sequence[id] = submits;
        submits++;
        in_queue = in_queue | (1 << id);
        order!id;
#ifdef BUG_PAYLOAD_INDEX
        /* The seed: bytes of the user's data, always the same, as index. */
        next_thread = (1 + 1) % THREADS;
#endif
#if defined(BUG_ONE_BITMAP_FOR_BOTH)
        busy = fill[THREAD(id)] ^ BIT(id);
#elif !defined(BUG_WAKE_BEFORE_FILL)
        fill[THREAD(id)] = fill[THREAD(id)] ^ BIT(id);
#endif
    }
}

inline wake_worker()
{
#ifdef BUG_ONE_BITMAP_FOR_BOTH
    fill[THREAD(id)] = busy;
    busy = 0;
#endif
#ifdef BUG_PAYLOAD_INDEX_WAKES
    event_set(valid_word[1], valid_queued[1]);
#else
    event_set(valid_word[THREAD(id)], valid_queued[THREAD(id)]);
#endif
#ifdef BUG_WAKE_BEFORE_FILL
    fill[THREAD(id)] = fill[THREAD(id)] ^ BIT(id);
#endif
    id = 0
}

inline release()
{
    d_step {
        assert(state[id] == submitter);
        state[id] = nobody;
        in_use = in_use & ~(1 << id);
        id = 0
    }
}

#define IS_HANDLED(id) (((fill[THREAD(id)] ^ done[THREAD(id)]) & BIT(id)) == 0)

/*
 * Of request id.  Leaves its answer in is_handled and stopped.  The error word
 * is looked at last, and a request that is handled stays so, therefore the
 * looks after the wait are left out where their outcome is known.
 */
inline wait_for_handled()
{
    in_time = true;
    if
    :: IS_HANDLED(id)
    :: !IS_HANDLED(id) ->
       do
       :: !in_time -> break
       :: in_time ->
#ifdef BUG_SUBMITTER_RESETS_AFTER_LOOK
          if
          :: IS_HANDLED(id) -> break
          :: !IS_HANDLED(id)
          fi;
          event_reset(free_word[THREAD(id)]);
#else
          event_reset(free_word[THREAD(id)]);
          if
          :: IS_HANDLED(id) -> break
          :: !IS_HANDLED(id)
          fi;
#endif
          if
          :: error != 0 -> break
          :: error == 0
          fi;
          event_wait(free_word[THREAD(id)], free_queued[THREAD(id)], true)
       od
    fi;
    in_time = false;
#ifdef BUG_ERROR_OBSERVED_BEFORE_HANDLED
    stopped = (error != 0);
    is_handled = IS_HANDLED(id);
#else
    is_handled = IS_HANDLED(id);
    stopped = (error != 0);
#endif
}

/* Request id is the submitter's now. */
inline take(in_order)
{
    d_step {
        assert(state[id] == handled);
        state[id] = submitter;
        n = 0;
        do
        :: n == ALL -> break
        :: else ->
           assert(!in_order || !IS_IN(n, in_queue) ||
                  sequence[n] >= sequence[id]);
           n++
        od;
        in_queue = in_queue & ~(1 << id);
        order??eval(id);
        sequence[id] = 0;
        collected++;
        n = 0;
        id = 0;
        is_handled = false
    }
}

inline oldest()
{
#ifdef BUG_COLLECTED_BY_SLOT
    d_step {
        id = 0;
        do
        :: id == ALL -> order?<id>; break
        :: id < ALL && IS_IN(id, in_queue) && IS_HANDLED(id) -> break
        :: else -> id++
        od
    }
#else
    order?<id>
#endif
}

/* What threaded_workqueue_error returns when there is an error. */
#define CHECK_ERROR \
    assert(error == first_error && (error == 0 || state[error - 1] == failed))

/* When the submitter does what.  It always may submit what it holds. */
#ifdef PIPELINE
#define MAY_GET (!HELD && in_use != (1 << ALL) - 1 && submits < SUBMITS)
#define MAY_RELEASE (submits == SUBMITS)
#define MAY_COLLECT (!HELD && !(MAY_GET))
#else
#define MAY_GET true
#define MAY_RELEASE true
#define MAY_COLLECT true
#endif

active proctype Submitter()
{
    byte id, started, n, busy;
    byte next_thread, next_slot[THREADS], turn;
    byte in_use, in_queue, submits, collected, gets = SUBMITS, polls = POLLS;
    mtype wish = cancel;
    bool in_time, late, is_handled, stopped;
    chan order = [ALL + 1] of { byte };

#ifdef CREATE
    do
    :: started == THREADS -> break
    :: else ->
       run Worker(started);
       event_wait(free_word[started], free_queued[started], false);
       in_time = false;
       assert(initialised[started]);
       if
       :: init_failed[started] -> ended[started]; goto destroy
       :: !init_failed[started] -> started++
       fi
    od;
#else
    atomic { run Worker(0); run Worker(1); started = THREADS };
#endif

    /* A life, which ends at any time. */
    do
    :: atomic { !stopped && gets > 0 && MAY_GET ->
                if
                :: error == 0 -> reserve()
                :: else -> stopped = true
                fi }
    :: atomic {
           HELD && submits < SUBMITS ->
           if
           :: HELD & 1 -> id = 0
           :: HELD & 2 -> id = 1
           :: HELD & 4 -> id = 2
           :: HELD & 8 -> id = 3
           fi;
           submit_without_wake()
       };
       wake_worker()
    :: atomic {
           HELD && MAY_RELEASE ->
           if
           :: HELD & 1 -> id = 0
           :: HELD & 2 -> id = 1
           :: HELD & 4 -> id = 2
           :: HELD & 8 -> id = 3
           fi;
           release()
       }
    :: atomic { !stopped && in_queue && MAY_COLLECT -> oldest() };
       wait_for_handled();
       if
       :: stopped -> CHECK_ERROR
       :: !stopped && is_handled -> take(true)
       :: !stopped && !is_handled
       fi;
       d_step { id = 0; is_handled = false }
    :: atomic { !stopped && polls > 0 && in_queue -> polls--; n = in_queue };
       do
       :: n == 0 -> break
       :: n != 0 ->
          d_step {
              id = 0;
              do
              :: IS_IN(id, n) -> break
              :: else -> id++
              od;
              n = n & ~(1 << id);
              is_handled = IS_HANDLED(id)
          };
          stopped = (error != 0);
          if
          :: stopped -> CHECK_ERROR; break
          :: !stopped && is_handled -> take(false); break
          :: !stopped && !is_handled
          fi
       od;
       n = 0;
       id = 0;
       is_handled = false
    :: wish = drain; break
    :: break
    od;

destroy:
    control = wish;
    do
    :: id == started -> break
    :: id != started ->
#ifndef BUG_DESTROY_DOES_NOT_WAKE
       event_set(valid_word[id], valid_queued[id]);
#endif
       id++
    od;
    id = 0;
    (started < 1 || ended[0]) && (started < 2 || ended[1]);
    stopped = (error != 0);

    /* What the threads left behind. */
    d_step {
        CHECK_ERROR;
        do
        :: id == ALL -> break
        :: else ->
           assert(!IS_IN(id, in_queue) || state[id] == handled ||
                  (state[id] == submitted && wish == cancel) ||
                  ((state[id] == failed || state[id] == back) && stopped));
           assert(IS_IN(id, in_queue) || state[id] == nobody ||
                  state[id] == submitter);
           id++
        od;
        id = 0
    };
    /* A draining destroy delivers it. */
    do
    :: wish == cancel || stopped || len(order) == 0 -> break
    :: wish == drain && !stopped && len(order) > 0 ->
       order?<id>;
       assert(IS_HANDLED(id));
       take(true)
    od;
    assert(submits == collected + len(order))
}
