# SPDX-License-Identifier: LGPL-2.1-or-later
"""The program as a whole: help, version, completion, and what it imports."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from migcomp import errors
from migcomp.cli import failures
from migcomp.images.signatures import SIGNATURES
from tests.cli.conftest import COMMAND, command, environment, program

COMMANDS = (
    *("run", "restore", "verify", "inspect", "explain", "report", "convert"),
    *("capture", "simulate", "plan", "codecs", "sample", "bench", "completion"),
)


def test_help_lists_every_command() -> None:
    done = command("--help")
    assert done.code == 0
    listed = re.findall(r"^  ([a-z]+)  ", done.text.partition("Commands:")[2], re.M)
    assert listed == list(COMMANDS)


def test_help_and_readme_tell_the_same_exit_codes() -> None:
    def told(text: str) -> str:
        return " ".join(re.findall(r"Exit codes:[^.]*\.", text)[0].split())

    readme = Path(__file__).parents[2] / "README.md"
    shown = told(command("--help").text)
    assert shown == told(readme.read_text())
    table = re.findall(r"^(\d+) ", failures.__doc__ or "", re.M)
    assert set(re.findall(r"\d+", shown)) == set(table)
    codes = {getattr(kind, "exit_code", 0) for kind in vars(errors).values()}
    assert codes <= set(map(int, table))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    for option in ("--help", "-h"):
        done = command(name, option)
        assert done.code == 0
        assert done.text.startswith(f"Usage: migcomp {name} ")
        assert max(map(len, done.text.splitlines())) <= 80


def test_a_group_lists_its_commands() -> None:
    listed = command("bench", "--help").text.partition("Commands:")[2]
    assert re.findall(r"^  ([a-z]+)  ", listed, re.M) == [
        "sweep",
        "show",
        "compare",
        "check",
        "export",
        "queue",
    ]
    done = command("bench", "nothing")
    assert done.code == 2
    assert "No such command 'nothing'" in done.errors


def test_without_arguments_comes_the_help() -> None:
    done = command()
    assert done.code in (0, 2)  # as click's version has it
    assert "Usage: migcomp" in done.text + done.errors


def test_an_unknown_command() -> None:
    done = command("compress")
    assert done.code == 2
    assert "No such command 'compress'" in done.errors


def test_version_names_the_libraries() -> None:
    done = command("--version")
    assert done.code == 0
    assert re.fullmatch(
        r"migcomp \d+\.\d+\.\d+ \(zstd by libzstd [\d.]+, lz4 by liblz4 [\d.]+, "
        r"zlib by lib\w+[ \d.]*\)\n",
        done.text,
    )


def imported(*arguments: str) -> set[str]:
    """Modules that are there when the command line has done its work."""
    script = (
        "import sys\n"
        "sys.argv = ['migcomp', *sys.argv[1:]]\n"
        "from migcomp.__main__ import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        check=True,
        text=True,
        env=environment(),
    )
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["bench", "--help"],
        ["run", "--help"],
        ["convert", "--help"],
        ["completion", "bash"],
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    modules = imported(*arguments)
    assert "migcomp.cli.main" in modules
    assert not modules & {"rich", "zstandard", "asyncio", "json"}
    if arguments != ["run", "--help"]:  # which lists the codecs
        assert not modules & {"migcomp._core", "migcomp.results"}


@pytest.mark.parametrize("arguments", [["run", "-q"], ["inspect", "--json"]])
def test_raw_memory_needs_no_reader(image: Path, arguments: list[str]) -> None:
    modules = imported(*arguments, str(image))
    assert "migcomp.images.raw" in modules
    assert not modules & {f"migcomp.images.{known.reader}" for known in SIGNATURES}


def test_what_is_not_kept_needs_no_output(image: Path) -> None:
    modules = imported("run", "-q", str(image))
    assert not modules & {"migcomp.outputs", "migcomp.stream.reader", "tempfile"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["inspect"],
        ["inspect", "--page", "0"],
        ["explain"],
        ["simulate", "--link", "1Gbit"],
    ],
)
def test_json_needs_no_rich(image: Path, arguments: list[str]) -> None:
    assert "rich" not in imported(*arguments, str(image), "--json")


def test_json_of_a_stream_needs_no_rich(image: Path, tmp_path: Path) -> None:
    stream = str(tmp_path / "stream.migc")
    imported("run", "-q", str(image), "-o", stream)
    for arguments in (["inspect"], ["inspect", "--page", "0"], ["verify"]):
        assert "rich" not in imported(*arguments, stream, "--json")


def test_the_installed_command_is_the_module(tmp_path: Path) -> None:
    installed = Path(sys.executable).with_name("migcomp")
    if not installed.exists():
        pytest.skip("migcomp is not installed beside this Python")
    text = subprocess.run(
        [installed, "codecs"], capture_output=True, check=True, cwd=tmp_path
    ).stdout
    assert text == program("codecs").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    script = command("completion", shell).text
    assert "_MIGCOMP_COMPLETE" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n", "-c", script], check=True)


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("migcomp re", "restore"),
        ("migcomp run -c zs", "zstd"),
        ("migcomp run -g pac", "packet"),
        ("migcomp run --multi", "--multifd-channels"),
        ("migcomp sample --profile wr", "writer"),
        ("migcomp bench q", "queue"),
        ("migcomp bench queue --design workqueue,one", "workqueue,one-lock"),
    ],
)
def test_completion_completes(words: str, completed: str) -> None:
    done = subprocess.run(
        COMMAND,
        env=environment(
            _MIGCOMP_COMPLETE="bash_complete",
            COMP_WORDS=words,
            COMP_CWORD=str(len(words.split()) - 1),
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"plain,{completed}" in done.stdout.split()
