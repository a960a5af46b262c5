# SPDX-License-Identifier: LGPL-2.1-or-later
"""Atheris, a fuzzer that sees which lines a file reaches, on any format::

    python -m tests.fuzz.atheris_target FORMAT [libFuzzer's options and folders]

Without a folder it starts from the format's good files and keeps nothing but
what makes a reader fail, which libFuzzer writes to ``crash-...``.  It needs
``pip install 'migcomp[fuzz]'``.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

with atheris.instrument_imports(include=["migcomp"]):
    from tests.fuzz.formats import FORMATS
    from tests.fuzz.images import Tally, read_spoilt


def main(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] not in FORMATS:
        sys.exit(f"give one of {', '.join(FORMATS)}")
    name, *options = arguments
    format, tally = FORMATS[name](), Tally()
    with tempfile.TemporaryDirectory() as work:
        laid, corpus = Path(work) / "laid", Path(work) / "corpus"
        laid.mkdir()
        corpus.mkdir()
        for number, seed in enumerate(format.seeds):
            (corpus / str(number)).write_bytes(seed)
        if all(option.startswith("-") for option in options):
            options.append(str(corpus))

        def one(data: bytes) -> None:
            read_spoilt(format, data, laid, tally)

        atheris.Setup([name, *options], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
