# SPDX-License-Identifier: LGPL-2.1-or-later
"""Defects that the tests must find: what was wrong with the patch of 2018.

Each mutant is the core with one change that brings a defect of its ancestor
back, numbered as in the table of docs/workqueue.md.  mutants_sleep.py and
mutants_own.py have others.
"""

from __future__ import annotations

from dataclasses import dataclass

HANG = "hang in"
RACE = "ThreadSanitizer: data race"


@dataclass(frozen=True)
class Mutant:
    name: str
    defect: str
    file: str
    old: str
    new: str
    program: str
    expected: str
    """What the program's output must say."""
    build: str = "plain"
    scale: float = 0.2


SEED = (
    Mutant(
        name="B1-thread-from-payload",
        defect="submit took the thread's index from the user's data, so that"
        " threads no longer took turns",
        file="workqueue.c",
        old="    list_append(queue, header);\n",
        new="    list_append(queue, header);\n"
        "    queue->next_thread = (((const uint32_t *)request)[1] + 1) %"
        " queue->threads_nr;\n",
        program="wq_fairness",
        expected="round-robin",
    ),
    Mutant(
        name="B2-reset-after-quit",
        defect="the worker looked whether to quit, and only then reset the event:"
        " the wake-up of destroy in between was lost",
        file="worker.c",
        old="        event_reset(&worker->request_valid);\n"
        "        uint64_t wish = word_observe(control);\n",
        new="        uint64_t wish = word_observe(control);\n"
        "        event_reset(&worker->request_valid);\n",
        program="wq_destroy_midflight",
        expected=HANG,
        build="jitter",
        scale=1,
    ),
    Mutant(
        name="B3-limit-of-wrong-variable",
        defect="the limit of requests was compared with the number of threads",
        file="workqueue_life.c",
        old="threads_nr > MAX_THREADS_NR || !thread_requests_nr ||\n"
        "        thread_requests_nr > MAX_THREAD_REQUEST_NR ||",
        new="threads_nr > MAX_THREAD_REQUEST_NR || !thread_requests_nr ||",
        program="wq_limits",
        expected="limits: create(1, 65)",
    ),
    Mutant(
        name="B4-no-threads",
        defect="a queue of no threads could be had",
        file="workqueue_life.c",
        old="if (!threads_nr || threads_nr",
        new="if (threads_nr",
        program="wq_limits",
        expected="limits: create(0, 1)",
    ),
    Mutant(
        name="B4-no-requests",
        defect="a queue whose threads have no requests could be had",
        file="workqueue_life.c",
        old="|| !thread_requests_nr ||",
        new="||",
        program="wq_limits",
        expected="limits: create(1, 0)",
    ),
    Mutant(
        name="B4-no-handler",
        defect="nobody looked whether there is a handler",
        file="workqueue_life.c",
        old="        !ops->thread_request_handler ||\n",
        new="",
        program="wq_limits",
        expected="limits: create(1, 1)",
    ),
    Mutant(
        name="B5-no-reservation",
        defect="two gets without a submit gave the same request",
        file="workqueue.c",
        old="    worker->in_use |= (uint64_t)1 << slot;\n"
        "    worker->next_slot = (slot + 1) % queue->thread_requests_nr;\n"
        "    queue->free_nr--;\n",
        new="",
        program="wq_reserve",
        expected="the same request twice",
    ),
    Mutant(
        name="B6-destroy-does-not-drain",
        defect="destroy left what was submitted unhandled",
        file="workqueue_life.c",
        old="end == WORKQUEUE_DRAIN ? CONTROL_DRAIN : CONTROL_CANCEL",
        new="CONTROL_CANCEL",
        program="wq_destroy_midflight",
        expected="drained",
    ),
    Mutant(
        name="B6-destroy-does-not-deliver",
        defect="destroy dropped results that were there",
        file="workqueue_life.c",
        old="            deliver_drained(queue);\n",
        new="            (void)deliver_drained;\n",
        program="wq_destroy_midflight",
        expected="drained, but not done",
    ),
    Mutant(
        name="B6-destroy-is-silent",
        defect="destroy did not say that it dropped anything",
        file="workqueue_life.c",
        old="unsigned unseen = queue->depth;",
        new="unsigned unseen = 0;",
        program="wq_destroy_midflight",
        expected="unseen: 0 of",
    ),
    Mutant(
        name="B7-order-of-results",
        defect="results came in the order of their slots' next use",
        file="workqueue.c",
        old="    RequestHeader *header = queue->oldest;\n\n    take(queue, header);\n",
        new="    RequestHeader *header = queue->oldest;\n\n"
        "    if (is_handled(queue, queue->newest)) {\n"
        "        header = queue->newest;\n"
        "    }\n"
        "    take(queue, header);\n",
        program="wq_order",
        expected="fifo",
    ),
    Mutant(
        name="B7-late-results",
        defect="a result was delivered when its slot was used again, or never",
        file="workqueue.c",
        old="    deliver_handled(queue);\n    if (word_observe(&queue->error)) {\n",
        new="    if (word_observe(&queue->error)) {\n",
        program="wq_fairness",
        expected="lag",
    ),
    Mutant(
        name="B7-worker-takes-lowest-slot",
        defect="the worker took the lowest valid slot: high ones starved",
        file="worker.c",
        old="first_slot_from(valid, worker->cursor)",
        new="first_slot_from(valid, 0)",
        program="wq_fairness",
        expected="starving",
    ),
    Mutant(
        name="B7-get-takes-lowest-slot",
        defect="get took the lowest free slot, so that a thread's requests were"
        " not handled in the order of submission",
        file="workqueue.c",
        old="first_slot_from(free_slots, worker->next_slot)",
        new="first_slot_from(free_slots, 0)",
        program="wq_order",
        expected="thread handled",
        scale=1,
    ),
    Mutant(
        name="B12-payload-not-aligned",
        defect="requests were aligned to a machine word only",
        file="workqueue_private.h",
        old="    _Alignas(CACHE_LINE) uint64_t sequence;",
        new="    uint64_t sequence;",
        program="wq_limits",
        expected="request is not aligned",
    ),
    Mutant(
        name="B14-plain-flip",
        defect="a request was handed over without release ordering",
        file="atomics.h",
        old="word_own(word) ^ mask, memory_order_release)",
        new="word_own(word) ^ mask, memory_order_relaxed)",
        program="wq_stress",
        expected=RACE,
        build="tsan",
    ),
    Mutant(
        name="B15-plain-observation",
        defect="a request was taken over without acquire ordering",
        file="atomics.h",
        old="static inline uint64_t word_observe(const SharedWord *word)\n{\n"
        "    return atomic_load_explicit(word, memory_order_acquire);",
        new="static inline uint64_t word_observe(const SharedWord *word)\n{\n"
        "    return atomic_load_explicit(word, memory_order_relaxed);",
        program="wq_stress",
        expected=RACE,
        build="tsan",
    ),
    Mutant(
        name="B18-spinning-without-a-spare-cpu",
        defect="threads spun on hosts that have fewer CPUs than threads",
        file="workqueue_life.c",
        old="return threads_nr < cpus ? SPIN_MOST_NS : 0;",
        new="return cpus ? SPIN_MOST_NS : 0;",
        program="wq_affinity",
        expected="spins",
    ),
    Mutant(
        name="B20-quit-is-plain",
        defect="the wish to quit was written without ordering",
        file="atomics.h",
        old="    atomic_store_explicit(word, value, memory_order_release);\n",
        new="    *(volatile uint64_t *)(uintptr_t)word = value;\n",
        program="wq_destroy_midflight",
        expected=RACE,
        build="tsan",
    ),
    Mutant(
        name="B23-name-cut-off",
        defect="a long name left no room for the thread's index",
        file="workqueue_life.c",
        old="THREAD_NAME_SIZE - 1 - length",
        new="THREAD_NAME_SIZE - 1",
        program="wq_affinity",
        expected="name",
    ),
)
