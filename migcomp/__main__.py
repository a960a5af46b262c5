# SPDX-License-Identifier: LGPL-2.1-or-later
"""``python -m migcomp``, and the entry point of the installed command."""

from __future__ import annotations

from typing import NoReturn

from migcomp.cli.main import commands
from migcomp.cli.signals import end_on_signals
from migcomp.cli.standard import prepare_standard_streams


def main() -> NoReturn:
    """Runs the command line; ends the process with the exit code."""
    prepare_standard_streams()
    end_on_signals()
    commands.main(prog_name="migcomp")
    raise SystemExit(0)


if __name__ == "__main__":
    main()
