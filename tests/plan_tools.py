# SPDX-License-Identifier: LGPL-2.1-or-later
"""Costs of a plan that are the same on any machine."""

from __future__ import annotations

from migcomp.plan.candidates import candidates
from migcomp.plan.versions import Qemu
from migcomp.precopy.costs import Costs, Work
from tests.conftest import PAGE


def costs(**ns: int) -> Costs:
    """The same on any machine; ``zstd`` and ``zlib`` are for a page."""
    stored = {
        (work, kind): ns.get(work.codec, 20_000)
        for work in candidate_works()
        for kind in ("compressed", "normal")
    }
    return Costs(PAGE, 80, 700, 300, 3000, 5000, "stored", stored)


def candidate_works() -> set[Work]:
    every = candidates(Qemu((8, 2)), 2, xbzrle=True)
    return {Work("xbzrle", 0, "page")} | {c.work for c in every if c.work}
