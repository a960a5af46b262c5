/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The event by itself: no set is ever missed, no wait returns without one. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>

/* Two threads that hand a turn to and fro; each waits on its own event. */
static Event turn_event[2];
static SharedWord turn;
static unsigned rounds;

static void pause_a_little(uint64_t *random)
{
    uint64_t turns = check_random(random) % 64;

    /* Mostly short; now and then long enough for the other one to sleep. */
    if (turns == 0) {
        check_sleep(20000);
    }
    while (turns--) {
        cpu_relax();
    }
}

static void play(unsigned side, bool timed)
{
    uint64_t random = 88172645463325252u + side;

    for (uint64_t mine = side; mine < rounds; mine += 2) {
        for (;;) {
            event_reset(&turn_event[side]);
            if (word_observe(&turn) == mine) {
                break;
            }
            int64_t deadline = DEADLINE_NEVER;

            if (timed) {
                /* Short, so that many sets meet the end of the wait. */
                deadline = event_clock() + (int64_t)(check_random(&random) %
                                                     60000);
            }
            event_wait(&turn_event[side], deadline);
        }
        pause_a_little(&random);
        word_publish(&turn, mine + 1);
        event_set(&turn_event[1 - side]);
    }
}

static void *play_odd(void *timed)
{
    play(1, timed != NULL);
    return NULL;
}

static void check_turns(bool timed)
{
    pthread_t other;

    check_phase = timed ? "turns with deadlines" : "turns";
    check_alive();
    rounds = check_count(8000);
    check_operations += rounds;
    event_init(&turn_event[0]);
    event_init(&turn_event[1]);
    word_publish(&turn, 0);
    pthread_create(&other, NULL, play_odd, timed ? &turn : NULL);
    play(0, timed);
    pthread_join(other, NULL);
    CHECK(word_observe(&turn) == rounds, "turns got lost");
}

static void check_deadlines(void)
{
    Event event;

    check_phase = "deadlines";
    event_init(&event);
    CHECK(!event_wait(&event, 0), "a past deadline counts as set");
    for (int64_t wait = 0; wait < 3 * MS; wait += MS) {
        int64_t deadline = event_clock() + wait;

        CHECK(!event_wait(&event, deadline), "set by nobody");
        CHECK(event_clock() >= deadline, "woke before the deadline");
    }
    CHECK(!event_set(&event), "woke somebody who was not there");
    CHECK(event_wait(&event, 0), "a set before the wait was missed");
    CHECK(event_wait(&event, DEADLINE_NEVER), "the event reset itself");
    CHECK(!event_set(&event), "woke somebody at the second set");
    event_reset(&event);
    CHECK(!event_wait(&event, event_clock() + MS), "the reset did nothing");
}

/* --- Signals must not end a wait. ----------------------------------------- */

static Event alarm_event;
static SharedWord alarm_set, alarm_waiting;

static void on_signal(int number)
{
    (void)number;
}

static void *wait_for_alarm(void *deadline_far)
{
    int64_t deadline =
        deadline_far ? event_clock() + 3600 * SECOND : DEADLINE_NEVER;

    word_publish(&alarm_waiting, 1);
    CHECK(event_wait(&alarm_event, deadline), "deadline in an hour passed");
    CHECK(word_observe(&alarm_set), "a signal ended the wait");
    return NULL;
}

static void check_signals(bool deadline_far)
{
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART */
    pthread_t waiter;

    check_phase = "signals";
    check_alive();
    sigaction(SIGUSR1, &action, NULL);
    event_init(&alarm_event);
    word_publish(&alarm_set, 0);
    word_publish(&alarm_waiting, 0);
    pthread_create(&waiter, NULL, wait_for_alarm,
                   deadline_far ? &alarm_event : NULL);
    while (!word_observe(&alarm_waiting)) {
        check_sleep(MS / 10);
    }
    for (unsigned i = 0; i < 20; i++) {
        check_sleep(MS);
        pthread_kill(waiter, SIGUSR1);
    }
    check_sleep(MS);
    word_publish(&alarm_set, 1);
    event_set(&alarm_event);
    pthread_join(waiter, NULL);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv);
    check_deadlines();
    check_turns(false);
    check_turns(true);
    check_signals(false);
    check_signals(true);
    return check_end();
}
