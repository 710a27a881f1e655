"""What the checks of a table found, as values, as JSON, and as a table for people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from modelpack.text import escaped

_HEAD = ("column", "check", "wanted", "found", "")
_MARKS = re.compile(r"([\\`*_{}\[\]()#+|~<>&@!])")
_LONGEST = 80  # characters of a cell


@dataclass(frozen=True)
class Row:
    """One check. `column` is "" for the whole table; `verdict` is "pass", "fail", or "note" for what is said only."""

    column: str
    check: str
    wanted: str
    found: str
    verdict: str


@dataclass(frozen=True)
class Validation:
    """`checks` is what their file was called, `rows` one for each of them; `reason` is one sentence."""

    checks: str
    passed: bool
    reason: str
    rows: tuple[Row, ...]


def to_json(validation: Validation) -> dict[str, Any]:
    return asdict(validation)


def from_json(value: Mapping[str, Any]) -> Validation:
    """Raises KeyError or TypeError for what is no validation."""
    rows = tuple(Row(**each) for each in value["rows"])
    return Validation(str(value["checks"]), bool(value["passed"]), str(value["reason"]), rows)


def as_text(validation: Validation, every: bool = False) -> str:
    """The reason, and under it a line for each check that failed or is worth a note, or for every one."""
    lines = [_HEAD, *(_cells(each) for each in _shown(validation, every))]
    if len(lines) == 1:
        return escaped(validation.reason)
    widths = [max(len(line[at]) for line in lines) for at in range(len(_HEAD))]
    text = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
    return "\n".join([escaped(validation.reason), "", *text])


def as_markdown(validation: Validation, every: bool = False) -> str:
    """The same for a pull request. Names and values come from the data: none of them is markup, or mentions anybody."""
    lines = [_HEAD, tuple("---" for _ in _HEAD), *(_cells(each) for each in _shown(validation, every))]
    if len(lines) == 2:
        return _unmarked(escaped(validation.reason))
    texts = ["| " + " | ".join(cell if cell == "---" else _unmarked(cell) for cell in line) + " |" for line in lines]
    return "\n".join([_unmarked(escaped(validation.reason)), "", *texts])


def _shown(validation: Validation, every: bool) -> tuple[Row, ...]:
    return tuple(each for each in validation.rows if every or each.verdict != "pass")


def _cells(row: Row) -> tuple[str, ...]:
    return tuple(_cut(each) for each in (row.column or "(table)", row.check, row.wanted, row.found, row.verdict))


def _cut(text: str) -> str:
    plain = escaped(text)
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"


def _unmarked(text: str) -> str:
    return _MARKS.sub(r"\\\1", text).replace("\\@", "@\u2060")  # a word joiner: nobody is called by it
