# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp bench show``, ``compare``, ``check`` and ``export``."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from migcomp.bench.results_file import ResultsFile, read_results
from migcomp.bench.sweep_results import Sweep
from migcomp.choice import Choice
from migcomp.images.open import open_image
from migcomp.pipeline import compress
from tests.cli.conftest import (
    COMMAND,
    command,
    environment,
    image_bytes,
    program,
    sentence,
)
from tests.conftest import REPOSITORY
from tests.sweeps import MACHINE, STEADY, make_sweep, setting


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a small sweep."""
    folder = tmp_path_factory.mktemp("sweep")
    image, results = folder / "guest.raw", folder / "results"
    image.write_bytes(image_bytes())
    lists = ("--set", "quick", "-c", "lz4,zstd", "-g", "page", "-t", "1")
    assert command("bench", "sweep", image, "-o", results, *lists).code == 0
    return results


@pytest.mark.parametrize("name", ["text", "json", "csv", "markdown", "prometheus"])
def test_every_format(done: Path, name: str) -> None:
    shown = command("bench", "show", done, "--format", name)
    assert shown.code == 0, shown.errors
    assert "lz4" in shown.text
    compared = command("bench", "compare", done, done, "--format", name)
    assert compared.code == 0, compared.errors
    assert "lz4" in compared.text


def test_standard_input(done: Path) -> None:
    shown = program("bench", "show", "-", "--format", "csv", stdin=done.read_bytes())
    assert shown.text == command("bench", "show", done, "--format", "csv").text
    shown = program("bench", "show", "-", stdin=b"")
    assert shown.code == 10
    assert "is no file of results" in sentence(shown)


def test_standard_input_that_is_a_socket(done: Path) -> None:
    """As some programs give it to those that they start; it cannot be opened."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        shown = subprocess.Popen(
            [*COMMAND, "bench", "show", "-", "--format", "csv"],
            stdin=theirs.fileno(),
            stdout=subprocess.PIPE,
            env=environment(),
        )
        theirs.close()
        ours.sendall(done.read_bytes())
        ours.close()
        output, _ = shown.communicate(timeout=60)
    assert output == command("bench", "show", done, "--format", "csv").stdout


def keep(path: Path, sweep: Sweep) -> Path:
    with ResultsFile(str(path), sweep.plan) as file:
        for sample in sweep.samples:
            file.add(MACHINE, sample)
    return path


FULL = Path("/dev/full")


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    names = (setting(), setting(level=2))
    return keep(tmp_path / "baseline", make_sweep(dict.fromkeys(names, (99, STEADY))))


@pytest.mark.parametrize(
    ("speed", "stream", "most", "worse"),
    [
        (1.0, 99, "5%", ""),
        (0.8, 99, "5%", ""),
        (1.04, 99, "5%", ""),
        (1.2, 99, "17%", ""),
        (1.2, 99, "5%", "zstd-1 packet x2 is 16.7 % slower"),
        (1.2, 99, "16.5", "zstd-1 packet x2 is 16.7 % slower"),
        (1.0, 110, "5%", "zstd-1 packet x2 is 10.0 % lower in rate"),
        (
            1.2,
            110,
            "5%",
            "zstd-1 packet x2 is 16.7 % slower and 10.0 % lower in rate",
        ),
    ],
)
def test_a_check(
    baseline: Path, tmp_path: Path, speed: float, stream: int, most: str, worse: str
) -> None:
    now = make_sweep(
        {
            setting(): (stream, [x * speed for x in STEADY]),
            setting(level=2): (99, STEADY),
        }
    )
    results = keep(tmp_path / "results", now)
    arguments = ("bench", "check", results, "--baseline", baseline)
    done = command(*arguments, "--max-regression", most, "-q")
    assert done.stdout == b""
    if worse:
        assert done.code == 11
        assert done.errors.splitlines() == [
            f"migcomp: {worse}",
            f"migcomp: {results} does not pass against {baseline}: 1 of 2 settings "
            "failed",
        ]
    else:
        assert (done.code, done.errors) == (0, "")
    told = command(*arguments, "--max-regression", most, "--json").json
    assert told["worse"] == ([worse] if worse else [])
    assert "worse" not in command("bench", "compare", baseline, results, "--json").json
    assert "geometric mean" in command(*arguments).text


def test_what_noise_hides_is_told(baseline: Path, tmp_path: Path) -> None:
    slower = [*(x * 1.2 for x in STEADY[1:]), 0.97]
    now = make_sweep({setting(): (99, slower), setting(level=2): (99, STEADY)})
    results = keep(tmp_path / "results", now)
    arguments = ("bench", "check", results, "--baseline", baseline)
    seems = "zstd-1 packet x2 seems to be 15.8 % slower"
    done = command(*arguments)
    assert done.code == 0
    assert done.errors == (
        f"migcomp: {seems}\n"
        "migcomp: of 1 setting the rounds differ too much to be sure; take more of "
        "them, on a quiet machine\n"
    )
    told = command(*arguments, "--json").json
    assert (told["worse"], told["unclear"]) == ([], [seems])
    assert command(*arguments, "--max-regression", "16%").errors == ""
    assert command(*arguments, "-q").errors == ""


def test_a_setting_that_is_gone_fails_the_check(baseline: Path, tmp_path: Path) -> None:
    results = keep(tmp_path / "results", make_sweep({setting(): (99, STEADY)}))
    done = command("bench", "check", results, "--baseline", baseline, "-q")
    assert done.code == 11
    assert done.errors.startswith("migcomp: zstd-2 packet x2 is missing\n")


def test_too_few_rounds_fail_the_check(baseline: Path, tmp_path: Path) -> None:
    names = (setting(), setting(level=2))
    whole = make_sweep(dict.fromkeys(names, (99, STEADY)))
    part = keep(tmp_path / "part", replace(whole, samples=whole.samples[:-1]))
    done = command("bench", "check", part, "--baseline", baseline, "-q")
    assert done.code == 11
    told = "zstd-2 packet x2 took too few rounds to tell"
    assert done.errors.startswith(f"migcomp: {told}\n")
    assert command("bench", "check", part, "--baseline", baseline, "--json").json[
        "worse"
    ] == [told]


def test_each_setting_that_fails_has_its_line(baseline: Path, tmp_path: Path) -> None:
    """One that fails for two reasons has one."""
    slow = make_sweep(
        {
            setting(): (110, STEADY),
            setting(level=2): (110, [x * 1.2 for x in STEADY]),
        }
    )
    now = replace(slow, samples=slow.samples[:-2])
    results = keep(tmp_path / "results", now)
    arguments = ("bench", "check", results, "--baseline", baseline)
    done = program(*arguments, "-q")
    assert done.code == 11
    worse = [
        "zstd-1 packet x2 is 10.0 % lower in rate and took too few rounds to tell",
        "zstd-2 packet x2 is 10.0 % lower in rate and took too few rounds to tell",
    ]
    closing = f"{results} does not pass against {baseline}: 2 of 2 settings failed"
    lines = [*worse, closing]
    assert done.errors == "".join(f"migcomp: {line}\n" for line in lines)
    assert command(*arguments, "--json").json["worse"] == worse


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
def test_a_check_fails_also_where_nobody_can_be_told(
    baseline: Path, tmp_path: Path
) -> None:
    results = keep(tmp_path / "results", make_sweep({setting(): (99, STEADY)}))
    arguments = ["bench", "check", str(results), "--baseline", str(baseline), "-q"]
    with FULL.open("wb") as full:
        done = subprocess.run(
            [*COMMAND, *arguments], stderr=full, env=environment(), check=False
        )
    assert done.returncode == 11


def test_of_several_images_a_check_names_the_one_that_is_worse(tmp_path: Path) -> None:
    sweeps = []
    for slower in (1.0, 1.2):
        one = make_sweep({setting(): (99, [x * slower for x in STEADY])})
        other = replace(one.plan.images[0], path="guests/other.raw")
        samples = [
            replace(s, image=1, result=replace(s.result, image_digest=7))
            for s in make_sweep({setting(): (99, STEADY)}).samples
        ]
        plan = replace(one.plan, images=(*one.plan.images, other))
        sweeps.append(replace(one, plan=plan, samples=(*one.samples, *samples)))
    before, after = (keep(tmp_path / str(i), s) for i, s in enumerate(sweeps))
    done = command("bench", "check", after, "--baseline", before, "-q")
    assert done.code == 11
    told = "zstd-1 packet x2 of guests/one.raw is 16.7 % slower"
    assert done.errors.startswith(f"migcomp: {told}\n")


@pytest.mark.parametrize("most", ["x", "-1", "5%%", "1e3", "1000000"])
def test_percentages_that_are_none(baseline: Path, most: str) -> None:
    base = ("bench", "check", baseline, "--baseline", baseline)
    done = command(*base, f"--max-regression={most}")
    assert done.code == 2
    assert "is not a percentage such as 5% or 2.5%" in sentence(done)


def test_nothing_in_common(baseline: Path, tmp_path: Path) -> None:
    other = keep(tmp_path / "other", make_sweep({setting("lz4"): (99, STEADY)}))
    done = command("bench", "compare", baseline, other)
    assert done.code == 10
    assert "have no setting of the same image in common" in sentence(done)


def test_a_sweep_that_has_just_begun_has_nothing_to_compare(
    baseline: Path, tmp_path: Path
) -> None:
    sweep = read_results(str(baseline))
    warm = replace(sweep, samples=sweep.samples[:1])
    begun = keep(tmp_path / "begun", warm)
    done = command("bench", "check", begun, "--baseline", baseline)
    assert done.code == 10
    assert sentence(done) == f"{begun} has no counted sample yet; let its sweep go on"


@pytest.mark.parametrize("name", ["show", "compare", "check", "export"])
def test_what_is_no_file_of_results(name: str, image: Path, baseline: Path) -> None:
    more: dict[str, tuple[str | Path, ...]] = {
        "compare": (baseline,),
        "check": ("--baseline", baseline),
        "export": ("--to", "csv", "-o", "-"),
    }
    done = command("bench", name, image, *more.get(name, ()))
    assert done.code == 10
    assert "is no file of results that migcomp bench sweep wrote" in sentence(done)


def test_export(done: Path, tmp_path: Path) -> None:
    output = tmp_path / "table"
    base = ("bench", "export", done, "-o", output)
    assert command(*base, "--to", "csv").code == 0
    assert output.read_text().count("\n") == 13
    again = command(*base, "--to", "jsonl")
    assert again.code == 7
    assert "exists already" in sentence(again)
    assert command(*base, "--to", "jsonl", "--force").code == 0
    assert len(list(map(json.loads, output.read_text().splitlines()))) == 12
    assert command(*base, "--to", "parquet", "--force").code == 0
    assert output.read_bytes().startswith(b"PAR1")
    piped = program("bench", "export", done, "-o", "-", "--to", "csv")
    assert piped.text.count("\n") == 13


def test_an_export_does_not_replace_what_it_is_made_from(done: Path) -> None:
    before = done.read_bytes()
    told = command("bench", "export", done, "-o", done, "--to", "csv", "--force")
    assert told.code == 7
    assert sentence(told).startswith(f"{done} is what is being read")
    assert done.read_bytes() == before


def test_a_number_that_parquet_has_no_room_for(tmp_path: Path) -> None:
    whole = make_sweep({setting(): (99, STEADY)})
    samples = tuple(replace(s, pid=1 << 63) for s in whole.samples)
    results = keep(tmp_path / "results", replace(whole, samples=samples))
    output = tmp_path / "table"
    told = command("bench", "export", results, "-o", output, "--to", "parquet")
    assert told.code == 10
    assert "has numbers of more than 63 bits" in sentence(told)
    assert not output.exists()


def test_without_the_package_for_parquet(done: Path, tmp_path: Path) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError")
    output = tmp_path / "table"
    arguments = ("bench", "export", done, "-o", output, "--to", "parquet")
    told = program(*arguments, PYTHONPATH=str(tmp_path))
    assert told.code == 7
    assert sentence(told) == "Parquet needs a package: pip install 'migcomp[parquet]'"
    assert not output.exists()


def test_an_unfinished_sweep_can_be_shown(tmp_path: Path) -> None:
    whole = make_sweep({setting(): (99, STEADY)})
    part = keep(tmp_path / "part", replace(whole, samples=whole.samples[:3]))
    shown = command("bench", "show", part)
    assert shown.code == 0
    assert "The sweep has 3 of 6 samples" in " ".join(shown.text.split())


# --- The README's table --------------------------------------------------------------

KEPT = REPOSITORY / "benchmarks" / "results" / "heap-384m.jsonl"


def test_the_readme_has_what_the_kept_results_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = re.search(
        r"`migcomp (bench show benchmarks/results/\S+ --format markdown)`[^|]*"
        r"((?:^\|.*\n)+)",
        (REPOSITORY / "README.md").read_text(),
        re.MULTILINE,
    )
    assert told
    monkeypatch.chdir(REPOSITORY)
    assert command(*told[1].split()).text == told[2]


def test_the_kept_results_are_a_whole_sweep() -> None:
    sweep = read_results(str(KEPT))
    assert len(sweep.samples) == sweep.wanted
    assert {codec.path[:1] for m in sweep.machines for codec in m.codecs} <= {"", "l"}


@pytest.mark.long
def test_the_image_of_the_kept_results_can_be_made(tmp_path: Path) -> None:
    image = tmp_path / "heap-384m.raw"
    made = ("--profile", "heap", "--size", "384MiB", "--seed", "1", "-o", image, "-q")
    assert command("sample", *made).code == 0
    with open_image(str(image)) as source:
        result = compress(source, None, Choice(codec="none"))
    found = read_results(str(KEPT)).samples
    assert {s.result.image_digest for s in found} == {result.image_digest}
