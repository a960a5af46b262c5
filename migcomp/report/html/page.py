# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pages made from templates: each is one file that loads nothing from anywhere.

Whatever comes from outside is escaped by jinja2.  A policy in the page allows no
script but ours, and no network.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from migcomp.report.html.charts import extra


def page(template: str, **content: object) -> bytes:
    """``template`` filled in, in UTF-8."""
    with extra():
        import jinja2
        from markupsafe import Markup

    from migcomp import __version__
    from migcomp.report.printable import printable

    folder = resources.files("migcomp.report.html") / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (folder / name).read_text("utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    script = (folder / "page.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = environment.get_template(template).render(
        script=Markup(script),
        script_digest=digest,
        style=Markup((folder / "page.css").read_text("utf-8")),
        svg=Markup,
        version=__version__,
        **content,
    )
    return text.encode("utf-8")
