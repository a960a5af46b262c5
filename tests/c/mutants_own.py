# SPDX-License-Identifier: LGPL-2.1-or-later
"""Defects that the tests must find: mistakes that this queue might make."""

from __future__ import annotations

from dataclasses import replace

from .mutants import HANG, SEED, Mutant
from .mutants_sleep import SLEEPING

ERRORS = (
    Mutant(
        name="error-seen-before-handled",
        defect="a request that fails between two looks is collected as a good one",
        file="workqueue.c",
        old="    bool handled = is_handled(queue, header);\n\n"
        "    if (word_observe(&queue->error)) {\n"
        "        return -ECANCELED;\n"
        "    }\n"
        "    return handled ? 0 : -ETIMEDOUT;\n",
        new="    if (word_observe(&queue->error)) {\n"
        "        return -ECANCELED;\n"
        "    }\n"
        "    int sched_yield(void);\n"  # for hosts with one CPU
        "    sched_yield();\n"
        "    return is_handled(queue, header) ? 0 : -ETIMEDOUT;\n",
        program="wq_error",
        expected="collected a request that failed",
        scale=1,
    ),
    Mutant(
        name="error-does-not-stop",
        defect="what was submitted is handled in spite of the error",
        file="worker.c",
        old="    if (word_observe(&queue->error)) {\n",
        new="    if (false) {\n",
        program="wq_error",
        expected="stopped:",
    ),
    Mutant(
        name="error-strands-requests",
        defect="a worker that finds the error does not hand its requests back",
        file="worker.c",
        old="        header->status = -ECANCELED;\n",
        new="        return;\n",
        program="wq_error",
        expected=HANG,
    ),
    Mutant(
        name="last-error-wins",
        defect="a later error covers the first one",
        file="worker.c",
        old="word_claim(&queue->error,",
        new="word_publish(&queue->error,",
        program="wq_error",
        expected="wrong error",
    ),
    Mutant(
        name="error-of-another-slot",
        defect="the error names another request of the same thread",
        file="worker.c",
        old="MAX_THREAD_REQUEST_NR +\n                           slot);",
        new="MAX_THREAD_REQUEST_NR);",
        program="wq_error",
        expected="wrong error",
    ),
    Mutant(
        name="failed-request-delivered",
        defect="a request that failed is given to done",
        file="workqueue.c",
        old="is_handled(queue, queue->oldest) &&\n"
        "           !word_observe(&queue->error)) {",
        new="is_handled(queue, queue->oldest)) {",
        program="wq_error",
        expected="a failed request was given to done",
    ),
)

LIFE = (
    Mutant(
        name="cancel-drains",
        defect="a busy worker does not notice that it is cancelled",
        file="worker.c",
        old="word_observe(&queue->control) == CONTROL_CANCEL\n"
        "                            ? NO_SLOT\n"
        "                            : find_valid_slot(worker);",
        new="find_valid_slot(worker);",
        program="wq_destroy_midflight",
        expected="late: thread",
        scale=0.01,
    ),
    Mutant(
        name="uninit-of-failed-init",
        defect="a request gets its uninit although its init failed",
        file="workqueue_life.c",
        old="uninit_requests(worker, slot);",
        new="uninit_requests(worker, slot + 1);",
        program="wq_faults",
        expected="uninit without init",
    ),
    Mutant(
        name="failed-create-leaks",
        defect="create fails and leaves the earlier threads' requests behind",
        file="workqueue_life.c",
        old="free_queue(queue, i);",
        new="free_queue(queue, 0);",
        program="wq_faults",
        expected="allocations left",
    ),
    Mutant(
        name="failed-create-leaves-threads",
        defect="create fails and leaves the earlier threads running",
        file="workqueue_life.c",
        old="            stop_workers(queue, i, CONTROL_CANCEL);\n",
        new="",
        program="wq_faults",
        expected="threads left",
    ),
    Mutant(
        name="child-waits-for-threads",
        defect="after a fork, the child joins threads that it does not have",
        file="workqueue_life.c",
        old="    if (queue->creator == getpid()) {\n",
        new="    if (queue->creator) {\n",
        program="wq_fork",
        expected="the child ended with",
    ),
    Mutant(
        name="raised-signals-blocked",
        defect="a SIGBUS on a thread ends the process, its handler unasked",
        file="workqueue_life.c",
        old="        sigdelset(set, raised[i]);\n",
        new="        (void)raised;\n",
        program="wq_signals",
        expected="is blocked",
    ),
    Mutant(
        name="memory-not-zeroed",
        defect="requests begin with what was in memory",
        file="workqueue_life.c",
        old="        memset(memory, 0, total);\n",
        new="        memset(memory, count > 1, total);\n",
        program="wq_limits",
        expected="request is not zeroed",
    ),
)

STATES = (
    Mutant(
        name="submitted-twice",
        defect="a request that is the worker's counts as reserved",
        file="workqueue.c",
        old="worker->in_use & ~worker->submitted & header_bit(header)",
        new="worker->in_use & header_bit(header)",
        program="wq_reserve",
        expected="submitted twice",
    ),
    Mutant(
        name="wait-for-oneself",
        defect="get waits for requests that only the submitter can free",
        file="workqueue.c",
        old="if (!queue->ops->thread_request_done || !queue->oldest) {",
        new="if (!queue->oldest) {",
        program="wq_reserve",
        expected=HANG,
    ),
    Mutant(
        name="poll-takes-lowest-slot",
        defect="poll comes back to the lowest slots: results in high ones starve",
        file="workqueue.c",
        old="first_slot_from(handled, worker->poll_slot)",
        new="first_slot_from(handled, 0)",
        program="wq_fairness",
        expected="starving: poll",
    ),
    Mutant(
        name="busy-not-counted",
        defect="the counters do not say that all requests were busy",
        file="workqueue.c",
        old="    queue->stats.busy++;\n",
        new="",
        program="wq_reserve",
        expected="busy was not counted",
    ),
)

CODECS = (
    Mutant(
        name="history-not-saved",
        defect="a channel goes on although its history could not be saved",
        file="codec_lz4.c",
        old="return saved > 0 ? written : 0;",
        new="(void)saved;\n    return written;",
        program="page_faults",
        expected="other pages",
    ),
    Mutant(
        name="failed-open-leaks",
        defect="a library that is not usable stays loaded",
        file="codec.c",
        old="        dlclose(library->handle);\n",
        new="",
        program="page_faults",
        expected="left",
    ),
    Mutant(
        name="failed-scan-leaks",
        defect="records without memory for all of their tables leak some",
        file="qemu_ram.c",
        old="    if (!ram->seen || !ram->rounds) {\n        qemu_ram_uninit(ram);\n",
        new="    if (!ram->seen || !ram->rounds) {\n",
        program="ram_faults",
        expected="allocations left",
    ),
    Mutant(
        name="context-of-failed-init-leaks",
        defect="a context stays behind when the library has no memory",
        file="codec_zlib.c",
        old="    if (context->api->inflate_init(&context->stream,"
        " context->api->version(),\n"
        "                                   sizeof(ZStream)) != Z_OK) {\n"
        "        free(context);\n",
        new="    if (context->api->inflate_init(&context->stream,"
        " context->api->version(),\n"
        "                                   sizeof(ZStream)) != Z_OK) {\n",
        program="page_faults",
        expected="left",
    ),
    Mutant(
        name="dictionary-not-loaded",
        defect="a delta is made although what it refers to could not be loaded",
        file="codec_lz4.c",
        old="    if (loaded == (int)size) {\n",
        new="    if (loaded >= 0) {\n",
        program="delta_faults",
        expected="bytes for small changes",
    ),
    Mutant(
        name="cached-page-leaks",
        defect="the cache keeps the page that it had no memory to replace",
        file="xbzrle_cache.c",
        old="            free(cache->places[i].content);\n",
        new="",
        program="delta_faults",
        expected="left",
    ),
    Mutant(
        name="fetcher-freed-twice",
        defect="a thread that cannot get all it needs to decode frees twice what it"
        " has got",
        file="page_fetch.c",
        old="    *fetcher = (PageFetcher){.map = NULL};\n",
        new="",
        program="fetch_faults",
        expected="attempting double-free",
        build="asan",
    ),
    Mutant(
        name="failed-read-unnoticed",
        defect="an equal page that cannot be read is taken for read",
        file="dedup.c",
        old="                return -errno;\n            }\n            /* A hole",
        new="                got = 0;\n            }\n            /* A hole",
        program="page_faults",
        expected="other pages",
    ),
)

# Valgrind's tools see what ThreadSanitizer sees.
TOOLS = tuple(
    replace(
        mutant,
        name=f"{mutant.name}-under-{tool}",
        build=tool,
        expected=report,
        scale=0.02,
    )
    for mutant in SEED
    if mutant.name in ("B14-plain-flip", "B15-plain-observation")
    for tool, report in (
        ("helgrind", "Possible data race"),
        ("drd", "Conflicting load"),
    )
)

OWN = SLEEPING + ERRORS + LIFE + STATES + CODECS + TOOLS
