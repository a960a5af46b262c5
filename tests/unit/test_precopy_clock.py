# SPDX-License-Identifier: LGPL-2.1-or-later
"""Virtual time: what waits for what."""

from __future__ import annotations

from migcomp.precopy.clock import MS, Channels, Clock, Threads
from migcomp.precopy.link import Link
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.window import WINDOW, Window


def clock(buffer: int = 0, latency: float = 0.0) -> Clock:
    """A byte takes 1 ns."""
    return Clock(Link(8e9, latency, segment=1, overhead=0, buffer=buffer))


def test_what_is_around_a_segment_takes_time() -> None:
    assert Link(10e9).bytes_per_second == 10e9 / 8 * 1448 / 1538


def test_writing_waits_for_the_link() -> None:
    here = clock()
    here.write(1000)
    assert here.now == 1000
    here.work(500)
    here.write(100)
    assert (here.now, here.sent, here.cpu_ns) == (1600, 1100, 500)


def test_a_socket_takes_some_bytes_ahead() -> None:
    here = clock(buffer=600)
    here.write(1000)
    assert here.now == 400
    assert here.backlog() == 600
    assert here.link_use() == (400, 400)
    here.wait_until(2000)
    assert here.backlog() == 0
    assert here.link_use() == (1000, 1000)


def test_the_other_side_answers() -> None:
    here = clock(buffer=5000, latency=1e-6)
    here.write(1000)
    here.arrive()
    assert here.now == 1000 + 2 * 1000


def test_threads_work_side_by_side() -> None:
    here = clock()
    threads = Threads(here, 2, 1)
    threads.hand_over(1000, 10)
    threads.hand_over(1000, 10)
    assert here.now == 0
    assert threads.full
    threads.hand_over(1000, 10)  # waits for the first, and sends it on
    assert here.now == 1020  # and the second, which is done as well
    threads.finish()
    assert here.now == 2010 + 10
    assert (here.sent, here.cpu_ns) == (30, 3000)


def test_a_thread_that_is_done_is_not_full() -> None:
    here = clock()
    threads = Threads(here, 1, 1)
    threads.hand_over(1000, 0)
    here.wait_until(999)
    assert threads.full
    here.wait_until(1000)
    assert not threads.full


def test_threads_with_several_jobs_work_on_while_the_link_is_busy() -> None:
    here = clock()
    threads = Threads(here, 1, 2)
    for _ in range(3):
        threads.hand_over(1000, 5000)
    assert threads.jobs == 0  # two were done while the first was sent
    threads.finish()
    assert here.now == 1000 + 3 * 5000


def test_handing_over_takes_time_that_is_nobodys_work() -> None:
    here = clock()
    threads = Threads(here, 1, 1)
    threads.hand_over(1000, 0, delay_ns=300)
    threads.finish()
    assert (here.now, here.cpu_ns) == (1300, 1000)


def test_a_channel_is_busy_until_its_packet_has_left() -> None:
    here = clock()
    channels = Channels(here, 2)
    channels.hand_over(0, 100, 1000)
    channels.hand_over(1, 100, 1000)
    assert here.now == 0
    channels.hand_over(0, 100, 1000)
    assert here.now == 1100
    channels.finish()
    assert here.now == 3100


def test_the_limit_is_of_a_window() -> None:
    window = Window(Parameters(max_bandwidth=10_000))
    assert window.left == 1000
    window.spend(400)
    assert window.left == 600
    assert window.ahead(WINDOW // 2, 0) == 0
    assert window.ahead(WINDOW // 2, 200) == 100
    window.spend(700)
    assert window.left == 0
    window.update(window.end - 1, 5, 0, 0)
    assert window.left == 0
    window.update(window.end, 5, 0, 0)
    assert window.left == 1000


def test_less_than_a_byte_for_a_window_is_no_limit() -> None:
    """migration_rate_set divides by ten, and takes 0 for none."""
    assert Window(Parameters(max_bandwidth=10)).left == 1
    assert Window(Parameters(max_bandwidth=9)).left > 1 << 60


def test_without_a_limit_nobody_is_ahead() -> None:
    window = Window(Parameters(max_bandwidth=0))
    window.spend(1 << 40)
    assert window.left > 1 << 60
    assert window.ahead(1, 1 << 40) == 0


def test_the_threshold_is_bandwidth_by_downtime() -> None:
    window = Window(Parameters(max_bandwidth=0, downtime_limit=300))
    assert window.threshold == 0
    window.spend(20_000_000)
    window.update(200 * MS, 1000, 50, 30_000_000)
    assert window.threshold == 100_000 * 300
    assert window.mbps == 800
    assert window.pages_per_second == 5000
    assert window.expected_downtime == 300


def test_a_bandwidth_that_is_given_decides_the_threshold() -> None:
    window = Window(
        Parameters(avail_switchover_bandwidth=1_000_000, downtime_limit=500)
    )
    window.spend(1)
    window.update(WINDOW, 0, 0, 0)
    assert window.threshold == 1000 * 500
