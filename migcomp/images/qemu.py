# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU migration streams, as ``migrate "exec:cat > FILE"`` writes them.

Pages may be zero, whole, compressed (capability ``compress``) or XBZRLE deltas,
over several rounds: the image is what the destination would hold in the end.
docs/qemu-streams.md describes the format and the statistics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from migcomp.codecs import open_codec
from migcomp.errors import ImageError
from migcomp.images.file import ImageFile
from migcomp.images.mapped import MappedImage
from migcomp.images.qemu_bytes import StreamBytes
from migcomp.images.qemu_ram import RamBlock, RamReader
from migcomp.images.qemu_sections import (
    SectionReader,
    Sections,
    facts_of,
    printable_name,
)
from migcomp.results import Block

FORMAT = "qemu"

#: Where machines have the RAM block that is most of their memory.
_MAIN_RAM = {
    b"pc.ram": 0,
    b"s390.ram": 0,
    b"ppc_spapr.ram": 0,
    b"mach-virt.ram": 0x4000_0000,
    b"riscv_virt_board.ram": 0x8000_0000,
}
_ADDRESS_STEP = 1 << 20
_EOS_SIZE = 8
_PIECE = 1 << 20


class QemuImage(MappedImage):
    """Also has what else is in the stream."""

    def __init__(self, file: ImageFile, ram: RamReader, sections: Sections) -> None:
        compressed = any(pages[2] for pages, _ in ram.ram.rounds)
        codecs = (open_codec("zlib").library,) if compressed else ()
        super().__init__(
            file,
            FORMAT,
            with_addresses(ram.blocks),
            ram.page_map(codecs),
            ram.page_size,
            _facts(ram, sections),
        )
        self.sections = sections
        self.ram_blocks = ram.blocks

    def stream(self, start: int, end: int | None = None) -> Iterator[bytes]:
        """Bytes ``start`` to ``end`` of the stream, or all of the rest.

        Raises ImageError.
        """
        size = self._file.size or 0
        end = size if end is None else end
        while start < end:
            piece = self._file.read_at(start, min(end - start, _PIECE))
            if not piece:
                raise ImageError(f"{self.path} became shorter while it was read")
            yield piece
            start += len(piece)


def open_file(file: ImageFile, page_size: int) -> QemuImage:
    """Raises ImageError; ``page_size`` counts where the stream tells none."""
    stream = StreamBytes(file)
    ram = RamReader(stream, file.map(), page_size)
    sections = SectionReader(stream, ram.read).read()
    return QemuImage(file, ram, sections)


def with_addresses(blocks: tuple[RamBlock, ...]) -> list[Block]:
    """The stream tells no addresses: main memory starts where machines of its kind
    have it, and other blocks are numbered on behind it."""
    main = next((b for b in blocks if b.name in _MAIN_RAM), None)
    main = main or max(blocks, key=lambda block: block.length)
    first = _MAIN_RAM.get(main.name, 0)
    behind = first + main.length
    placed = []
    for block in blocks:
        if block.guest_address is not None:
            address = block.guest_address
        elif block is main:
            address = first
        else:
            address = -(-behind // _ADDRESS_STEP) * _ADDRESS_STEP
            behind = address + block.length
        placed.append(Block(printable_name(block.name), block.length, address))
    return placed


# --- What inspect shows ---------------------------------------------------------------

_RECORDS = ("zero", "normal", "compressed", "xbzrle")


def _facts(ram: RamReader, sections: Sections) -> Mapping[str, object]:
    rounds = ram.ram.rounds
    facts: dict[str, object] = {
        "machine type": sections.machine or "not told",
        "capabilities": ", ".join(sections.capabilities) or "none told",
        "section footers": "yes" if sections.footers else "no",
        "mapped-ram": "yes" if ram.mapped else "no",
        "multifd flushes": ram.ram.flushes,
    }
    if sections.rest is not None:
        facts["not understood"] = f"from byte {sections.rest} on"
    facts["statistics"] = _statistics(ram)
    facts["rounds"] = [
        {
            "round": number,
            **dict(zip(_RECORDS, pages, strict=True)),
            "bytes": sum(sizes),
        }
        for number, (pages, sizes) in enumerate(rounds, 1)
    ]
    facts["sections"] = facts_of(sections)
    return facts


def _statistics(ram: RamReader) -> dict[str, Any]:
    """Under QMP's names, as QEMU 7.2 counts them (docs/qemu-streams.md)."""
    rounds = ram.ram.rounds
    pages = [sum(round_[0][kind] for round_ in rounds) for kind in range(4)]
    sizes = [sum(round_[1][kind] for round_ in rounds) for kind in range(4)]
    zero, normal, compressed, xbzrle = pages
    found: dict[str, Any] = {
        "ram": {
            "total": ram.total,
            "transferred": sum(sizes) + _EOS_SIZE * ram.parts,
            "duplicate": zero,
            "normal": normal,
            "normal-bytes": normal * ram.page_size,
            "page-size": ram.page_size,
            "downtime-bytes": ram.last_stage_bytes,
        }
    }
    if compressed:
        size = sizes[2] - 8 * compressed
        found["compression"] = {"pages": compressed, "compressed-size": size}
    if xbzrle:
        found["xbzrle-cache"] = {"pages": xbzrle, "bytes": sizes[3] - 8 * xbzrle}
    return found
