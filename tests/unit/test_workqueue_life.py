# SPDX-License-Identifier: LGPL-2.1-or-later
"""How queues end: with blocks, Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from migcomp import ThreadedWorkqueue
from tests.core_tools import WATCHDOG, Request, no_thread_left, page_queue, run_script

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
        request = queue.get_request()
        try:
            queue.submit_request(request)  # on a busy machine it may come here
            {waiting}
        except KeyboardInterrupt:
            print("interrupted")
        queue.destroy()
    """
    done = run_script(script)
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
    done = run_script(
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
    done = run_script(
        """
        import signal, threading
        from migcomp import ThreadedWorkqueue
        from migcomp.errors import WorkqueueError
        entered = threading.Event()
        def on_alarm(number, frame):
            try:
                queue.poll_request()  # nothing, as long as nobody waits
            except WorkqueueError as error:
                print(error)
                signal.setitimer(signal.ITIMER_REAL, 0)
                entered.set()
        signal.signal(signal.SIGALRM, on_alarm)
        queue = ThreadedWorkqueue("x", 1, handler=lambda r: entered.wait(50))
        queue.submit_request(queue.get_request())
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        queue.collect_request()
        queue.destroy()
        """
    )
    assert "has one submitter" in done.stdout, done
    assert (done.stderr, done.returncode) == ("", 0)
