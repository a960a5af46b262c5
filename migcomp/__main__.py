# SPDX-License-Identifier: LGPL-2.1-or-later
"""``python -m migcomp``, and the entry point of the installed command."""

from __future__ import annotations

import gc
import os

TYPE_CHECKING = False  # without typing, whose import Ctrl-C could interrupt
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Runs the command line; ends the process with the exit code."""
    try:
        # The imports take longest of all that is done for --help.  They leave no
        # garbage, and live as long as the process: to look through them while they
        # come, and again at the end, would take 10 ms.
        gc.disable()
        from migcomp.cli.main import commands
        from migcomp.cli.signals import end_on_signals
        from migcomp.cli.standard import prepare_standard_streams

        gc.freeze()
        gc.enable()
        prepare_standard_streams()
        end_on_signals()
        commands.main(prog_name="migcomp")
    except KeyboardInterrupt:
        _end_interrupted()
    except RuntimeError as error:
        # What became of it while a class was being made.
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        _end_interrupted()
    raise SystemExit(0)


def _end_interrupted() -> NoReturn:
    from contextlib import suppress

    # Losing standard error must not change the exit code.
    with suppress(OSError):
        os.write(2, b"migcomp: interrupted\n")
    raise SystemExit(130) from None


if __name__ == "__main__":
    main()
