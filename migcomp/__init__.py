# SPDX-License-Identifier: LGPL-2.1-or-later
"""migcomp: what compressing a virtual machine's memory costs and brings.

The library's rooms are its modules; the usual way in::

    from migcomp.choice import Choice
    from migcomp.images.open import open_image
    from migcomp.pipeline import compress

    with open_image("guest.raw") as image, open("guest.migc", "wb") as sink:
        result = compress(image, sink, Choice(codec="zstd", grouping="packet"))
    print(result.compression_rate, result.cpu_seconds_per_gib)
"""

from __future__ import annotations

from importlib.machinery import PathFinder

# typing takes longer to import than this: Ctrl-C would find us there.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from migcomp.workqueue import ThreadedWorkqueue

__all__ = ["ThreadedWorkqueue", "__version__"]
__version__ = "0.1.0"


def _check_core() -> None:
    """Raises ImportError where the core's sources are all there is of it."""
    core = PathFinder.find_spec(f"{__name__}._core", __path__)
    if core is None or core.origin is None:
        raise ImportError(
            "this is migcomp's source folder without its compiled core: run migcomp "
            "outside of it, or install it with pip install -e .",
            name=__name__,
            path=__path__[0],
        )


_check_core()


def __getattr__(name: str) -> object:
    # The core is loaded by who needs it, and not by migcomp --help.
    if name == "ThreadedWorkqueue":
        from migcomp.workqueue import ThreadedWorkqueue

        return ThreadedWorkqueue
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
