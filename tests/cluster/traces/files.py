"""The recorded traces: one JSON file a spec."""

from __future__ import annotations

import json
from pathlib import Path

RECORDED = Path(__file__).parent / "recorded"


def load(name: str) -> list[str]:
    """The lines of a trace, [] if it was never recorded."""
    file = RECORDED / f"{name}.json"
    return list(json.loads(file.read_text())["lines"]) if file.exists() else []


def save(name: str, flagger: str, lines: list[str]) -> None:
    RECORDED.mkdir(exist_ok=True)
    text = json.dumps({"flagger": flagger, "lines": lines}, indent=1)
    (RECORDED / f"{name}.json").write_text(f"{text}\n")
