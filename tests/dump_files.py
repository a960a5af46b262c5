# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes small files of the formats that hypervisors dump memory in.

Written from the formats' descriptions, apart from the readers.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

PAGE = 4096
#: Guest memory from an address on.
Range = tuple[int, bytes]


# --- ELF --------------------------------------------------------------------------


def note(name: bytes, kind: int, data: bytes, order: str = "<") -> bytes:
    padded = (name + b"\0").ljust(-(-(len(name) + 1) // 4) * 4, b"\0")
    head = struct.pack(order + "III", len(name) + 1, len(data), kind)
    return head + padded + data.ljust(-(-len(data) // 4) * 4, b"\0")


def elf_core(
    ranges: Sequence[Range],
    *,
    bits: int = 64,
    order: str = "<",
    notes: bytes = b"",
    many: bool = False,
    virtual: bool = False,
    sizes: Sequence[int] = (),
    version: int = 1,
) -> bytes:
    """``many``: the number of segments stands in a section's header (PN_XNUM).
    ``virtual``: as the core of a process.  ``sizes``: of the segments in memory,
    where they are not those in the file."""
    wide = bits == 64
    ehdr, phdr, shdr = (64, 56, 64) if wide else (52, 32, 40)
    count = len(ranges) + 1
    table = ehdr + (shdr if many else 0)
    data = table + count * phdr
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1])
    word = "Q" if wide else "I"
    head = ident.ljust(16, b"\0") + struct.pack(
        f"{order}HHI{word}{word}{word}IHHHHHH",
        *(4, 62 if wide else 3, version, 0, table, ehdr if many else 0, 0),
        *(ehdr, phdr, 0xFFFF if many else count, shdr if many else 0, int(many), 0),
    )
    if many:
        head += struct.pack(
            f"{order}II{word}{word}{word}{word}II{word}{word}",
            *(0, 0, 0, 0, 0, 1, 0, count, 0, 0),
        )

    def segment(kind: int, offset: int, address: int, stored: int, size: int) -> bytes:
        physical = 0 if virtual else address
        if wide:
            fields = (kind, 6, offset, address, physical, stored, size, PAGE)
            return struct.pack(order + "IIQQQQQQ", *fields)
        fields = (kind, offset, address, physical, stored, size, 6, PAGE)
        return struct.pack(order + "IIIIIIII", *fields)

    headers = [segment(4, data, 0, len(notes), len(notes))]
    at = data + len(notes)
    for number, (address, content) in enumerate(ranges):
        size = sizes[number] if sizes else len(content)
        headers.append(segment(1, at, address, len(content), size))
        at += len(content)
    return b"".join((head, *headers, notes, *(content for _, content in ranges)))


# --- LiME and AVML -------------------------------------------------------------------


def lime(ranges: Sequence[Range]) -> bytes:
    return b"".join(
        struct.pack("<IIQQQ", 0x4C694D45, 1, start, start + len(data) - 1, 0) + data
        for start, data in ranges
    )


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def snappy_literals(data: bytes) -> bytes:
    """A snappy block that compresses nothing but runs of one byte."""
    out, at = bytearray(varint(len(data))), 0
    while at < len(data):
        run = 1
        while at + run < len(data) and data[at + run] == data[at] and run < 65:
            run += 1
        if run > 8:  # a literal byte, then a copy of the byte before
            out += bytes([0, data[at], (run - 2) << 2 | 2, 1, 0])
            at += run
            continue
        piece = data[at : at + 60]
        out += bytes([(len(piece) - 1) << 2]) + piece
        at += len(piece)
    return bytes(out)


def masked_crc32c(data: bytes) -> int:
    crc = (1 << 32) - 1
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= (1 << 32) - 1
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % (1 << 32)


def snappy_frames(data: bytes, chunk: int = 65536, *, skipped: bool = False) -> bytes:
    """The framed format."""
    out = bytearray(b"\xff\x06\0\0sNaPpY")
    for at in range(0, len(data), chunk):
        piece = data[at : at + chunk]
        packed = snappy_literals(piece)
        kind, body = (0, packed) if len(packed) < len(piece) else (1, piece)
        if skipped:
            out += b"\xfe\x03\0\0pad"
        out += bytes([kind]) + (len(body) + 4).to_bytes(3, "little")
        out += masked_crc32c(piece).to_bytes(4, "little") + body
    return bytes(out)


def avml(
    ranges: Sequence[Range], frame: Callable[[bytes], bytes] = snappy_frames
) -> bytes:
    out = bytearray()
    for start, data in ranges:
        frames = frame(data)
        last = start + len(data) - 1
        out += struct.pack("<IIQQQ", 0x4C4D5641, 2, start, last, 0)
        out += frames + struct.pack("<Q", len(frames))
    return bytes(out)


# --- kdump ---------------------------------------------------------------------------

#: Flags of a page's descriptor.
KDUMP_METHODS = {"raw": 0, "zlib": 1, "lzo": 2, "snappy": 4, "zstd": 0x20}


def kdump(
    ranges: Sequence[Range],
    pack: Callable[[bytes], bytes] = zlib.compress,
    method: str = "zlib",
    *,
    bits: int = 64,
    order: str = "<",
    version: int = 6,
    page_size: int = PAGE,
    excluded: Collection[int] = (),
) -> bytes:
    """``excluded``: page frames that are memory but are left out."""
    frames: dict[int, bytes] = {}
    for start, data in ranges:
        for at in range(0, len(data), page_size):
            frames[(start + at) // page_size] = data[at : at + page_size]
    end = max(frames) + 1
    blocks = -(-end // 8 // page_size) or 1
    maps = [bytearray(blocks * page_size) for _ in range(2)]
    for frame in frames:
        maps[0][frame // 8] |= 1 << frame % 8
        if frame not in excluded:
            maps[1][frame // 8] |= 1 << frame % 8
    machine = {"<": b"x86_64", ">": b"s390x"}[order] if bits == 64 else b"i686"
    names = (b"Linux", b"guest", b"6.1.0", b"#1", machine, b"")
    head = b"KDUMP   " + struct.pack(order + "i", version)
    head += b"".join(name.ljust(65, b"\0") for name in names)
    head = head.ljust(424 if bits == 64 else 412, b"\0")
    fields = (0, page_size, 1, 2 * blocks, end, 0, 0, 0, 0, 1)
    head += struct.pack(order + "10I", *fields)
    sub = bytearray(page_size)
    if bits == 64:
        struct.pack_into(order + "Q", sub, 96, end)
    dumped = [frame for frame in sorted(frames) if frame not in excluded]
    table = (2 + 2 * blocks) * page_size
    at = table + 24 * len(dumped)
    descriptors, contents = [], []
    for frame in dumped:
        packed, flags = pack(frames[frame]), KDUMP_METHODS[method]
        if len(packed) >= page_size:
            packed, flags = frames[frame], 0
        descriptors.append(struct.pack(order + "qIIQ", at, len(packed), flags, 0))
        contents.append(packed)
        at += len(packed)
    return b"".join((head.ljust(page_size, b"\0"), sub, *maps, *descriptors, *contents))


def flattened(data: bytes, pieces: Sequence[tuple[int, int]]) -> bytes:
    """``pieces`` of it: (offset, size), in the order in which they are written."""
    out = [struct.pack(">16sqq", b"makedumpfile", 1, 1).ljust(4096, b"\0")]
    for offset, size in pieces:
        part = data[offset : offset + size]
        out.append(struct.pack(">qq", offset, len(part)) + part)
    return b"".join((*out, struct.pack(">qq", -1, -1)))


# --- Windows --------------------------------------------------------------------------


def windows_dump(ranges: Sequence[Range], *, bits: int = 64, kind: int = 1) -> bytes:
    """Ranges of whole pages.  ``kind`` 5: with a bitmap."""
    wide = bits == 64
    size, kind_at, runs_at = (0x2000, 0xF98, 0x88) if wide else (0x1000, 0xF88, 0x64)
    header = bytearray(size)
    header[:8] = b"PAGEDU64" if wide else b"PAGEDUMP"
    struct.pack_into("<I", header, kind_at, kind)
    runs = [(start // PAGE, len(data) // PAGE) for start, data in ranges]
    total = sum(pages for _, pages in runs)
    if wide:
        struct.pack_into("<IIQ", header, runs_at, len(runs), 0, total)
    else:
        struct.pack_into("<II", header, runs_at, len(runs), total)
    at = runs_at + (16 if wide else 8)
    for first, pages in runs:
        struct.pack_into("<QQ" if wide else "<II", header, at, first, pages)
        at += 16 if wide else 8
    content = b"".join(data for _, data in ranges)
    if kind != 5:
        return bytes(header) + content
    bits_nr = max(first + pages for first, pages in runs)
    bitmap = bytearray(-(-bits_nr // 8))
    for first, pages in runs:
        for page in range(first, first + pages):
            bitmap[page // 8] |= 1 << page % 8
    start = -(-(size + 56 + len(bitmap)) // PAGE) * PAGE
    summary = b"SDMPDUMP".ljust(32, b"\0") + struct.pack("<QQQ", start, total, bits_nr)
    return (bytes(header) + summary + bytes(bitmap)).ljust(start, b"\0") + content


# --- VMware ---------------------------------------------------------------------------


def vmware_tag(name: bytes, value: bytes, *indices: int) -> bytes:
    head = bytes([len(indices) << 6 | len(value), len(name)]) + name
    return head + struct.pack(f"<{len(indices)}I", *indices) + value


def vmware_block(
    name: bytes, data: bytes, *indices: int, size: int = 63, pad: bytes = b""
) -> bytes:
    head = bytes([len(indices) << 6 | size, len(name)]) + name
    head += struct.pack(f"<{len(indices)}I", *indices)
    return head + struct.pack("<QQH", len(data), len(data), len(pad)) + pad + data


def vmware_state(
    regions: Sequence[tuple[int, int, int]],
    *,
    memory: bytes | None = None,
    magic: int = 0xBED2BED2,
) -> bytes:
    """``regions``: first page in the guest, first page in the memory, pages."""
    tags = [vmware_block(b"cpuid", bytes(40), 0)]
    tags.append(vmware_tag(b"regionsCount", struct.pack("<I", len(regions))))
    for number, region in enumerate(regions):
        fields = (b"regionPPN", b"regionPageNum", b"regionSize")
        for name, value in zip(fields, region, strict=True):
            tags.append(vmware_tag(name, struct.pack("<I", value), number))
    if memory is not None:
        tags.append(vmware_block(b"Memory", memory, 0, 0, pad=b"pad"))
    names = [b"Checkpoint", b"memory"]
    start = 12 + 80 * len(names)
    first = b"\0\0"
    groups = [
        struct.pack("<64sQQ", names[0], start, len(first)),
        struct.pack("<64sQQ", names[1], start + len(first), 0),
    ]
    head = struct.pack("<III", magic, 8, len(names))
    return b"".join((head, *groups, first, *tags, b"\0\0"))


# --- CRIU -----------------------------------------------------------------------------

CRIU_MAGIC = struct.pack("<II", 0x54564319, 0x56084025)


def criu_message(**fields: int) -> bytes:
    """``f1=...``: the field of that number."""
    body = b"".join(
        varint(int(name[1:]) << 3) + varint(value) for name, value in fields.items()
    )
    return struct.pack("<I", len(body)) + body


def criu_dump(
    folder: Path, entries: Sequence[tuple[int, bytes | int]], *, pid: int = 7
) -> Path:
    """Pages at addresses; a number of pages instead are left to the parent."""
    folder.mkdir(exist_ok=True)
    messages = [criu_message(f1=pid + 1)]
    for address, pages in entries:
        if isinstance(pages, int):
            messages.append(criu_message(f1=address, f2=pages, f3=1))
        else:
            count = len(pages) // PAGE
            messages.append(criu_message(f1=address, f2=count, f4=4))
    pagemap = folder / f"pagemap-{pid}.img"
    pagemap.write_bytes(CRIU_MAGIC + b"".join(messages))
    stored = b"".join(pages for _, pages in entries if isinstance(pages, bytes))
    (folder / f"pages-{pid + 1}.img").write_bytes(stored)
    return pagemap


# --- virsh save -----------------------------------------------------------------------


def virsh_save(
    stream: bytes,
    method: int = 0,
    *,
    order: str = "<",
    magic: bytes = b"LibvirtQemudSave",
    version: int = 2,
    running: int = 1,
) -> bytes:
    xml = b"<domain type='kvm'><name>guest</name></domain>\0" + b"<cookie/>\0"
    head = struct.pack(order + "5I", version, len(xml), running, method, 0)
    return magic + head + bytes(56) + xml + stream
