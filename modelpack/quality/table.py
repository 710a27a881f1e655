"""An evaluation as a table: what stands in its cells, and the plain text of it for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from modelpack.quality.evaluation import Evaluation, Row
from modelpack.text import escaped

HEAD = ("", "metric", "rows", "old", "new", "difference", "interval", "")
NONE = "–"
_LONGEST = 60  # characters of a cell
_MOST_NOTES = 3


def as_text(evaluation: Evaluation) -> str:
    """The whole evaluation for people, without a final newline. What was measured on comes from outside: control
    characters in it are shown, not sent."""
    lines = [HEAD, *(cells(row) for row in evaluation.rows)]
    lines = [tuple(_printable(cell, _LONGEST) for cell in line) for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = "\n".join(_line(line, widths) for line in lines)
    told = [_printable(each, 300) for each in notes(evaluation)]
    reason = _printable(evaluation.reason, 2000)
    return "\n".join([_printable(title(evaluation), 300), "", text, "", reason, *(f"note: {each}" for each in told)])


def notes(evaluation: Evaluation) -> tuple[str, ...]:
    """What is to be known of rows that stopped nothing, each once: what was left out. Why a row failed is in the
    evaluation's own reason."""
    found = (f"{row.data}: {row.reason}" for row in evaluation.rows if row.reason and row.verdict != "fail")
    return tuple(dict.fromkeys(found))[:_MOST_NOTES]


def title(evaluation: Evaluation) -> str:
    """One line: the model, the versions, and how it went."""
    about = f"{evaluation.model or 'model'} {evaluation.version}".strip()
    old = f" against {evaluation.against}" if evaluation.against else ""
    verdict = "passed" if evaluation.passed else "not passed"
    return f"{about}{old}: {verdict} ({100 * evaluation.confidence:.4g} % intervals)"


def cells(row: Row) -> tuple[str, ...]:
    """The cells of a row, in the order of HEAD; names are as they came."""
    digits = _digits(row)
    interval = NONE
    if row.low is not None and row.high is not None:
        interval = f"{_signed(row.low, digits)} to {_signed(row.high, digits)}"
    return (
        f"{row.data}, {row.group}" if row.group else row.data,
        row.metric,
        str(row.n),
        _number(row.old, digits),
        _number(row.new, digits),
        NONE if row.difference is None else _signed(row.difference, digits),
        interval,
        row.verdict,
    )


def _digits(row: Row) -> int:
    """As many decimals as the difference's interval deserves, so that a line's numbers can be compared."""
    if row.low is not None and row.high is not None and row.high > row.low:
        size = row.high - row.low
    else:
        size = max(abs(each) for each in (row.old, row.new, 0.0) if each is not None) / 10
    return max(0, min(6, 1 - math.floor(math.log10(size)))) if 0 < size < math.inf else 3


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return NONE
    return f"{value:.3g}" if abs(value) >= 1e9 else f"{value:.{digits}f}"


def _signed(value: float, digits: int) -> str:
    text = f"{value:+.3g}" if abs(value) >= 1e9 else f"{value:+.{digits}f}"
    return text.replace("-", "−")


def _printable(text: str, longest: int) -> str:
    shown = escaped(text)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def _line(line: Sequence[str], widths: Sequence[int]) -> str:
    """Names to the left, numbers to the right."""
    left = (0, 1, len(line) - 1)
    parts = [
        cell.ljust(width) if place in left else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(parts).rstrip()
