# SPDX-License-Identifier: LGPL-2.1-or-later
"""An explanation of an image as JSON, schema ``migcomp.explain/1``.

Sizes are bytes, entropies bits to a byte, times seconds.  The true value of an
estimate lies within its ``error`` 19 times of 20; that is 0 for what was counted.
Keys are only ever added; a change of meaning makes a new schema.
"""

from __future__ import annotations

from collections.abc import Mapping

from migcomp.explain.results import (
    ENTROPY_STEPS,
    Estimate,
    Explanation,
    Tally,
    Technique,
)
from migcomp.records import to_record
from migcomp.report.explain_advice import advice, sent_bytes
from migcomp.report.json import block_to_json

SCHEMA = "migcomp.explain/1"


def to_json(found: Explanation) -> dict[str, object]:
    """All of it in types that ``json.dumps`` takes."""
    sample = found.sample
    return {
        "schema": SCHEMA,
        "image": {
            "path": found.image,
            "format": found.format,
            "bytes": found.image_bytes,
            "page-size": found.page_size,
            "blocks": [block_to_json(block) for block in found.blocks],
        },
        "sent-bytes": sent_bytes(found),
        "pages": _tally(found.total),
        "stretches": [
            {
                "block": stretch.name,
                "blocks": stretch.blocks,
                "guest-address": stretch.guest_address,
                "pages": _tally(stretch.tally),
            }
            for stretch in found.stretches
        ],
        "map": [
            {
                "first-page": region.first_page,
                "zero": region.pages.zero,
                "same-filled": region.pages.same_filled,
                "duplicate": region.pages.deduplicated,
                "content": region.pages.normal,
                "entropy-bytes": region.bytes_out,
            }
            for region in found.map
        ],
        "content-by-entropy": [
            {"from": step / ENTROPY_STEPS, "pages": pages}
            for step, pages in enumerate(found.entropies)
        ],
        "duplicates-by-distance": [
            {"from-pages": 1 << power, "pages": pages}
            for power, pages in enumerate(found.distances)
        ],
        "techniques": {each.key: _technique(each) for each in found.techniques},
        "sample": {
            "seed": sample.seed,
            "packet-pages": sample.packet_pages,
            "packets": sample.packets,
            "packets-of": sample.packets_of,
            "pages": sample.pages,
            "pages-of": sample.pages_of,
            "strata": sample.strata,
            "asked-pages": sample.asked_pages,
        },
        "dictionary": found.dictionary
        and {
            "bytes": found.dictionary.size,
            "training-pages": found.dictionary.pages,
            "training-seconds": found.dictionary.training_seconds,
        },
        "previous": found.previous
        and {
            "path": found.previous.path,
            "same": found.previous.same,
            "changed": found.previous.changed,
            "new": found.previous.new,
        },
        "codec": {**to_record(found.codec), "level": found.level},
        "machine": to_record(found.machine),
        "wall-seconds": found.wall_seconds,
        "advice": list(advice(found)),
    }


def _tally(tally: Tally) -> Mapping[str, object]:
    return {
        "zero": tally.zero,
        "same-filled": tally.same_filled,
        "duplicate": tally.duplicate,
        "content": tally.content,
        "total": tally.total,
        "entropy": tally.entropy,
    }


def _estimate(estimate: Estimate) -> Mapping[str, float]:
    return {"value": estimate.value, "error": estimate.error}


def _technique(technique: Technique) -> Mapping[str, object]:
    return {
        "pages": technique.pages,
        "guest-bytes": technique.guest_bytes,
        "sent-bytes": _estimate(technique.sent),
        "saved-bytes": _estimate(technique.saved),
        "gain-bytes": technique.gain and _estimate(technique.gain),
        "cpu-seconds-per-gib": technique.cpu_seconds_per_gib,
    }
