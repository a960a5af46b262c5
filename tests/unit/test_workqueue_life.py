# SPDX-License-Identifier: LGPL-2.1-or-later
"""How queues end: with blocks, Ctrl-C, fork, exit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from migcomp import ThreadedWorkqueue
from migcomp.errors import WorkqueueError
from tests.core_tools import WATCHDOG, Request, no_thread_left, page_queue


def run(script: str, *, watchdog: float = WATCHDOG) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=watchdog,
        check=False,
    )


# --- With blocks ---


def test_leaving_a_with_block_drains() -> None:
    handled: list[int] = []

    def handler(request: Request) -> None:
        time.sleep(0.001)
        handled.append(request.payload)

    with (
        no_thread_left(),
        ThreadedWorkqueue("drain", 2, 16, handler=handler) as queue,
    ):
        for number in range(32):
            request = queue.get_request()
            request.payload = number
            queue.submit_request(request)
    assert sorted(handled) == list(range(32))


def test_an_exception_in_a_with_block_cancels() -> None:
    handled: list[int] = []
    entered = threading.Event()
    leave = threading.Event()

    def handler(request: Request) -> None:
        entered.set()
        assert leave.wait(WATCHDOG)
        handled.append(1)

    def submit_and_raise() -> None:
        with ThreadedWorkqueue("cancel", 1, 16, handler=handler) as queue:
            for _ in range(16):
                queue.submit_request(queue.get_request())
            assert entered.wait(WATCHDOG)
            threading.Timer(0.05, leave.set).start()
            raise ZeroDivisionError

    with no_thread_left(), pytest.raises(ZeroDivisionError):
        submit_and_raise()
    assert len(handled) <= 2


def test_a_view_does_not_hide_the_error_of_a_with_block() -> None:
    queue, request = page_queue()
    view = memoryview(request)
    with pytest.raises(ZeroDivisionError), queue:
        raise ZeroDivisionError
    with pytest.raises(BufferError, match="in use"), queue:
        pass
    view.release()
    queue.destroy()


# --- Ctrl-C ---


@pytest.mark.parametrize(
    "waiting",
    [
        "queue.collect_request()",
        "queue.wait_for_requests()",
        "queue.get_request(timeout=None)",
        "queue.collect_request(timeout=1000)",
        "queue.destroy()",
    ],
)
def test_ctrl_c_ends_a_wait(waiting: str) -> None:
    """The handler ends only after the interrupt was noticed."""
    script = f"""
        import os, signal, threading
        from migcomp import ThreadedWorkqueue
        interrupted = threading.Event()
        def handler(request):
            os.kill(os.getpid(), signal.SIGINT)
            assert interrupted.wait(50), "not noticed"
        def on_sigint(number, frame):
            interrupted.set()
            raise KeyboardInterrupt
        signal.signal(signal.SIGINT, on_sigint)
        done = None if "collect" in {waiting!r} else (lambda request: None)
        queue = ThreadedWorkqueue("x", 1, 1, handler=handler, request_done=done)
        queue.submit_request(queue.get_request())
        try:
            {waiting}
        except KeyboardInterrupt:
            print("interrupted")
        queue.destroy()
    """
    done = run(script)
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted\n", "", 0)


def test_sigint_from_outside() -> None:
    script = """
        import signal, threading
        from migcomp import ThreadedWorkqueue
        # A shell may have started the tests with the signal ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop = threading.Event()
        queue = ThreadedWorkqueue("x", 1, 1, handler=lambda request: stop.wait(50))
        queue.submit_request(queue.get_request())
        try:
            print("ready", flush=True)
            queue.collect_request()
        except KeyboardInterrupt:
            stop.set()
            raise
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=WATCHDOG)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode == -signal.SIGINT


# --- Signals ---


def test_signals_do_not_end_a_wait() -> None:
    """Those whose handler returns, again and again, in every kind of wait."""
    done = run(
        """
        import signal, time
        from migcomp import ThreadedWorkqueue
        signals = 0
        def on_alarm(number, frame):
            global signals
            signals += 1
        def handler(request):
            time.sleep(0.01)
            request.result = request.payload + 1
        signal.signal(signal.SIGALRM, on_alarm)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        queue = ThreadedWorkqueue("x", 2, 1, handler=handler)
        for number in range(20):
            request = queue.get_request(timeout=50)
            request.payload = number
            queue.submit_request(request)
            if number % 2:
                queue.wait_for_requests()
            assert queue.collect_request(timeout=50).result == number + 1
            queue.release_request(request)
        request = queue.get_request()
        request.payload = 7
        queue.submit_request(request)
        assert queue.destroy() == 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert request.result == 8
        assert signals, "none arrived"
        """
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_a_signal_handler_cannot_enter_a_wait() -> None:
    done = run(
        """
        import signal, threading
        from migcomp import ThreadedWorkqueue
        from migcomp.errors import WorkqueueError
        entered = threading.Event()
        def on_alarm(number, frame):
            try:
                queue.poll_request()
            except WorkqueueError as error:
                print(error)
            entered.set()
        signal.signal(signal.SIGALRM, on_alarm)
        queue = ThreadedWorkqueue("x", 1, handler=lambda r: entered.wait(50))
        queue.submit_request(queue.get_request())
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        queue.collect_request()
        queue.destroy()
        """
    )
    assert "has one submitter" in done.stdout, done
    assert (done.stderr, done.returncode) == ("", 0)


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
    done = run(
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
    done = run(
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
    done = run(
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
    done = run(
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
    done = run(
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
    done = run(
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
    done = run(
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
