# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a reader makes of a file: its pages, or one sentence."""

from __future__ import annotations

import pytest

from migcomp.errors import ImageError
from migcomp.images.decode import readable_again
from migcomp.images.open import open_image
from tests.conftest import memory_file


def content(path: str) -> bytes:
    with open_image(path) as image, readable_again(image) as copy:
        assert copy.pages is not None
        return b"".join(copy.read(page, 1) for page in range(copy.pages))


def refusal(data: bytes) -> str:
    """The one sentence about a file, on opening it or on reading its pages."""
    with memory_file(data) as path:
        with pytest.raises(ImageError) as caught:
            content(path)
        sentence = str(caught.value)
        assert sentence.startswith(path)
        assert "\n" not in sentence
        return sentence.removeprefix(path)
