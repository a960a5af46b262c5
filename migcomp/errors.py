# SPDX-License-Identifier: LGPL-2.1-or-later
"""The one family of errors that migcomp raises, and their exit codes.

Every message is one sentence that names what went wrong and, where there is
one, the remedy; the command line prints it and nothing else.
"""

from __future__ import annotations


class MigcompError(Exception):
    """Base of all; ``exit_code`` is what the command line ends with."""

    exit_code = 1


class ImageError(MigcompError):
    """An image cannot be read, or is not what it should be."""

    exit_code = 3


class LayoutError(ImageError):
    """RAM blocks, as given, cannot be those of the image."""

    exit_code = 2


class SetupError(MigcompError):
    """A TOML file that tells what to do cannot be read, or done."""

    exit_code = 2


class StreamError(MigcompError):
    """A stream is not one of ours, is damaged, or is cut off."""

    exit_code = 4


class CodecUnavailable(MigcompError):
    """A codec has no usable library."""

    exit_code = 5


class LevelUnknown(CodecUnavailable):
    """A codec's library does not know the level."""

    exit_code = 2


class WorkerError(MigcompError):
    """A handler failed on a page."""

    exit_code = 6


class OutputError(MigcompError):
    """An output exists already, or cannot be written."""

    exit_code = 7


class Mismatch(MigcompError):
    """A stream is sound, but not a stream of the image it was compared with."""

    exit_code = 8


class QueueFault(MigcompError):
    """A design of a work queue lost, repeated or spoilt a request."""

    exit_code = 9


class ResultsError(MigcompError):
    """A file of results cannot be read, is none, or is of another sweep."""

    exit_code = 10


class Regression(MigcompError):
    """Settings became slower, or compress less, than a baseline allows."""

    exit_code = 11


class ExecutorError(MigcompError):
    """Workers in other processes or on other machines cannot be had, or die."""

    exit_code = 12


class SimulationFault(MigcompError):
    """After a simulated migration the two sides were not equal."""

    exit_code = 13


class WorkqueueError(MigcompError):
    """A workqueue was used in a way that its contract excludes."""


class ThreadsUnavailable(WorkqueueError):
    """The system has no room for a workqueue's threads or requests."""

    exit_code = 2


class PageError(MigcompError):
    """Raised by the core when a handler fails.

    ``page`` is the page's number in the image, ``of_input`` whether the input
    (image or stream) is to blame rather than the codec.
    """

    exit_code = 6

    def __init__(self, page: int, reason: str, of_input: bool) -> None:
        super().__init__(f"page {page}: {reason}")
        self.page = page
        self.reason = reason
        self.of_input = of_input
