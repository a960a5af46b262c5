# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU migration streams as images: what they hold and tell, or are refused for."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest

from migcomp.choice import Choice
from migcomp.errors import ImageError
from migcomp.images.open import open_image
from migcomp.pipeline import compress
from tests.conftest import make_page, memory_file, restored
from tests.qemu_tools import BLOCKS

RAM, BIOS = (name for name, _ in BLOCKS)
TEXT, NOISE, ROWS = (make_page(kind, 3) for kind in ("text", "noise", "rows"))


def memory_of(stream: bytes, **options: Any) -> bytes:
    sink = BytesIO()
    with memory_file(stream) as path, open_image(path, **options) as image:
        compress(image, sink, Choice(threads=2))
    return restored(sink.getvalue())


def facts_of(stream: bytes, **options: Any) -> Any:
    with memory_file(stream) as path, open_image(path, **options) as image:
        return image.facts


def refusal(stream: bytes) -> str:
    with memory_file(stream) as path:
        with pytest.raises(ImageError) as caught:
            open_image(path)
        return str(caught.value).removeprefix(f"{path}: ")
