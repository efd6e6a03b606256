"""One self-contained HTML file from a template: no address outside it, and a policy that a browser enforces.

The templates extend ``base.html.j2``, and take their plots and photos from the macros beside it.
"""

from __future__ import annotations

import base64
import hashlib
import math
from typing import TYPE_CHECKING

from placewise.files import check_output, write_atomically
from placewise.openset import percent
from placewise.scoring.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import jinja2
    import markupsafe


LONGEST = 240
"""Letters of a name or a sentence on a page."""


def write_page(path: Path, template: str, values: Mapping[str, object]) -> None:
    """Fill a template and write the page, whole or not at all.

    Args:
        path: the HTML file.
        template: its name in the folder ``templates``.
        values: what it shows; everything is escaped, also what is no text (the bytes of a name that is not UTF-8).

    Raises:
        OptionError: if the file cannot be written, or would replace one that is no ``.html``.
    """
    check_output(path, ".html")
    write_atomically(path, environment().get_template(template).render(values).encode(errors="backslashreplace"))


def environment() -> jinja2.Environment:
    """Where templates are found, and what all of them may use."""
    import jinja2

    loader = jinja2.PackageLoader("placewise", "templates")
    found = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "number": number,
        "percent": _percent,
        "words": _words,
        "breakable": _breakable,
        "counted": counted,
        "short": short,
    }
    style, script = (loader.get_source(found, name)[0] for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        f"base-uri 'none'; form-action 'none'"
    )
    found.globals |= {"style": style, "script": script, "policy": policy}
    return found


def plain(text: str) -> str:
    """Text in one line that neither a terminal nor a reader obeys: names of files and places may hold anything."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def short(text: object) -> str:
    """Plain text of which a page can hold thousands: the middle of a very long one is left out."""
    whole = str(text)
    return plain(whole if len(whole) <= LONGEST else f"{whole[: LONGEST // 2]} … {whole[-LONGEST // 2 :]}")


def number(value: float) -> str:
    """Three decimals; a dash for what is undefined."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else percent(share)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _breakable(name: object) -> markupsafe.Markup:
    """A path or a label, escaped if it is not yet, that may go on in the next line after each slash and underscore."""
    from markupsafe import Markup, escape

    escaped = str(escape(name))
    return Markup(escaped.replace("/", "/<wbr>").replace("_", "_<wbr>"))  # noqa: S704 - escaped above


def _hash(text: str) -> str:
    """The source expression that allows just this text in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
