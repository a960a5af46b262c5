# SPDX-License-Identifier: LGPL-2.1-or-later
"""What was found out about an image: plain data, shown by reports.

Sizes are bytes, times CPU seconds, entropies bits to a byte (0 to 8).
"""

from __future__ import annotations

from dataclasses import dataclass

from migcomp.results import Block, CodecInfo, Machine, Region

#: Parts of a bit that the histogram of entropies tells apart.
ENTROPY_STEPS = 8


@dataclass
class Tally:
    """Pages of a stretch of the image.

    ``duplicate`` pages equal an earlier page, and are neither zero nor same-filled;
    ``content`` are all others.  ``entropy_sum`` is that of the content pages.
    """

    zero: int = 0
    same_filled: int = 0
    duplicate: int = 0
    content: int = 0
    entropy_sum: float = 0.0

    @property
    def total(self) -> int:
        return self.zero + self.same_filled + self.duplicate + self.content

    @property
    def entropy(self) -> float | None:
        """The mean of the content pages; None when there is none."""
        return self.entropy_sum / self.content if self.content else None

    def add(self, other: Tally) -> None:
        self.zero += other.zero
        self.same_filled += other.same_filled
        self.duplicate += other.duplicate
        self.content += other.content
        self.entropy_sum += other.entropy_sum


@dataclass(frozen=True)
class Stretch:
    """Pages of one RAM block, or of ``blocks`` small ones, then without address."""

    name: str
    guest_address: int | None
    first_page: int
    pages: int
    blocks: int
    tally: Tally


@dataclass(frozen=True)
class Estimate:
    """The true value lies within ``error`` of ``value`` 19 times of 20.

    ``error`` is 0 for what was counted or measured whole.
    """

    value: float
    error: float = 0.0

    def minus(self, amount: float) -> Estimate:
        """Less an amount that is known."""
        return Estimate(self.value - amount, self.error)


@dataclass(frozen=True)
class Technique:
    """What one way to send less would bring for ``pages`` pages.

    ``sent`` bytes instead of ``guest_bytes`` would go out for them.
    ``cpu_seconds_per_gib``: for each GiB of the image, whatever part of it these
    pages are.  ``gain``: bytes fewer than the technique it stands beside would
    send, found on the same pages, and so surer than the difference of the two.
    """

    key: str
    pages: int
    guest_bytes: int
    sent: Estimate
    cpu_seconds_per_gib: float
    gain: Estimate | None = None

    @property
    def saved(self) -> Estimate:
        return Estimate(self.guest_bytes - self.sent.value, self.sent.error)


#: Packets in a sample; of fewer, the error itself would be too unsure.
FEWEST = 16


@dataclass(frozen=True)
class Sample:
    """What compression was tried on: packets, drawn from ``strata``.

    Of all packets that have any content or duplicates, and their pages of these
    classes.
    """

    seed: int
    packet_pages: int
    packets: int
    packets_of: int
    pages: int
    pages_of: int
    strata: int
    asked_pages: int

    @property
    def whole(self) -> bool:
        """It is all there is."""
        return self.packets == self.packets_of

    @property
    def raised(self) -> bool:
        """Less was asked for than FEWEST packets have."""
        return self.asked_pages * self.packets_of < FEWEST * self.pages_of


@dataclass(frozen=True)
class Dictionary:
    """``pages`` of the sample trained it, and were not used to measure it."""

    size: int
    pages: int
    training_seconds: float


@dataclass(frozen=True)
class Previous:
    """How the image differs from an earlier one.

    Of its content pages and duplicates, ``same`` are as they were, ``changed`` are
    not, and all others are ``new``: the earlier image has no such page.
    """

    path: str
    same: int
    changed: int
    new: int


@dataclass(frozen=True)
class Explanation:
    """``distances[n]``: duplicates that lie 2**n or more pages, and less than twice
    as many, behind the page they equal.  ``entropies[n]``: content pages of n / 8
    or more bits, and less than an eighth more; those of 8 bits count with the last.
    ``map``: stretches of equal size; ``bytes_out`` is what an ideal code for single
    bytes would make of them.
    """

    image: str
    format: str
    page_size: int
    image_bytes: int
    blocks: tuple[Block, ...]
    total: Tally
    stretches: tuple[Stretch, ...]
    map: tuple[Region, ...]
    entropies: tuple[int, ...]
    distances: tuple[int, ...]
    techniques: tuple[Technique, ...]
    sample: Sample
    dictionary: Dictionary | None
    previous: Previous | None
    codec: CodecInfo
    level: int
    machine: Machine
    wall_seconds: float

    def technique(self, key: str) -> Technique | None:
        return next((t for t in self.techniques if t.key == key), None)
