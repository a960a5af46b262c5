# SPDX-License-Identifier: LGPL-2.1-or-later
"""VMware's memory: a .vmem file laid out by the .vmss or .vmsn beside it, or a
.vmss or .vmsn that holds the memory itself.

Format: the published part of crash's ``vmware_vmss.h``: a header, groups of
tags, and in the group ``memory`` the regions; little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from migcomp.errors import ImageError
from migcomp.images.file import ImageFile
from migcomp.images.file import open_file as _open
from migcomp.images.headers import ANEW, cut_off, size_of, take, unpack
from migcomp.images.mapped import MappedImage
from migcomp.images.regions import Region, open_regions
from migcomp.images.signatures import VMWARE_32, VMWARE_MEMORY, is_vmware

FORMAT = "vmware"

PAGE = 4096
#: Suffixes of the files that lay memory out.
_STATES = (".vmss", ".vmsn")

_HEADER = struct.Struct("<III")  # magic, version, groups
_GROUP = struct.Struct("<64sQQ")  # name, position, size
_BLOCK = struct.Struct("<QQH")  # bytes in the file, in memory, of padding
_GROUPS_MAX = 4096
_TAGS_MAX = 100_000
_REGIONS_MAX = 1024
_COMPRESSED, _RAW = 62, 63  # values' sizes that stand for blocks


@dataclass(frozen=True, slots=True)
class _Tag:
    """``value`` of a number; ``offset`` and ``size`` of a block."""

    name: bytes
    indices: tuple[int, ...]
    value: int = 0
    offset: int = -1
    size: int = 0
    compressed: bool = False


def open_file(file: ImageFile, page_size: int) -> MappedImage:
    """Opens a .vmss or .vmsn, whose memory may be in the .vmem beside it."""
    group = _read_state(file)
    if group.offset >= 0:
        regions = _regions_of(file, group, group.offset, group.size)
        return open_regions(file, regions, FORMAT, page_size, _facts(file))
    path = Path(file.path).with_suffix(VMWARE_MEMORY)
    if not path.is_file():
        raise ImageError(
            f"{file.path} says where memory belongs but does not hold it, and there "
            f"is no {path} beside it"
        )
    memory = _open(str(path))
    try:
        regions = _regions_of(memory, group, 0, size_of(memory))
        image = open_regions(memory, regions, FORMAT, page_size, _facts(file))
    except BaseException:
        memory.close()
        raise
    file.close()
    return image


def state_beside(file: ImageFile) -> ImageFile | None:
    """The .vmss or .vmsn beside a .vmem, the caller's to close."""
    if file.size is None:
        return None
    for suffix in _STATES:
        beside = Path(file.path).with_suffix(suffix)
        if not beside.is_file():
            continue
        state = _open(str(beside))
        if is_vmware(state.head):
            return state
        state.close()
    return None


def open_laid_out(file: ImageFile, state: ImageFile, page_size: int) -> MappedImage:
    """Opens a .vmem by what ``state`` says, which stays the caller's.

    Raises ImageError; ``file`` is the image's unless it does.
    """
    regions = _regions_of(file, _read_state(state), 0, size_of(file))
    return open_regions(file, regions, FORMAT, page_size, _facts(state))


def _facts(state: ImageFile) -> dict[str, object]:
    return {"laid out by": state.path}


@dataclass(frozen=True, slots=True)
class _Group:
    """What a .vmss or .vmsn says of memory.

    ``regions``: (first page in the guest, first page in the memory, pages);
    without any, all memory lies from address 0 on.  ``offset`` and ``size`` of
    memory that is in the file itself; -1 when it is in a .vmem.
    """

    regions: tuple[tuple[int, int, int], ...]
    offset: int
    size: int


def _read_state(file: ImageFile) -> _Group:
    """Reads a .vmss or .vmsn.  Raises ImageError."""
    values: dict[tuple[bytes, tuple[int, ...]], int] = {}
    offset, size = -1, 0
    for tag in _tags(file, _memory_group(file)):
        if tag.offset < 0:
            values[tag.name, tag.indices] = tag.value
        elif tag.name == b"Memory" and offset < 0:
            if tag.compressed:
                raise ImageError(
                    f"{file.path} holds its memory compressed, in a way that is not "
                    "published; have VMware keep it in a .vmem "
                    "(mainMem.useNamedFile = TRUE)"
                )
            offset, size = tag.offset, tag.size
    count = values.get((b"regionsCount", ()), 0)
    if count > _REGIONS_MAX:
        raise ImageError(f"{file.path} has {count} regions of memory, which is absurd")
    try:
        regions = tuple(
            (
                values[b"regionPPN", (number,)],
                values[b"regionPageNum", (number,)],
                values[b"regionSize", (number,)],
            )
            for number in range(count)
        )
    except KeyError as error:
        raise ImageError(
            f"{file.path} is damaged: it does not describe each of its {count} regions"
        ) from error
    return _Group(regions, offset, size)


def _regions_of(
    memory: ImageFile, group: _Group, start: int, size: int
) -> list[Region]:
    """``memory`` has ``size`` bytes of guest memory from ``start`` on.

    Raises ImageError.
    """
    if not group.regions:
        return [Region(0, size, start, size)]
    regions = []
    for guest, page, pages in group.regions:
        if (page + pages) * PAGE > size:
            raise ImageError(
                f"{memory.path} is cut off: its {size} bytes of memory end within the "
                f"region at guest address {guest * PAGE:#x}; {ANEW}"
            )
        length = pages * PAGE
        regions.append(Region(guest * PAGE, length, start + page * PAGE, length))
    return regions


def _memory_group(file: ImageFile) -> int:
    """Where the tags of the group ``memory`` begin."""
    _, _, groups = unpack(file, _HEADER, 0, "its header")
    if not is_vmware(file.head):
        raise ImageError(f"{file.path} does not begin as a checkpoint of VMware")
    if file.head.startswith(VMWARE_32):
        raise ImageError(f"{file.path} is a checkpoint of an old, 32-bit VMware")
    if groups > _GROUPS_MAX:
        raise ImageError(f"{file.path} has {groups} groups, which is absurd")
    table = take(file, _HEADER.size, groups * _GROUP.size, "its table of groups")
    for name, position, _ in _GROUP.iter_unpack(table):
        if name.rstrip(b"\0") == b"memory":
            return int(position)
    raise ImageError(f"{file.path} is damaged: it has no group of memory")


def _tags(file: ImageFile, offset: int) -> Iterator[_Tag]:
    """The tags from ``offset`` on, up to the one that ends the group."""
    for _ in range(_TAGS_MAX):
        # As many bytes as a tag may have, or fewer at the end.
        most = 2 + 255 + 3 * 4 + _BLOCK.size + 61
        left = size_of(file) - offset
        data = take(file, offset, max(min(most, left), 0), "a group of tags")
        if len(data) < 2:
            raise cut_off(file, "a group of tags")
        if data[:2] == b"\0\0":
            return
        size, indices_nr, name_size = data[0] & 0x3F, data[0] >> 6, data[1]
        at = 2 + name_size + 4 * indices_nr
        head = _BLOCK.size if size in (_COMPRESSED, _RAW) else size
        if at + head > len(data):
            raise cut_off(file, "a tag")
        name = data[2 : 2 + name_size]
        indices = struct.unpack_from(f"<{indices_nr}I", data, 2 + name_size)
        if size not in (_COMPRESSED, _RAW):
            yield _Tag(name, indices, int.from_bytes(data[at : at + size], "little"))
            offset += at + size
            continue
        stored, _, padding = _BLOCK.unpack_from(data, at)
        start = offset + at + _BLOCK.size + padding
        if start + stored > size_of(file):
            raise cut_off(file, "a block")
        yield _Tag(
            name,
            indices,
            offset=start,
            size=stored,
            compressed=size == _COMPRESSED,
        )
        offset = start + stored
    raise ImageError(f"{file.path} has more tags than any checkpoint")
