"""An executed notebook as one HTML page that needs no network and runs nothing."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from modelpack.errors import InputError
from modelpack.notebook import document

# What nbconvert's page fetches (RequireJS, MathJax, Mermaid, widgets) is left out: the page is read offline, and a
# notebook's outputs are anybody's HTML.
_TEMPLATE = """\
{%- extends 'lab/index.html.j2' -%}
{%- block html_head -%}
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
font-src data:; base-uri 'none'; form-action 'none'">
{{ super() }}
{%- endblock html_head -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block body_header -%}
{{ super() }}
{% if resources.problem %}<p style="margin:1em 2em;padding:.8em 1em;border-left:4px solid #d32f2f;background:#fdecea;\
color:#611a15;font-family:sans-serif">{{ resources.problem | escape_html }}</p>{% endif %}
{%- endblock -%}
"""

_ACTIVE = re.compile(r"<(/?)(?:script|style)\b", re.IGNORECASE)
_LONGEST = 2 * 1024 * 1024  # characters of HTML in one output; cleaning takes a second for each million
_TAGS = frozenset(
    ("br", "caption", "col", "colgroup", "dd", "del", "details", "div", "dl", "dt", "figcaption", "figure", "h1", "h2",
     "h3", "h4", "h5", "h6", "hr", "img", "ins", "kbd", "p", "pre", "s", "samp", "small", "span", "sub", "summary",
     "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "var")
)  # fmt: skip
_SPAN = ["colspan", "rowspan"]


def write(notebook: Path, html: Path, *, title: str, problem: str = "") -> None:
    """Write a page of an executed notebook; `problem` stands at its top. Raises InputError."""
    try:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(render(document.load(notebook), title, problem), encoding="utf-8")
    except OSError as error:
        raise InputError(html, f"cannot be written: {error.strerror}") from error


def render(found: document.Document, title: str, problem: str = "") -> str:
    """The page of a notebook."""
    from nbconvert.exporters import HTMLExporter

    log = logging.getLogger("modelpack.notebook.page")
    log.addHandler(logging.NullHandler())
    make: Any = HTMLExporter  # untyped
    exporter = make(raw_template=_TEMPLATE, sanitize_html=True, log=log, exclude_anchor_links=True)
    exporter.register_filter("clean_html", clean)
    node = document.node(_plain(found.json), found.name)
    resources: dict[str, Any] = {"metadata": {"name": title}, "problem": problem}
    body, _ = exporter.from_notebook_node(node, resources)
    return str(body)


def clean(html: object) -> str:
    """The tables, headings and pictures of somebody's HTML, without what acts: nbconvert's own filter knows no table
    head."""
    import bleach
    from bleach.css_sanitizer import CSSSanitizer

    text = html.decode(errors="replace") if isinstance(html, bytes) else str(html)
    if len(text) > _LONGEST:
        return "<i>left out: too much HTML</i>"
    return str(
        bleach.clean(
            _passive(text),
            tags=bleach.ALLOWED_TAGS | _TAGS,
            attributes={"*": ["class", "style", "title", "id"], "a": ["href"], "img": _image, "td": _SPAN, "th": _SPAN},
            protocols=["http", "https", "mailto", "data"],
            strip=True,
            css_sanitizer=CSSSanitizer(),
        )
    )


def _image(tag: str, name: str, value: str) -> bool:
    """A picture in the page itself; one from elsewhere would tell that it is read."""
    return name in ("alt", "width", "height") or (name == "src" and value.startswith("data:image/"))


def _passive(html: str) -> str:
    """Without scripts and style sheets: bleach takes their tags away and shows what is in them."""
    kept, at = [], 0
    while found := _ACTIVE.search(html, at):
        kept.append(html[at : found.start()])
        close = found if found[1] else next((each for each in _ACTIVE.finditer(html, found.end()) if each[1]), None)
        end = html.find(">", close.end()) if close else -1
        at = end + 1 if end >= 0 else len(html)
    return "".join([*kept, html[at:]])


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """Without what the page cannot show: widgets need scripts of their own."""
    metadata = {key: each for key, each in value.get("metadata", {}).items() if key not in ("widgets", "title")}
    return {**value, "metadata": metadata}
