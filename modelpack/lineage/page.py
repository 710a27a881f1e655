"""A chain as text of a terminal, and as one HTML page that needs nothing beside it: no script, no request."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from modelpack.lineage.chain import Chain

_HERE = Path(__file__).parent
_MARKS = {"good": "✓", "bad": "✗", "none": "·"}


def as_text(chain: Chain) -> str:
    lines = [f"{chain.model} {chain.version}".strip(), ""]
    for step in chain.steps:
        lines.append(f"{_MARKS[step.state]} {step.kind:<10}  {step.title}")
        width = max((len(key) for key, _ in step.facts), default=0)
        lines += [f"  {'':<10}  {key:<{width}}  {value}" for key, value in step.facts]
    return "\n".join((*lines, *(f"note: {each}" for each in chain.notes)))


def as_html(chain: Chain) -> bytes:
    """The page. Its policy allows its own style and nothing else."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    style = (_HERE / "page.css").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["figure"] = _figure
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return environment.get_template("page.html.j2").render(chain=chain, style=style, policy=policy).encode()


def _figure(value: float | None, sign: bool = False) -> str:
    return "" if value is None else f"{value:+.4g}" if sign else f"{value:.4g}"
