# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guest addresses that a converted image does not keep, or does not have right.

A QEMU stream has none.  Sources of the limits: QEMU 7.2's ``hw/i386/pc_piix.c`` and
``pc_q35.c``.
"""

from __future__ import annotations

from migcomp.images.image import Image
from migcomp.images.qemu import QemuImage, with_addresses
from migcomp.images.qemu_ram import RamBlock

_WITH_ADDRESSES = ("elf", "kdump", "lime", "migcomp")
_PC_RAM = "pc.ram"
#: Bytes of memory from which on a PC has its memory in two parts, and where the
#: first of them ends.
_PC = (0xE000_0000, 0xC000_0000)
_Q35 = (0xB000_0000, 0x8000_0000)


def warning(image: Image, to: str) -> str:
    """A sentence about addresses that go wrong; empty if none does."""
    if isinstance(image, QemuImage):
        return _above_the_hole(image, to)
    return _moved(image) if to == "qemu" else ""


def _above_the_hole(image: QemuImage, to: str) -> str:
    if to not in _WITH_ADDRESSES:
        return ""
    parted_from, end = _Q35 if "q35" in image.sections.machine else _PC
    main = next((block for block in image.blocks if block.name == _PC_RAM), None)
    if main is None or main.length < parted_from:
        return ""
    return (
        f"a QEMU stream tells no guest addresses: what {_PC_RAM} has from {end:#x} on "
        f"lies above the PCI hole in the guest, and follows at {end:#x} in the output"
    )


def _moved(image: Image) -> str:
    blocks = tuple(RamBlock(b.name.encode(), b.length, None) for b in image.blocks)
    for block, read in zip(image.blocks, with_addresses(blocks), strict=True):
        if block.guest_address != read.guest_address:
            return (
                "a QEMU stream tells no guest addresses: who reads the output takes "
                f"RAM block {block.name}, at {block.guest_address:#x}, to be at "
                f"{read.guest_address:#x}"
            )
    return ""
