"""Counting live traffic: slices of counters as the statistics want them, and how their numbers are said."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from modelpack.fields import Fields
from modelpack.gate.checks.check import Cells, Evidence, Slice, Window
from modelpack.gate.checks.deciding import Question, Scope, Seen, Terms, Words, decide
from modelpack.gate.selectors import Selector
from modelpack.gate.statistics.counts import Bounds, Counts

LONGEST = 4096  # characters of a query
Measure = Callable[[Sequence[Slice], Question], Seen]


def judge(terms: Terms, words: Words, window: Window, measure: Measure) -> Evidence:
    """The evidence of a check of counters; `measure` gets slices that are all over."""
    question, of_each = terms.questions(window.alpha)
    asked = [("", window.all, question)]
    if terms.segments:
        asked += [(name, slices, of_each) for name, slices in terms.segments.pick(window.slices).items()]
    # one that still grows would be looked at more often than alpha pays for
    over = [(name, [each for each in slices if each.whole], question) for name, slices, question in asked]
    scopes = [Scope(name, question, measure(slices, question)) for name, slices, question in over]
    return decide(terms, words, window, scopes)


def counts(slices: Sequence[Slice], total: Callable[[Cells], float], bad: Callable[[Cells], float]) -> list[Counts]:
    """Requests and bad ones of each slice.

    Counters are read one after the other, so that a slice may have seen a bad request and not yet the request: what is
    more than all waits for the next slice.
    """
    found, ahead = [], [0.0, 0.0]
    for each in slices:
        totals, known = (total(each.canary), total(each.primary)), (bad(each.canary), bad(each.primary))
        among = [min(ahead[role] + known[role], totals[role]) for role in (0, 1)]
        ahead = [ahead[role] + known[role] - among[role] for role in (0, 1)]
        found.append(Counts(totals[0], among[0], totals[1], among[1], each.end))
    return found


def sample(slices: Sequence[Slice], total: Callable[[Cells], float]) -> tuple[int, int]:
    """(canary requests, primary requests)."""
    return round(sum(total(each.canary) for each in slices)), round(sum(total(each.primary) for each in slices))


def seen(found: Bounds | None, slices: Sequence[Slice], total: Callable[[Cells], float]) -> Seen:
    """The bounds, and of how many requests they are."""
    n, n_primary = sample(slices, total)
    if found and found.n is not None and found.n_primary is not None:
        n, n_primary = found.n, found.n_primary
    return Seen(found, n, n_primary)


def selector(fields: Fields, key: str) -> Selector:
    """A selector of gate.yaml; raises InputError with file and line."""
    return Selector.parse(fields.text(key), lambda problem: fields.error(key, problem))


def query(fields: Fields) -> str:
    """PromQL, whose placeholders are known; raises InputError."""
    text = fields.text("query").strip()
    if not 0 < len(text) <= LONGEST:
        raise fields.error("query", f"is empty or longer than {LONGEST} characters")
    Selector.check_text(text, lambda problem: fields.error("query", problem))
    return text


def overdispersion(fields: Fields) -> float | None:
    """`overdispersion`: 1 if each request is routed by itself, a number above it, or auto (None: the slices tell)."""
    if fields.is_text("overdispersion") and fields.value("overdispersion") == "auto":
        fields.skip("overdispersion")
        return None
    return fields.number("overdispersion", 1.0, low=1, high=1000)


def percent(share: float) -> str:
    return f"{100 * share + 0.0:.3g} %"


def points(share: float) -> str:
    said = signed(100 * share)
    return f"{said} point" if said in ("+1", "-1") else f"{said} points"


def signed(value: float) -> str:
    """A difference; what rounding leaves of none is none."""
    return f"{round(value, 9) + 0.0:+.3g}"


def between(low: float, high: float, show: Callable[[float], str]) -> str:
    """An interval, which may be open at one end or both."""
    if math.isfinite(low) and math.isfinite(high):
        return f"between {show(low)} and {show(high)}"
    if math.isfinite(low):
        return f"between {show(low)} and unknown"
    return f"between unknown and {show(high)}" if math.isfinite(high) else "no bounds yet"


def shares(bounds: Bounds, seen: Seen, question: Question) -> str:
    """Two shares of requests side by side, their difference and what is allowed."""
    primary = f"{percent(bounds.primary)} of the primary's {seen.n_primary:,}"
    span = between(bounds.low, bounds.high, lambda each: signed(100 * each))
    allowed = f", the margin is {points(question.margin)}" if question.margin else ""
    return f"{percent(bounds.canary)} of {seen.n:,} requests, {primary}: {points(bounds.estimate)}, {span}{allowed}"
