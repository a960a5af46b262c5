# SPDX-License-Identifier: LGPL-2.1-or-later
"""What each version of QEMU and of libvirt has.

Source: the "Since" notes of QEMU's ``qapi/migration.json``; ``docs/about/
removed-features.rst`` for ``compress``, gone in 9.1; the introductions of libvirt's
``VIR_MIGRATE_PARAM_COMPRESSION_ZSTD_LEVEL`` and its like for libvirt 9.4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product

from migcomp.units import quoted

Version = tuple[int, int]

#: Whose rules are known: from where multifd is no longer called x-multifd, and all
#: parameters here have their names, to the newest that was looked at; three a year.
KNOWN: tuple[Version, ...] = tuple(product(range(4, 11), range(3)))
KNOWN_SPAN = "{}.{} to {}.{}".format(*KNOWN[0], *KNOWN[-1])
DEFAULT: Version = (8, 2)

#: Capability, or parameter with its value: (first version, last version or None).
_THERE: dict[str, tuple[Version, Version | None]] = {
    "xbzrle": ((1, 2), None),
    "auto-converge": ((1, 6), None),
    "compress": ((2, 4), (9, 0)),
    "multifd": ((4, 0), None),
    "multifd-compression": ((5, 0), None),
}

#: libvirt that knows ``--comp-methods zlib`` and ``zstd``.
LIBVIRT_MULTIFD_COMPRESSION: Version = (9, 4)


def parse_version(text: str) -> Version:
    """As in ``8.2``, or 8.2.1, whose rest is of no account.  Raises ValueError, also
    for one that is not known."""
    match = re.fullmatch(r"([0-9]{1,3})\.([0-9]{1,3})(?:\.[0-9.]*)?", text)
    if match is None:
        raise ValueError(f"{quoted(text)} is not a version such as 8.2")
    version = int(match[1]), int(match[2])
    if version > KNOWN[-1]:
        newest = "{}.{}".format(*KNOWN[-1])
        raise ValueError(
            f"{quoted(text)} is newer than the versions of QEMU that are known, which "
            f"are {KNOWN_SPAN}; {newest} is nearest to it"
        )
    if version not in KNOWN:
        raise ValueError(
            f"{quoted(text)} is not a known version of QEMU: those are {KNOWN_SPAN}, "
            "each with .0, .1 and .2"
        )
    return version


@dataclass(frozen=True)
class Qemu:
    version: Version

    def has(self, name: str) -> bool:
        """A capability or parameter by its QMP name; KeyError for one not listed."""
        first, last = _THERE[name]
        return first <= self.version and (last is None or self.version <= last)

    @property
    def compression_counts_whole(self) -> bool:
        """The bandwidth limit holds for multifd's pages as they were before they
        were compressed (``multifd_send_pages`` until 8.0)."""
        return self.version < (8, 1)

    @property
    def deprecates_compress(self) -> bool:
        return self.version >= (8, 2)

    def __str__(self) -> str:
        return "QEMU " + ".".join(map(str, self.version))
