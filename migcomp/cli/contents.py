# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reading what ``migcomp inspect`` shows out of a stream."""

from __future__ import annotations

from collections.abc import Iterator

from migcomp import _core
from migcomp.choice import settings_of
from migcomp.codecs import GROUPINGS
from migcomp.errors import PageError, StreamError
from migcomp.images.image import UNKNOWN_LENGTH, pages_in
from migcomp.measure import RegionMap
from migcomp.report.contents import Contents, StoredPage
from migcomp.restore import codec_of
from migcomp.results import Block, PageCounts
from migcomp.salvage import deduplicated_pages
from migcomp.stream.header import StreamHeader
from migcomp.stream.layout import (
    COMPRESSED,
    DEDUPLICATED,
    PAGES,
    RECORD_HEADER_SIZE,
    ZERO,
    compressed_in,
)
from migcomp.stream.reader import SALVAGE, Record, StreamReader
from migcomp.workqueue import ThreadedWorkqueue

_CLASSES = ("zero", "same-filled", "deduplicated", "normal", "compressed")


def read_contents(reader: StreamReader) -> Contents:
    """All but the pages, whose checksums are not tested.

    Of a damaged stream, what precedes the damage.
    """
    header = reader.header
    counts = PageCounts()
    regions = RegionMap(header.packet_pages)
    compressed_bytes = compressed_blocks = records = 0
    problem = ""
    try:
        for record in reader.records():
            head = record.head
            records += 1
            size = RECORD_HEADER_SIZE + head.body_size
            if head.kind != PAGES:
                counts.zero += head.pages
                regions.add_zeros(head.first_page, head.pages, size)
                continue
            here = _count(record, reader)
            counts.add(*here)
            regions.add(head.first_page, here, size)
            data, blocks = compressed_in(header, here, head.body_size)
            compressed_bytes += data
            compressed_blocks += blocks
        reader.check_totals(counts, compressed_bytes, compressed_blocks)
    except StreamError as error:
        problem = str(error)
    end = None if problem else reader.end
    return Contents(
        path=reader.path,
        settings=settings_of(header, threads=1, requests_per_thread=1),
        provider=f"{header.provider} {header.version}".rstrip(),
        blocks=_blocks(reader, counts.total),
        pages=counts,
        image_bytes=sum(end.block_lengths) if end else counts.total * header.page_size,
        stream_bytes=reader.stream_bytes,
        compressed_bytes=compressed_bytes,
        records=records,
        digest=end.image_digest if end else None,
        problem=problem,
        regions=regions.regions(),
    )


def _count(record: Record, reader: StreamReader) -> tuple[int, int, int, int, int]:
    classes = _classes(record, reader)
    zero, same, deduplicated, normal, compressed = (
        classes.count(kind) for kind in range(len(_CLASSES))
    )
    return zero, same, deduplicated, normal, compressed


def _classes(record: Record, reader: StreamReader) -> bytes:
    """Of a PAGES record's pages.  Raises StreamError if it contradicts itself."""
    head, header = record.head, reader.header
    classes = reader.classes_of(record)
    if (
        len(classes) != head.pages
        or max(classes) >= len(_CLASSES)
        or (DEDUPLICATED in classes and not header.dedup)
    ):
        raise StreamError(
            f"{reader.path}: the record at byte {record.offset} is damaged; {SALVAGE}"
        )
    return classes


def _blocks(reader: StreamReader, pages: int) -> tuple[Block, ...]:
    """With lengths, also of the last one if it came from a pipe."""
    header, end = reader.header, reader.end
    if end is not None:
        lengths = end.block_lengths
    else:
        lengths = tuple(block.length for block in header.blocks)
        if lengths[-1] == UNKNOWN_LENGTH:
            before = sum(pages_in(n, header.page_size) for n in lengths[:-1])
            lengths = (*lengths[:-1], max(0, pages - before) * header.page_size)
    return tuple(
        Block(block.name, length, block.guest_address)
        for block, length in zip(header.blocks, lengths, strict=True)
    )


def read_page(reader: StreamReader, number: int, handler: str = "") -> StoredPage:
    """Page ``number`` of a stream in a file, all of its records tested.

    Raises StreamError and CodecUnavailable.
    """
    header = reader.header
    record = reader.find(number)
    kind = _class_of(record, number, reader)
    equals = _equal_to(record, number, header) if kind == DEDUPLICATED else None
    source, place = record, number
    if equals is not None:
        if equals >= number:
            raise StreamError(f"{reader.path}: page {number} refers to a later one")
        source, place = reader.find(equals), equals
        if _class_of(source, place, reader) == DEDUPLICATED:
            raise StreamError(
                f"{reader.path}: page {number} refers to page {equals}, which is "
                "deduplicated itself"
            )
    block, address = _place(_blocks(reader, reader.pages or 0), number, header)
    return StoredPage(
        path=reader.path,
        number=number,
        page_class=_CLASSES[kind],
        equals=equals,
        block=block,
        guest_address=address,
        record_offset=record.offset,
        record_pages=record.head.pages,
        stored_bytes=RECORD_HEADER_SIZE + record.head.body_size,
        data=_decompress(reader, source, place, handler),
    )


def _class_of(record: Record, page: int, reader: StreamReader) -> int:
    if record.head.kind != PAGES:
        return ZERO
    return _classes(record, reader)[page - record.head.first_page]


def _equal_to(record: Record, page: int, header: StreamHeader) -> int:
    return dict(deduplicated_pages(record, header))[page]


def _place(
    blocks: tuple[Block, ...], page: int, header: StreamHeader
) -> tuple[str, int]:
    first = 0
    for block in blocks:
        pages = pages_in(block.length, header.page_size)
        if page < first + pages:
            offset = (page - first) * header.page_size
            return block.name, block.guest_address + offset
        first += pages
    raise StreamError(f"page {page} is in none of the RAM blocks")


def _decompress(reader: StreamReader, record: Record, page: int, handler: str) -> bytes:
    header = reader.header
    if record.head.kind != PAGES:
        return bytes(header.page_size)
    native = _core.decompressor(
        codec_of(reader, handler).library,
        grouping=GROUPINGS.index(header.grouping),
        page_size=header.page_size,
        pages_max=header.packet_pages,
        channels=header.channels,
        fill_zeros=True,
        dedup=header.dedup,
    )
    start = (page - record.head.first_page) * header.page_size
    data = b""
    try:
        with ThreadedWorkqueue("inspect", 1, 1, handler=native) as queue:
            for step in _needed(reader, record):
                request = queue.get_request()
                request.load_record(
                    step.body,
                    step.head.first_page,
                    step.head.pages,
                    step.head.channel,
                    step.head.body_checksum,
                    step.mapped,
                )
                queue.submit_request(request)
                request = queue.collect_request()
                if step is record:
                    data = bytes(memoryview(request)[start : start + header.page_size])
                queue.release_request(request)
    except PageError as error:
        raise StreamError(
            f"{reader.path}: page {error.page}: {error.reason}"
        ) from error.__cause__
    return data


def _needed(reader: StreamReader, record: Record) -> Iterator[Record]:
    """In grouping stream, a channel has to be read from its start."""
    classes = _classes(record, reader)
    if reader.header.grouping == "stream" and COMPRESSED in classes:
        for earlier in reader.records():
            if earlier.offset >= record.offset:
                break
            if earlier.head.kind == PAGES and (
                earlier.head.channel == record.head.channel
            ):
                yield earlier
    yield record
