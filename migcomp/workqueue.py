# SPDX-License-Identifier: LGPL-2.1-or-later
"""The threaded workqueue in Python.

::

    def deflate(request):
        request.result = zlib.compress(request.payload)

    with ThreadedWorkqueue("deflate", threads=2, handler=deflate) as queue:
        for page in pages:
            while (request := queue.get_request()) is None:
                done = queue.collect_request()
                use(done.result)
                queue.release_request(done)
            request.payload = page
            queue.submit_request(request)
        while (done := queue.collect_request()) is not None:
            use(done.result)
            queue.release_request(done)

The queue has one submitter: while a thread is inside one of its methods, those
that others call raise WorkqueueError.  The contract of every method is that of
``migcomp/_core/workqueue.h``.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from migcomp import _core
from migcomp.errors import WorkqueueError

DEFAULT_REQUESTS = _core.DEFAULT_THREAD_REQUEST_NR
MAX_REQUESTS = _core.MAX_THREAD_REQUEST_NR
MAX_THREADS = _core.MAX_THREADS_NR


def usable_cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0))


class ThreadedWorkqueue(_core.Workqueue):
    """``threads`` threads with ``requests`` requests each, handling in parallel.

    ``handler`` is a callable that gets an :class:`~migcomp._core.ObjectRequest`
    on a worker thread (one that releases the GIL profits from the threads), or
    a native :class:`~migcomp._core.Handler`.  With a callable come the seed's
    other operations: ``request_init`` and ``request_uninit`` (for each request,
    when the queue is made and destroyed), ``request_done`` (on the submitter,
    in order of submission; the queue then collects by itself), and
    ``thread_init(index)``, whose result is ``request.thread_state`` in the
    handler and is given to ``thread_uninit``, both on the worker.

    Threads are named ``name/index``; thread *i* runs on ``cpus[i % len(cpus)]``
    only, where ``cpus`` is given.  Leaving a ``with`` block drains the queue,
    or cancels it when an exception is under way.

    What an operation raised is raised again by the next method that waits, or
    else by a draining ``destroy``.  Of a cancelled queue, and of one that was
    dropped without ``destroy``, it goes to ``sys.unraisablehook``.

    Raises ValueError for numbers out of range, ThreadsUnavailable when there is no
    room for so many threads or requests, WorkqueueError where a callable has not the
    main interpreter that it needs before Python 3.12, and whatever an operation
    raised.
    """

    def __new__(
        cls,
        name: str,
        threads: int | None = None,
        requests: int = DEFAULT_REQUESTS,
        *,
        handler: Callable[[_core.ObjectRequest], object] | _core.Handler,
        request_init: Callable[[_core.ObjectRequest], object] | None = None,
        request_uninit: Callable[[_core.ObjectRequest], object] | None = None,
        request_done: Callable[[_core.ObjectRequest], object] | None = None,
        thread_init: Callable[[int], Any] | None = None,
        thread_uninit: Callable[[Any], object] | None = None,
        cpus: Iterable[int] = (),
    ) -> Self:
        if threads is None:
            threads = min(usable_cpus(), MAX_THREADS)
        for what, number, most in (
            ("threads", threads, MAX_THREADS),
            ("requests", requests, MAX_REQUESTS),
        ):
            if not 1 <= number <= most:
                raise ValueError(f"{what} must be 1 to {most}, not {number}")
        operations = (
            request_init,
            request_uninit,
            request_done,
            thread_init,
            thread_uninit,
        )
        if not isinstance(handler, _core.Handler):
            handler = _core.python_handler(handler, *operations)
        elif any(operation is not None for operation in operations):
            raise TypeError("a native handler brings its own operations")
        queue = super().__new__(cls, name, threads, requests, handler, tuple(cpus))
        _alive.add(queue)
        return queue

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.destroy(drain=error is None)
        except BufferError:
            # The frames of the error under way may hold views of requests:
            # the queue goes with them.
            if error is None:
                raise


_alive: weakref.WeakSet[ThreadedWorkqueue] = weakref.WeakSet()


@atexit.register
def _cancel_all() -> None:
    # Threads must not enter an interpreter that is being taken down.
    for queue in list(_alive):
        # Those of a thread that still waits, or whose data is in use, run
        # native handlers or end with the process.
        with contextlib.suppress(WorkqueueError, BufferError):
            queue.destroy(drain=False)
