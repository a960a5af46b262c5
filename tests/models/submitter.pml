/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The submitter of workqueue.pml: any program that keeps to the interface. */

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
