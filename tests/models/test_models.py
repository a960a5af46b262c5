# SPDX-License-Identifier: LGPL-2.1-or-later
"""The models hold, and with each of their defects they do not.

``pytest -rP tests/models`` prints how many states there were.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.c.programs import compiler as c_compiler
from tests.c.programs import need

HERE = Path(__file__).resolve().parent
#: Of one search; a search that needs more fails.
MEMORY_MIB = 4000
DEPTH = 100_000


@dataclass(frozen=True)
class Run:
    """One search through a model: its sizes and defects by name."""

    model: str
    sizes: dict[str, int]
    switches: tuple[str, ...] = ()
    endless: bool = False
    """Looks for an endless execution instead of assertions and deadlocks."""

    def __str__(self) -> str:
        sizes = (f"{name.lower()}={size}" for name, size in self.sizes.items() if size)
        kind = ("endless",) if self.endless else ()
        return " ".join((self.model, *self.switches, *sizes, *kind))


@dataclass(frozen=True)
class Search:
    output: str

    @property
    def errors(self) -> int:
        return self._number(r"errors: (\d+)")

    @property
    def states(self) -> int:
        return self._number(r"(\d+) states, stored")

    @property
    def complete(self) -> bool:
        # Spin says "error: max search depth too small" and goes on.
        return not re.search(
            r"max search depth|out of memory|not completed|MEMLIM|warning",
            self.output,
            re.IGNORECASE,
        )

    def _number(self, pattern: str) -> int:
        found = re.search(pattern, self.output)
        assert found, self.output
        return int(found[1])


# Submitted requests, failing handlers, futex calls that return without reason,
# waits that time out, polls.
def queue(
    submits: int, fails: int = 0, spurious: int = 0, timeouts: int = 0, polls: int = 0
) -> dict[str, int]:
    return {
        "SUBMITS": submits,
        "FAILS": fails,
        "SPURIOUS": spurious,
        "TIMEOUTS": timeouts,
        "POLLS": polls,
    }


def event(
    submits: int,
    requests: int = 1,
    fails: int = 0,
    spurious: int = 0,
    timeouts: int = 0,
) -> dict[str, int]:
    return {
        "SUBMITS": submits,
        "REQUESTS": requests,
        "FAILS": fails,
        "SPURIOUS": spurious,
        "TIMEOUTS": timeouts,
    }


GOOD = (
    Run("workqueue", queue(1, fails=1, spurious=1), ("CREATE",)),
    Run("workqueue", queue(2, fails=1)),
    Run("workqueue", queue(3, spurious=1), ("PIPELINE",)),
    # Every request is in use, one of them twice.
    Run("workqueue", queue(5, fails=1), ("PIPELINE",)),
    Run("workqueue", queue(3, fails=2), ("PIPELINE",)),
    Run("workqueue", queue(1, fails=1), ("CREATE",), endless=True),
    Run("event", event(1, requests=2, fails=1, spurious=1, timeouts=1)),
    Run("event", event(2)),
)
GOOD_LONG = (
    Run("workqueue", queue(2, polls=1)),
    Run("workqueue", queue(3, fails=1)),
    Run("workqueue", queue(5, fails=2), ("PIPELINE",)),
    Run("workqueue", queue(4, fails=1, spurious=1, timeouts=1), ("PIPELINE",)),
    Run("workqueue", queue(6, spurious=1), ("PIPELINE",)),
    Run("workqueue", queue(2, spurious=1), ("PIPELINE",), endless=True),
    Run("event", event(2, fails=1)),
    Run("event", event(2, requests=2)),
)
# Orders that are stronger in the code than they have to be, all at once.
WEAKER = Run(
    "event",
    event(2),
    (
        "WEAKER_RESET_WITHOUT_RELEASE",
        "WEAKER_SET_WITHOUT_ACQUIRE",
        "WEAKER_SLEEP_RELAXED",
    ),
)


def defects(
    model: str, sizes: dict[str, int], *names: str, mode: str = ""
) -> tuple[Run, ...]:
    modes = (mode,) if mode else ()
    return tuple(Run(model, sizes, (f"BUG_{name}", *modes)) for name in names)


BAD = (
    *defects(
        "workqueue",
        queue(3),
        "COLLECTED_BY_SLOT",
        "CONTROL_NOT_CHECKED_AFTER_RESET",
        "DESTROY_DOES_NOT_WAKE",
        "KERNEL_DOES_NOT_COMPARE",
        "LOOK_BEFORE_CONTROL",
        "NO_LOOK_AFTER_RESET",
        "ONE_BITMAP_FOR_BOTH",
        "PAYLOAD_INDEX",
        "PAYLOAD_INDEX_WAKES",
        "RESET_AFTER_CONTROL",
        "RESET_AFTER_LOOK",
        "SET_BY_LOAD_AND_STORE",
        "SLEEP_BY_LOAD_AND_STORE",
        "SUBMITTER_RESETS_AFTER_LOOK",
        "WAKE_BEFORE_DONE",
        "WAKE_BEFORE_FILL",
        mode="PIPELINE",
    ),
    *defects("workqueue", queue(3), "TWO_GETS_ONE_REQUEST"),
    *defects(
        "workqueue",
        queue(1, spurious=1),
        "WORD_NOT_COMPARED_AFTER_FUTEX",
        mode="CREATE",
    ),
    *defects(
        "workqueue",
        queue(3, fails=2),
        "ERROR_CLAIMED_AFTER_DONE",
        "ERROR_STORED",
        "STOP_WITHOUT_HANDING_BACK",
        mode="PIPELINE",
    ),
    *defects(
        "workqueue",
        queue(2, fails=1, timeouts=1),
        "ERROR_OBSERVED_BEFORE_HANDLED",
        mode="PIPELINE",
    ),
    *defects(
        "event",
        event(2),
        "CONTROL_OBSERVED_RELAXED",
        "CONTROL_PUBLISHED_RELAXED",
        "DONE_FLIPPED_RELAXED",
        "DONE_OBSERVED_RELAXED",
        "FILL_FLIPPED_RELAXED",
        "FILL_OBSERVED_RELAXED",
        "KERNEL_DOES_NOT_COMPARE",
        "LOOK_BEFORE_CONTROL",
        "RESET_AFTER_CONTROL",
        "RESET_AFTER_LOOK",
        "RESET_IS_A_STORE",
        "RESET_WITHOUT_ACQUIRE",
        "SET_IS_A_STORE",
        "SET_WITHOUT_RELEASE",
        "SUBMITTER_RESETS_AFTER_LOOK",
        "WAIT_WITHOUT_ACQUIRE",
    ),
    *defects("event", event(1, spurious=1), "WORD_NOT_COMPARED_AFTER_FUTEX"),
    *defects(
        "event",
        event(2, fails=1),
        "ERROR_CLAIMED_AFTER_DONE",
        "ERROR_CLAIMED_RELAXED",
        "ERROR_OBSERVED_RELAXED",
    ),
)


@pytest.fixture(scope="module")
def compiler() -> str:
    need("spin")
    found = c_compiler()
    if not found:
        pytest.skip("there is no C compiler")
    return found


def search(run: Run, compiler: str, directory: Path, optimise: str) -> Search:
    defines = [f"-D{name}={size}" for name, size in run.sizes.items()]
    defines += [f"-D{switch}" for switch in run.switches]
    options = ["-DNP" if run.endless else "-DSAFETY", f"-DMEMLIM={MEMORY_MIB}"]
    commands = (
        ["spin", *defines, "-a", str(HERE / f"{run.model}.pml")],
        [
            compiler,
            optimise,
            "-w",
            "-DCOLLAPSE",
            "-DVECTORSZ=4096",
            *options,
            "-o",
            "pan",
            "pan.c",
        ],
        ["./pan", f"-m{DEPTH}", *(["-l"] if run.endless else [])],
    )
    output = ""
    for command in commands:
        done = subprocess.run(
            command,
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        output = done.stdout
        assert done.returncode == 0, f"{command}\n{output}"
    outcome = Search(output)
    print(f"{run}: errors {outcome.errors}, states {outcome.states}")
    return outcome


def assert_holds(run: Run, compiler: str, directory: Path) -> None:
    outcome = search(run, compiler, directory, "-O2")
    assert outcome.errors == 0, outcome.output
    assert outcome.complete, outcome.output


@pytest.mark.parametrize("run", [*GOOD, WEAKER], ids=str)
def test_holds(run: Run, compiler: str, tmp_path: Path) -> None:
    assert_holds(run, compiler, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("run", GOOD_LONG, ids=str)
def test_holds_for_longer_lives(run: Run, compiler: str, tmp_path: Path) -> None:
    assert_holds(run, compiler, tmp_path)


@pytest.mark.parametrize("run", BAD, ids=str)
def test_defect_is_caught(run: Run, compiler: str, tmp_path: Path) -> None:
    # Found within seconds: compiling takes longer.
    assert search(run, compiler, tmp_path, "-O0").errors >= 1


@pytest.mark.parametrize(
    ("model", "part"), [("workqueue", "submitter"), ("event", "memory")]
)
def test_every_switch_is_tried(model: str, part: str) -> None:
    text = "".join((HERE / f"{name}.pml").read_text() for name in (model, part))
    switches = set(re.findall(r"\b(?:BUG|WEAKER)_[A-Z_]*[A-Z]\b", text))
    tried = {
        switch
        for run in (*BAD, WEAKER)
        if run.model == model
        for switch in run.switches
        if switch.startswith(("BUG_", "WEAKER_"))
    }
    assert tried == switches
