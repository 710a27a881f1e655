"""The quality gate's table as Markdown: what a pull request's reader decides by.

Model, segment and class names come from the data and from whoever trained the model; they are shown as plain text.
"""

from __future__ import annotations

from modelpack.gitops.report import LONGEST, plain
from modelpack.quality.evaluation import Evaluation, Row
from modelpack.quality.table import HEAD, cells, notes

_VERDICTS = {"pass": "✅", "fail": "❌"}


def markdown(evaluation: Evaluation) -> str:
    """Verdict, reason and table, LONGEST characters at most; where there is no room for all rows, those over all data
    and those that failed come first. Ends without a newline."""
    old = plain(evaluation.against, 100) or "no current model"
    verdict = "✅ passed" if evaluation.passed else "❌ not passed"
    lines = [
        f"**Quality gate: {verdict}**: {plain(evaluation.reason, 1000)}",
        "",
        f"{plain(evaluation.version, 100) or 'The candidate'} against {old}, on the same rows; "
        f"paired intervals of {100 * evaluation.confidence:.4g} % confidence. "
        "Segments and classes stop a model only where they are shown to be worse.",
        "",
        f"| {' | '.join(each.capitalize() for each in HEAD)} |",
        "|:--|:--|--:|--:|--:|--:|--:|:--|",
    ]
    room = LONGEST - sum(map(len, lines)) - 1000
    order = sorted(range(len(evaluation.rows)), key=lambda place: _rank(evaluation.rows[place]))
    kept = {}
    for place in order:
        text = _line(evaluation.rows[place])
        room -= len(text) + 1
        if room < 0:
            break
        kept[place] = text
    more = len(evaluation.rows) - len(kept)
    lines += [kept[place] for place in sorted(kept)]
    lines += [f"| and {more} more | | | | | | | |"] if more else []
    told = [f"Note: {plain(each, 200)}." for each in notes(evaluation)]
    return "\n".join([*lines, *([""] if told else []), *told])


def _rank(row: Row) -> int:
    return 0 if not row.group else 1 if row.verdict == "fail" else 2


def _line(row: Row) -> str:
    *shown, verdict = (plain(cell, 100) for cell in cells(row))
    return f"| {' | '.join(shown)} | {_VERDICTS.get(verdict, '')} |"
