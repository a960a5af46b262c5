# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp simulate --fleet``: as it is used, and as it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import command, program, sentence
from tests.cli.test_terminal import on_terminal
from tests.conftest import PAGE, REPOSITORY, make_page

SHIPPED = REPOSITORY / "sample_images/fleet.toml"
COSTS = REPOSITORY / "tests/golden/fleet/costs.json"
STORED = ("--costs", COSTS)
TOML = """
[[host]]
name = "old"
cpus = 8
link = "1Gbit"
evacuate = true
[[host]]
name = "new"
cpus = 8
link = "1Gbit"
[[guest]]
name = "vm"
count = 3
host = "old"
image = "guest.raw"
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """With an image beside it."""
    pages = [make_page("text", n) for n in range(100)] + [bytes(PAGE)] * 200
    (tmp_path / "guest.raw").write_bytes(b"".join(pages))
    path = tmp_path / "fleet.toml"
    path.write_text(TOML)
    return path


def test_the_answer_comes_first() -> None:
    done = command("simulate", "--fleet", SHIPPED, *STORED)
    assert done.code == 0, done.errors
    text = " ".join(done.text.split())
    assert text.startswith("Compression helps: it takes ")
    assert "to empty host node1 of its 19 guests" in text
    assert "Policy k-at-a-time, 2 from a host" in text
    for row in ("evacuation", "worst downtime", "not converged", "taken from guests",
                "web", "app", "database", "node1 out", "rack1 out"):  # fmt: skip
        assert row in done.text
    assert "tenant" not in done.text


@pytest.mark.parametrize("columns", ["40", "80", "120"])
def test_lines_fit(columns: str) -> None:
    done = program("simulate", "--fleet", SHIPPED, *STORED, COLUMNS=columns)
    assert done.code == 0, done.errors
    assert max(map(len, done.text.splitlines())) <= max(int(columns), 80)
    assert "…" not in done.text
    assert done.errors == ""


def test_json_is_the_same_every_time() -> None:
    options = ("simulate", "--fleet", SHIPPED, *STORED, "--json")
    first, again = command(*options), command(*options)
    assert first.stdout == again.stdout
    found = first.json
    assert found["schema"] == "migcomp.fleet/1"
    assert [each["way"] for each in found["evacuations"]] == [
        "none",
        "multifd zstd-1 x2",
    ]
    assert len(found["evacuations"][0]["guests"]) == found["guests"] == 19


def test_images_lie_beside_the_file(fleet: Path) -> None:
    found = command("simulate", "--fleet", fleet, "--json").json
    plain = found["evacuations"][0]
    assert plain["wire-bytes"] == pytest.approx(3 * (100 * 4104 + 200 * 9))
    assert {guest["destination"] for guest in plain["guests"]} == {"new"}


def test_saved_costs_need_no_image(fleet: Path, tmp_path: Path) -> None:
    costs = tmp_path / "costs.json"
    first = command("simulate", "--fleet", fleet, "--save-costs", costs, "--json")
    assert first.code == 0, first.errors
    (tmp_path / "guest.raw").unlink()
    again = command("simulate", "--fleet", fleet, "--costs", costs, "--json").json
    assert again["evacuations"] == first.json["evacuations"]
    policy = "Policy k-at-a-time, 2 from a host; bytes and CPU time of pages"
    assert f"{policy} measured just now." in first.json["notes"]
    assert f"{policy} from {costs}." in again["notes"]
    done = command("simulate", "--fleet", fleet)
    assert done.code == 3
    assert "guest.raw" in sentence(done)


def test_costs_on_standard_output_leave_the_report_the_other(fleet: Path) -> None:
    for form in ((), ("--json",)):
        done = program("simulate", "--fleet", fleet, "--save-costs", "-", *form)
        assert done.code == 0, done.errors
        assert done.json["schema"] == "migcomp.fleet-costs/1"
        assert "to empty host" in done.errors.replace("\n", " ")


def test_costs_are_not_overwritten(fleet: Path, tmp_path: Path) -> None:
    costs = tmp_path / "costs.json"
    costs.write_text("mine")
    done = command("simulate", "--fleet", fleet, "--save-costs", costs)
    assert done.code == 7
    assert costs.read_text() == "mine"
    forced = command("simulate", "--fleet", fleet, "--save-costs", costs, "--force")
    assert forced.code == 0
    for source in (fleet, tmp_path / "guest.raw"):
        before = source.read_bytes()
        done = command("simulate", "--fleet", fleet, "--save-costs", source, "--force")
        assert done.code == 7
        assert source.read_bytes() == before


def test_the_command_line_s_policy_goes_before_the_file_s() -> None:
    def policy(*options: str) -> tuple[str, int | None]:
        found = command("simulate", "--fleet", SHIPPED, *STORED, "--json", *options)
        return found.json["policy"], found.json["parallel"]

    assert policy() == ("k-at-a-time", 2)
    assert policy("--parallel", "5") == ("k-at-a-time", 5)
    assert policy("--policy", "all-at-once") == ("all-at-once", None)
    assert policy("--policy", "smallest-first") == ("smallest-first", 2)


def test_without_compression_only(fleet: Path) -> None:
    fleet.write_text('[migration]\nengine = "none"\n' + TOML)
    done = command("simulate", "--fleet", fleet)
    assert "To empty host old of its 3 guests takes" in " ".join(done.text.split())
    assert "multifd" not in done.text


def test_guests_that_do_not_converge_are_told_of(fleet: Path) -> None:
    busy = 'profile = "idle"\nsize = "64MiB"\ndirty-rate = "20MiB"\n'
    text = TOML.replace('image = "guest.raw"', busy)
    fleet.write_text(text.replace("1Gbit", "10Mbit"))
    done = command("simulate", "--fleet", fleet, *STORED)
    assert done.code == 0
    text = " ".join(done.text.split())
    assert "3 guests do not converge (vm-1, vm-2, vm-3)" in text
    assert "stopped by force" in text
    found = command("simulate", "--fleet", fleet, *STORED, "--json").json
    assert next(each["not-converged"] for each in found["evacuations"]) == 3


def test_quietly() -> None:
    done = command("simulate", "--fleet", SHIPPED, *STORED, "-q")
    assert (done.code, done.text, done.errors) == (0, "", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--link", "1Gbit"), "--link has no meaning with --fleet"),
        (("--engine", "none"), "--engine has no meaning with --fleet"),
        (("--dirty-rate", "1MiB"), "--dirty-rate has no meaning with --fleet"),
        (("--auto-converge",), "--auto-converge has no meaning with --fleet"),
        (("--format", "qmp"), "--format qmp is of one migration"),
        (("guest.raw",), "either IMAGE or --fleet"),
        (("--policy", "fast"), "'fast' is not one of all-at-once"),
        (("--parallel", "0"), "--parallel"),
        (("--policy", "all-at-once", "--parallel", "2"), "--parallel means nothing"),
        (("--save-costs", "x", "--costs", "y"), "--save-costs keeps what is measured"),
    ],
)
def test_wrong_use(options: tuple[str, ...], said: str) -> None:
    done = command("simulate", "--fleet", SHIPPED, *options)
    assert done.code == 2
    assert said in sentence(done)


def test_options_of_a_fleet_need_one(fleet: Path) -> None:
    image = fleet.with_name("guest.raw")
    for options in (("--policy", "all-at-once"), ("--parallel", "2")):
        done = command("simulate", image, "--link", "1Gbit", *options)
        assert done.code == 2
        assert f"{options[0]} is of a fleet" in sentence(done)
    assert "Missing argument 'IMAGE...'" in sentence(command("simulate"))
    assert "Missing option '--link'" in sentence(command("simulate", image))
    assert "file's name" in sentence(command("simulate", "--fleet", "-"))


def test_mistakes_in_files(fleet: Path, tmp_path: Path) -> None:
    fleet.write_text(TOML + "size = 3\n")
    done = command("simulate", "--fleet", fleet)
    assert done.code == 2
    assert "[[guest]] 1 ('vm'): size is that of the image" in sentence(done)
    done = command("simulate", "--fleet", tmp_path / "none.toml")
    assert done.code == 2
    assert "No such file" in sentence(done)
    done = command("simulate", "--fleet", SHIPPED, "--costs", SHIPPED)
    assert done.code == 3
    assert "is not JSON" in sentence(done)


def test_names_do_not_reach_the_terminal_raw(fleet: Path) -> None:
    """The answer names hosts, and what goes wrong names guests."""
    text = TOML.replace('"old"', '"\\u001b[31mold"').replace('"vm"', '"\\u001b[31mvm"')
    fleet.write_text(text + 'dirty-rate = "1MiB"\n')
    done = command("simulate", "--fleet", fleet)
    assert done.code == 0, done.errors
    assert "to empty host \\x1b[31mold of its 3 guests" in " ".join(done.text.split())
    assert "\x1b" not in done.text


def test_a_path_is_no_markup_on_a_terminal(fleet: Path) -> None:
    fleet.write_text(TOML.replace("guest.raw", "x[/]\\u001b[31m.raw"))
    shown = on_terminal("simulate", "--fleet", fleet)
    assert "x[/]\\x1b[31m.raw: reading" in shown
    assert "cannot be opened: No such file or directory" in shown
