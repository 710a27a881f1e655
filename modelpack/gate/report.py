"""The gate's page: live from the service, or saved as one file.

The page is plain HTML, CSS and JavaScript in `page/`, with no build step and nothing from another host. `page_html`
links it for the service, which mounts `ASSETS_DIR` at `/assets`; `render_report` puts everything and one rollout into a
single file that opens without a server. Both carry a Content-Security-Policy that allows these scripts and no other.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

ASSETS_DIR = Path(__file__).with_name("page")
STYLE = "page.css"
SCRIPTS = (
    *(
        "dom.js",
        "access.js",
        "words.js",
        "charts.js",
        "tables.js",
        "histogram.js",
        "checks.js",
        "lineage.js",
        "basis.js",
    ),
    *("rollout.js", "list.js", "page.js"),
)

# `</script>` or `<!--` in the data would end or change the element that holds it
# (https://html.spec.whatwg.org/#restrictions-for-contents-of-script-elements); json escapes U+2028 with all non-ASCII.
_ESCAPES = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&"})


def page_html(rollout_id: str | None) -> bytes:
    """The live page: of one rollout, at `/rollouts/<id>`, or the list of all, at `/`.

    All addresses in it are relative, so it also works below a path prefix.
    """
    root = "" if rollout_id is None else "../"
    attributes = f'data-root="{root}"'
    if rollout_id is not None:
        attributes += f' data-rollout="{html.escape(rollout_id)}"'
    return _page(
        policy="default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'",
        style=f'<link rel="stylesheet" href="{root}assets/{STYLE}">',
        script="\n".join(f'<script src="{root}assets/{name}"></script>' for name in SCRIPTS),
        attributes=attributes,
        home=root or "./",
    )


def render_report(record: Mapping[str, Any]) -> bytes:
    """One self-contained HTML file that shows a rollout as the live page does, and what it was decided by.

    `record` is a report's JSON. Predictions that servers told of are left to that: there may be very many. Raises
    ValueError if a number is not finite: JSON has no word for it.
    """
    style = (ASSETS_DIR / STYLE).read_text(encoding="utf-8")
    script = "\n".join((ASSETS_DIR / name).read_text(encoding="utf-8") for name in SCRIPTS)
    basis = {name: {**each, "told": each["told"][:0]} for name, each in record.get("basis", {}).items()}
    data = json.dumps({**record, "basis": basis}, allow_nan=False).translate(_ESCAPES)
    return _page(
        policy=f"default-src 'none'; script-src {_source(script)}; style-src {_source(style)}",
        style=f"<style>{style}</style>",
        script=f'<script type="application/json" id="rollout">{data}</script>\n<script>{script}</script>',
        attributes="",
        home="#main",
    )


def _page(*, policy: str, **parts: str) -> bytes:
    template = Template((ASSETS_DIR / "index.html").read_text(encoding="utf-8"))
    policy += "; img-src data:; base-uri 'none'; form-action 'none'"
    return template.substitute(policy=policy, **parts).encode()


def _source(text: str) -> str:
    """The Content-Security-Policy source of an inline text: its hash."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
