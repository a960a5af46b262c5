# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a command ends with when it fails: one sentence and an exit code.

===== =====================================================================
code  meaning
===== =====================================================================
0     done; for ``verify``: sound and, where an image was given, equal
1     an error in migcomp itself
2     the command line is wrong, or a TOML file that it names
3     an image cannot be read, or is not what it should be
4     a stream cannot be read, is damaged or is cut off
5     a codec is not available
6     a worker failed on a page
7     an output exists, or cannot be written
8     the stream is sound, but of another image
9     a benchmark found that a work queue does not do what it should
10    a file of results cannot be read, or is of another sweep
11    a setting became worse than a baseline allows
12    workers in other processes or on other machines cannot be had, or died
13    after a simulated migration, the two sides were not equal
129   SIGHUP
130   Ctrl-C
141   who reads our output has gone
143   SIGTERM
===== =====================================================================
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import click

from migcomp.cli.files import REMEDIES, STANDARD, writing
from migcomp.cli.signals import Terminated
from migcomp.cli.standard import flush_or_abandon_output
from migcomp.errors import MigcompError, OutputError
from migcomp.report.printable import printable

# A group without a command is answered by its help.  Since click 8.2 only.
_HELP: type[Exception] | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())
_UNEXPECTED = 1
_INTERRUPTED = 130
_BROKEN_PIPE = 141
_SIGNALLED = 128
DEBUG = "MIGCOMP_DEBUG"

# Nobody but a shell calls it that.
_STANDARD_INPUT = re.compile(r"(?<!\S)-(?=[\s:,])")


@contextmanager
def failures() -> Iterator[None]:
    """Turns what a command raises into a sentence on stderr and SystemExit."""
    try:
        yield
        with writing(STANDARD):
            sys.stdout.flush()
    except click.UsageError as error:
        if isinstance(error, _HELP):
            raise
        _end(*_usage(error))
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except BrokenPipeError:
        flush_or_abandon_output()
        raise SystemExit(_BROKEN_PIPE) from None
    except KeyboardInterrupt:
        _end("interrupted", _INTERRUPTED)
    except Terminated as error:
        _end("terminated", _SIGNALLED + error.number)
    except MigcompError as error:
        _end(_STANDARD_INPUT.sub("standard input", str(error)), error.exit_code)
    except OSError as error:
        _end(_describe(error), OutputError.exit_code)
    except Exception as error:
        # As RuntimeError it comes from a class that was being made.
        if isinstance(error.__cause__, KeyboardInterrupt):
            _end("interrupted", _INTERRUPTED)
        reason = f"{type(error).__name__}: {error}" if str(error) else repr(error)
        _end(
            f"unexpected {reason}; this is a bug in migcomp, and {DEBUG}=1 in the "
            "environment shows where",
            _UNEXPECTED,
        )


def _usage(error: click.UsageError) -> tuple[str, int, str]:
    """Sentence, code and command of what click, or we, found wrong."""
    command = error.ctx.command_path if error.ctx else "migcomp"
    sentence = " ".join(error.format_message().split()).rstrip(".")
    return f"{sentence} (see {command} --help)", error.exit_code, command


def _describe(error: OSError) -> str:
    """For those that no part below turned into an error of ours."""
    reason = error.strerror or str(error)
    if error.filename:
        return f"{error.filename}: {reason}"
    if error.errno in REMEDIES:  # files are named: it was help, or the like
        return f"standard output cannot be written: {reason}; {REMEDIES[error.errno]}"
    return reason


def _end(sentence: str, code: int, command: str = "migcomp") -> NoReturn:
    if os.environ.get(DEBUG):
        raise
    # Losing standard error must not change the exit code.
    with suppress(OSError):
        click.echo(f"{command}: {printable(sentence)}", err=True)
    flush_or_abandon_output()
    raise SystemExit(code) from None
