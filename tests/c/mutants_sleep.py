# SPDX-License-Identifier: LGPL-2.1-or-later
"""Defects that the tests must find: of polling, sleeping and waking."""

from __future__ import annotations

from .mutants import HANG, Mutant

SLEEPING = (
    Mutant(
        name="quit-not-checked-again",
        defect="the worker looks whether to quit before its first sleep only",
        file="worker.c",
        old="    for (;;) {\n"
        "        /* Reset, then look, then sleep: any other order loses a wake-up. */\n"
        "        event_reset(&worker->request_valid);\n"
        "        uint64_t wish = word_observe(control);\n",
        new="    uint64_t wish = word_observe(control);\n"
        "    for (;;) {\n"
        "        event_reset(&worker->request_valid);\n",
        program="wq_destroy_midflight",
        expected=HANG,
    ),
    Mutant(
        name="worker-resets-after-look",
        defect="the worker looks for a request, then resets the event",
        file="worker.c",
        old="        unsigned slot = find_valid_slot(worker);\n\n        if (wish",
        new="        unsigned slot = find_valid_slot(worker);\n"
        "        event_reset(&worker->request_valid);\n        if (wish",
        program="wq_order",
        expected=HANG,
        build="jitter",
    ),
    Mutant(
        name="submitter-resets-after-look",
        defect="the submitter looks for its result, then resets the event",
        file="workqueue.c",
        old="        event_reset(request_free);\n"
        "        if (is_settled(queue, header)) {\n"
        "            return;\n"
        "        }\n",
        new="        if (is_settled(queue, header)) {\n"
        "            return;\n"
        "        }\n"
        "        event_reset(request_free);\n",
        program="wq_order",
        expected=HANG,
        build="jitter",
    ),
    Mutant(
        name="submitter-sets-before-flip",
        defect="the worker is woken before the request is valid",
        file="workqueue.c",
        old="    word_flip(&worker->fill, header_bit(header));\n"
        "    if (event_set(&worker->request_valid)) {\n"
        "        queue->stats.wakeups++;\n"
        "    }\n",
        new="    event_set(&worker->request_valid);\n"
        "    word_flip(&worker->fill, header_bit(header));\n",
        program="wq_order",
        expected=HANG,
        build="jitter",
    ),
    Mutant(
        name="worker-sets-before-flip",
        defect="the submitter is woken before the request is handled",
        file="worker.c",
        old="    word_flip(&worker->done, (uint64_t)1 << slot);\n"
        "    if (event_set(&worker->request_free)) {\n"
        "        counter_add(&worker->wakeups, 1);\n"
        "    }\n",
        new="    event_set(&worker->request_free);\n"
        "    word_flip(&worker->done, (uint64_t)1 << slot);\n",
        program="wq_order",
        expected=HANG,
        build="jitter",
    ),
    Mutant(
        name="set-wakes-nobody",
        defect="the setter forgets the futex call",
        file="event.c",
        old="    if (!wake_sleeper(event)) {\n",
        new="    if (!wake_sleeper && !wake_sleeper(event)) {\n",
        program="event_lost_wakeup",
        expected=HANG,
    ),
    Mutant(
        name="sleep-not-announced",
        defect="the waiter sleeps without telling the setter",
        file="event.c",
        old="    if (!signal_replace(&event->word, EVENT_UNSET, EVENT_ASLEEP)) {\n",
        new="    if (signal_observe(&event->word) == EVENT_SET) {\n",
        program="wq_idle",
        expected=HANG,
    ),
    Mutant(
        name="wait-not-checked-again",
        defect="the waiter believes each return of the futex call",
        file="event.c",
        old="    while (signal_observe(&event->word) != EVENT_SET) {\n",
        new="    if (signal_observe(&event->word) != EVENT_SET) {\n",
        program="event_lost_wakeup",
        expected="set by nobody",
        scale=0.01,
    ),
    Mutant(
        name="refused-wake-forgotten",
        defect="the setter does not repeat a futex call that was refused",
        file="event.c",
        old="        doze();\n        wake_sleeper(event);\n",
        new="",
        program="wq_faults",
        expected=HANG,
    ),
    Mutant(
        name="deadline-ignored",
        defect="a wait with a deadline has none",
        file="event.c",
        old="deadline_ns == DEADLINE_NEVER ? NULL : &until",
        new="((void)until, NULL)",
        program="event_lost_wakeup",
        expected="hang in deadlines",
    ),
    Mutant(
        name="idle-worker-polls",
        defect="a worker without work looks for it again and again",
        file="worker.c",
        old="event_wait(&worker->request_valid, DEADLINE_NEVER);",
        new="event_wait(&worker->request_valid, asleep + 1000);",
        program="wq_idle",
        expected="of idle workers",
    ),
    Mutant(
        name="waiting-submitter-polls",
        defect="a submitter without a result looks for it again and again",
        file="workqueue.c",
        old="goes_on = event_wait(request_free, deadline);",
        new="goes_on = event_wait(request_free, deadline == DEADLINE_NEVER\n"
        "? asleep + 1000 : deadline) || deadline == DEADLINE_NEVER;",
        program="wq_idle",
        expected="sleeps of the submitter",
    ),
    Mutant(
        name="spinning-past-the-deadline",
        defect="a wait polls for longer than its time limit",
        file="workqueue.c",
        old="limit < deadline ? limit : deadline",
        new="limit + (0 & deadline)",
        program="wq_idle",
        expected="turns in short waits",
    ),
    Mutant(
        name="short-waits-end-spinning",
        defect="waits that are too short to poll make the others not poll",
        file="workqueue.c",
        old="    } else if (end == limit) {\n",
        new="    } else {\n",
        program="wq_idle",
        expected="turns in short waits",
    ),
    Mutant(
        name="waits-in-vain-learn",
        defect="a wait that ended at its time limit counts as a short sleep",
        file="workqueue.c",
        old="        if (goes_on) {\n            spin_learn(",
        new="        if (asleep) {\n            spin_learn(",
        program="wq_idle",
        expected="turns after long waits",
    ),
)
