# SPDX-License-Identifier: LGPL-2.1-or-later
"""Queues in processes that fork or exit, and in subinterpreters."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

import pytest

from migcomp import ThreadedWorkqueue
from migcomp.errors import WorkqueueError
from tests.core_tools import WATCHDOG, run_script

# --- Fork ---


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("locked", [False, True])
def test_fork(locked: bool) -> None:
    """The child gets a clear error, can destroy, and ends without a crash;
    also when the fork happens while another thread waits for the queue."""
    leave = threading.Event()
    queue = ThreadedWorkqueue("fork", 2, handler=lambda request: leave.wait(WATCHDOG))
    queue.submit_request(queue.get_request())
    waiter = threading.Thread(target=queue.wait_for_requests)
    if locked:
        waiter.start()
        time.sleep(0.05)
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            try:
                queue.get_request()
            except WorkqueueError as error:
                if "forked process" in str(error):
                    status = 2 if queue.destroy() != 1 else 0
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    leave.set()
    if locked:
        waiter.join(WATCHDOG)
    queue.wait_for_requests()
    queue.destroy()


def test_a_forked_child_exits_cleanly() -> None:
    done = run_script(
        """
        import os, sys, warnings
        warnings.simplefilter("ignore")
        from migcomp import ThreadedWorkqueue
        queue = ThreadedWorkqueue("x", 2, handler=lambda request: None)
        for _ in range(8):
            queue.submit_request(queue.get_request())
        child = os.fork()
        if child:
            sys.exit(os.waitpid(child, 0)[1])
        del queue
        """
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_a_handler_that_forks() -> None:
    """Its child has one thread, the worker's, and no queue."""
    done = run_script(
        """
        import os, warnings
        warnings.simplefilter("ignore")
        from migcomp import ThreadedWorkqueue
        from migcomp.errors import WorkqueueError
        def handler(request):
            child = os.fork()
            if child == 0:
                try:
                    queue.get_request()
                except WorkqueueError as error:
                    os._exit(7 if "forked process" in str(error) else 1)
                os._exit(2)
            request.result = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        queue = ThreadedWorkqueue("x", 2, handler=handler)
        for _ in range(4):
            queue.submit_request(queue.get_request())
        for _ in range(4):
            assert queue.collect_request().result == 7
        queue.destroy()
        """
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


# --- Exit ---


@pytest.mark.parametrize("kind", ["python", "native", "codec", "core", "waiting"])
def test_exit_with_work_in_flight(kind: str) -> None:
    done = run_script(
        f"""
        import threading, time
        from migcomp import ThreadedWorkqueue, _core
        from migcomp.codecs import open_codec
        kind = {kind!r}
        class Codec:
            def __init__(self, level): pass
            def compress(self, pages): time.sleep(0.001); return b"x"
        if kind in ("native", "codec"):
            library = open_codec("none").library
            if kind == "codec":
                library = _core.python_library("c", "python", "", "", Codec)
            handler = _core.compressor(library, page_size=4096, pages_max=4)
            content = bytes(range(256)) * 64
            pages = _core.PageMap(content, [(0, 4, 0)], 4096, False)
        else:
            handler = lambda request: time.sleep(0.001)
        if kind == "core":
            queue = _core.Workqueue("x", 4, 64, _core.python_handler(handler))
        else:
            queue = ThreadedWorkqueue("x", 4, 64, handler=handler)
        for _ in range(256):
            request = queue.get_request()
            if kind in ("native", "codec"):
                request.load(pages, 0, 4, 0, 0)
            queue.submit_request(request)
        if kind == "waiting":
            threading.Thread(target=queue.wait_for_requests, daemon=True).start()
            time.sleep(0.01)
        """
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_exit_with_a_view_in_use() -> None:
    done = run_script(
        """
        from migcomp import ThreadedWorkqueue, _core
        from migcomp.codecs import open_codec
        library = open_codec("none").library
        handler = _core.compressor(library, page_size=4096, pages_max=1)
        queue = ThreadedWorkqueue("x", 1, 1, handler=handler)
        other = ThreadedWorkqueue("y", 1, 1, handler=lambda request: None)
        view = memoryview(queue.get_request())
        """
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


# --- Subinterpreters ---


@pytest.mark.skipif(sys.version_info < (3, 12), reason="one GIL for all before 3.12")
def test_subinterpreters() -> None:
    done = run_script(
        """
        import sys, textwrap
        if sys.version_info >= (3, 13):
            import _interpreters as interpreters
        else:
            import _xxsubinterpreters as interpreters
        script = textwrap.dedent('''
            from migcomp import ThreadedWorkqueue
            def square(request):
                request.result = request.payload ** 2
            queue = ThreadedWorkqueue("sub", 2, handler=square)
            for number in range(50):
                request = queue.get_request()
                request.payload = number
                queue.submit_request(request)
                assert queue.collect_request().result == number ** 2
                queue.release_request(request)
            left_running = ThreadedWorkqueue("left", 2, handler=square)
        ''')
        for _ in range(3):
            sub = interpreters.create()
            problem = interpreters.run_string(sub, script)
            assert problem is None, problem
            interpreters.destroy(sub)
        print("done")
        """
    )
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="they work since 3.12")
@pytest.mark.parametrize("kind", ["python", "codec"])
def test_old_subinterpreters_are_refused(kind: str) -> None:
    """Else the process would wait for ever for the queue's threads."""
    done = run_script(
        f"""
        import textwrap
        import _xxsubinterpreters as interpreters
        script = textwrap.dedent('''
            from migcomp import ThreadedWorkqueue, _core
            from migcomp.errors import WorkqueueError
            handler = lambda request: None
            if {kind!r} == "codec":
                class Codec:
                    def __init__(self, level): pass
                    def compress(self, pages): return pages
                library = _core.python_library("c", "python", "", "", Codec)
                handler = _core.compressor(library, page_size=4096, pages_max=1)
            try:
                ThreadedWorkqueue("sub", 2, handler=handler)
            except WorkqueueError as error:
                assert "main interpreter" in str(error), error
            else:
                raise AssertionError
        ''')
        sub = interpreters.create()
        interpreters.run_string(sub, script)
        interpreters.destroy(sub)
        print("done")
        """
    )
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


def test_a_subinterpreter_with_a_native_handler() -> None:
    """Its threads do not enter the interpreter; the queue is left running."""
    done = run_script(
        """
        import sys, textwrap
        if sys.version_info >= (3, 13):
            import _interpreters as interpreters
        else:
            import _xxsubinterpreters as interpreters
        script = textwrap.dedent('''
            from migcomp import ThreadedWorkqueue, _core
            from migcomp.codecs import open_codec
            library = open_codec("none").library
            handler = _core.compressor(library, page_size=4096, pages_max=4)
            pages = _core.PageMap(bytes(range(256)) * 64, [(0, 4, 0)], 4096, False)
            queue = ThreadedWorkqueue("sub", 2, 4, handler=handler)
            for _ in range(8):
                request = queue.get_request()
                request.load(pages, 0, 4, 0, 0)
                queue.submit_request(request)
        ''')
        for _ in range(3):
            sub = interpreters.create()
            problem = interpreters.run_string(sub, script)
            assert problem is None, problem
            interpreters.destroy(sub)
        print("done")
        """
    )
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)
