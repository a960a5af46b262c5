/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* C11's release/acquire memory, as event.pml describes it. */

/* --- Memory orders --------------------------------------------------------- */

/* P1 */
#ifdef BUG_FILL_FLIPPED_RELAXED
#define FILL_RELEASE false
#else
#define FILL_RELEASE true
#endif
#ifdef BUG_FILL_OBSERVED_RELAXED
#define FILL_ACQUIRE false
#else
#define FILL_ACQUIRE true
#endif
/* P2 */
#ifdef BUG_DONE_FLIPPED_RELAXED
#define DONE_RELEASE false
#else
#define DONE_RELEASE true
#endif
#ifdef BUG_DONE_OBSERVED_RELAXED
#define DONE_ACQUIRE false
#else
#define DONE_ACQUIRE true
#endif
/* P3 */
#ifdef BUG_SET_WITHOUT_RELEASE
#define SET_RELEASE false
#else
#define SET_RELEASE true
#endif
#ifdef WEAKER_SET_WITHOUT_ACQUIRE
#define SET_ACQUIRE false
#else
#define SET_ACQUIRE true
#endif
#ifdef BUG_RESET_WITHOUT_ACQUIRE
#define RESET_ACQUIRE false
#else
#define RESET_ACQUIRE true
#endif
#ifdef WEAKER_RESET_WITHOUT_RELEASE
#define RESET_RELEASE false
#else
#define RESET_RELEASE true
#endif
#ifdef WEAKER_SLEEP_RELAXED
#define SLEEP_ORDERED false
#else
#define SLEEP_ORDERED true
#endif
#ifdef BUG_WAIT_WITHOUT_ACQUIRE
#define WAIT_ACQUIRE false
#else
#define WAIT_ACQUIRE true
#endif
/* P4 */
#ifdef BUG_CONTROL_PUBLISHED_RELAXED
#define CONTROL_RELEASE false
#else
#define CONTROL_RELEASE true
#endif
#ifdef BUG_CONTROL_OBSERVED_RELAXED
#define CONTROL_ACQUIRE false
#else
#define CONTROL_ACQUIRE true
#endif
/* P5 */
#ifdef BUG_ERROR_CLAIMED_RELAXED
#define CLAIM_RELEASE false
#else
#define CLAIM_RELEASE true
#endif
#ifdef BUG_ERROR_OBSERVED_RELAXED
#define ERROR_ACQUIRE false
#else
#define ERROR_ACQUIRE true
#endif

/* --- Memory ---------------------------------------------------------------- */

/* Words. */
#define VALID 0 /* the event that the worker waits for */
#define FREE 1  /* the event that the submitter waits for */
#define FILL 2
#define DONE 3
#define CONTROL 4
#define ERROR 5
#define WORDS 6
/* Plain memory: init_status, and the requests. */
#define INIT 6
#define REQUEST(slot) (7 + (slot))
#define PLACES (7 + REQUESTS)

#define MESSAGES 16

typedef Message { byte value; byte seen[PLACES] };
typedef History { Message at[MESSAGES]; byte last };
typedef View { byte seen[PLACES] };

#define SUBMITTER 0
#define WORKER 1

History word[WORDS];
View view[2];
byte accesses[PLACES];

#define VALUE(w, i) word[w].at[i].value
#define NEWEST(w) word[w].last

/* Arguments of the functions below. */
hidden byte arg_thread, arg_word, arg_message, arg_value, arg_release, arg_inherit;

c_code {
    /* What nobody can see any longer shall not make states differ. */
    static void forget(void)
    {
        for (int w = 0; w < WORDS; w++) {
            int submitter = now.view[SUBMITTER].seen[w];
            int worker = now.view[WORKER].seen[w];

            for (int i = 0; i < submitter && i < worker; i++) {
                memset(&now.word[w].at[i], 0, sizeof(now.word[w].at[i]));
            }
        }
    }

    static void raise_to(unsigned char *seen, const unsigned char *other)
    {
        for (int place = 0; place < PLACES; place++) {
            if (other[place] > seen[place]) {
                seen[place] = other[place];
            }
        }
    }

    /* The thread sees what the message's writer had seen. */
    static void join_view(void)
    {
        raise_to(now.view[arg_thread].seen,
                 now.word[arg_word].at[arg_message].seen);
        forget();
    }

    static void append_message(void)
    {
        int last = ++now.word[arg_word].last;
        unsigned char *seen = now.word[arg_word].at[last].seen;

        now.word[arg_word].at[last].value = arg_value;
        now.view[arg_thread].seen[arg_word] = last;
        if (arg_release) {
            raise_to(seen, now.view[arg_thread].seen);
        }
        if (arg_inherit) {
            raise_to(seen, now.word[arg_word].at[last - 1].seen);
        }
        seen[arg_word] = last;
        forget();
    }
}

inline join_message(p, w, i)
{
    arg_thread = p;
    arg_word = w;
    arg_message = i;
    c_code { join_view(); }
}

/* A new message; that of a read-modify-write inherits its predecessor's view. */
inline append(p, w, new_value, release_, inherits)
{
    assert(NEWEST(w) < MESSAGES - 1);
    arg_thread = p;
    arg_word = w;
    arg_value = new_value;
    arg_release = release_;
    arg_inherit = inherits;
    c_code { append_message(); }
}

/* Any message that the thread may still see; i is the caller's, 0 before. */
inline choose(p, w)
{
    i = view[p].seen[w];
    do
    :: i < NEWEST(w) -> i++
    :: break
    od
}

inline load(p, w, acquire, result)
{
    choose(p, w);
    view[p].seen[w] = i;
    if
    :: acquire -> join_message(p, w, i)
    :: else
    fi;
    result = VALUE(w, i);
    i = 0
}

/* An access to plain memory. */
inline touch(p, place)
{
    assert(view[p].seen[place] == accesses[place]); /* else a data race */
    accesses[place] = accesses[place] + 1;
    view[p].seen[place] = accesses[place]
}
