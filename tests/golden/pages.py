# SPDX-License-Identifier: LGPL-2.1-or-later
"""What of a page is the same with every version of matplotlib and of migcomp."""

from __future__ import annotations

import re

from migcomp import __version__


def steady(page: bytes) -> str:
    """``page`` with titles and descriptions for pictures, and without style and
    script."""
    text = page.decode().replace(__version__, "VERSION")
    text = re.sub(r"sha256-[^']*", "DIGEST", text)
    for part in ("style", "script"):
        text = re.sub(f"(?s)<{part}>.*?</{part}>", f"<{part}></{part}>", text)
    head = r"<title[^>]*>.*?</title><desc[^>]*>.*?</desc>"
    return re.sub(f"(?s)<svg[^>]*>({head}).*?</svg>", r"<svg>\1</svg>", text)
