"""The mean of any number that comes of a request, canary against primary: revenue, a score, the length of an answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from modelpack.fields import Fields
from modelpack.gate.checks import traffic
from modelpack.gate.checks.check import Cells, Evidence, Need, Slice, Window
from modelpack.gate.checks.deciding import Question, Seen, Terms, Words
from modelpack.gate.selectors import Selector
from modelpack.gate.statistics.counts import Bounds
from modelpack.gate.statistics.mean import Batch, compare

SUM, COUNT, SQUARES = "sum", "count", "squares"
HIGHER, LOWER = "higher", "lower"


@dataclass(frozen=True)
class Mean:
    """Rejects when the canary's mean is worse by more than the margin, which is in the number's unit.

    `squares` counts the squares of the numbers, from which their spread is known; without it, the spread is that of the
    slices' means. `low` and `high` are what a single number can be at least and at most.
    """

    type: ClassVar[str] = "mean"
    compares: ClassVar[bool] = True
    terms: Terms
    sum: Selector
    count: Selector
    squares: Selector | None
    better: str
    low: float | None = None
    high: float | None = None
    unit: str = ""

    @classmethod
    def parse(cls, fields: Fields) -> Mean:
        found = cls(
            terms=Terms.parse(fields),
            sum=traffic.selector(fields, SUM),
            count=traffic.selector(fields, COUNT),
            squares=traffic.selector(fields, SQUARES) if SQUARES in fields else None,
            better=fields.choice("better", (HIGHER, LOWER)),
            low=fields.number("low") if "low" in fields else None,
            high=fields.number("high") if "high" in fields else None,
            unit=fields.text("unit", ""),
        )
        if (found.low is None) != (found.high is None):
            given = "high" if found.low is None else "low"
            raise fields.error(given, "bounds have two ends", "write low and high, or neither")
        if found.low is not None and found.high is not None and found.low >= found.high:
            raise fields.error("low", f"{found.low:g} is not below high, {found.high:g}")
        return found

    @property
    def name(self) -> str:
        return self.terms.name

    @property
    def alpha(self) -> float | None:
        return self.terms.alpha

    @property
    def needs(self) -> tuple[Need, ...]:
        cells = ((COUNT, self.count), (SUM, self.sum), (SQUARES, self.squares))
        return tuple(Need(cell, one, by=self.terms.label) for cell, one in cells if one)

    def evaluate(self, window: Window) -> Evidence:
        return traffic.judge(self.terms, self._words, window, self._measure)

    def description(self) -> dict[str, Any]:
        measures = {"statistic": "mean", "measures": "mean", "share": False, "better": self.better}
        return {**measures, "unit": self.unit, "limit": None, **self.terms.description()}

    def _measure(self, slices: Sequence[Slice], question: Question) -> Seen:
        found = compare(
            [self._batch(each) for each in slices],
            margin=question.margin,
            alpha=question.alpha,
            min_sample=question.min_sample,
            span=None if self.low is None or self.high is None else self.high - self.low,
        )
        if found and self.better == HIGHER:
            found = _turned(found)
        return traffic.seen(found, slices, _count)

    def _batch(self, each: Slice) -> Batch:
        """To the statistics, higher is worse."""
        sign = -1.0 if self.better == HIGHER else 1.0
        canary, primary = (
            (_count(cells), sign * cells.get(SUM, 0.0), cells.get(SQUARES, 0.0) if self.squares else math.nan)
            for cells in (each.canary, each.primary)
        )
        return Batch(*canary, *primary)

    @property
    def _words(self) -> Words:
        worse = LOWER if self.better == HIGHER else HIGHER
        return Words(
            worse=f"the canary's mean is {worse}",
            within=f"the canary's mean is no {worse} than allowed",
            nothing=f"the canary's mean was not found to be {worse}",
            say=self._say,
            difference=lambda value: self._difference(value if self.better == LOWER else -value),
        )

    def _say(self, bounds: Bounds, seen: Seen, question: Question) -> str:
        primary = f"{self._value(bounds.primary)} of the primary's {seen.n_primary:,}"
        span = traffic.between(bounds.low, bounds.high, self._difference)
        allowed = f", the margin is {self._words.difference(question.margin)}" if question.margin else ""
        numbers = f"{self._value(bounds.canary)} of {seen.n:,} requests, {primary}"
        return f"{numbers}: {self._difference(bounds.estimate)}, {span}{allowed}"

    def _value(self, value: float) -> str:
        return f"{value:.4g} {self.unit}".rstrip()

    def _difference(self, value: float) -> str:
        return f"{traffic.signed(value)} {self.unit}".rstrip()


def _turned(found: Bounds) -> Bounds:
    """What was said of the negative, of the number itself."""
    return replace(
        found,
        estimate=-found.estimate,
        low=-found.high,
        high=-found.low,
        canary=-found.canary,
        primary=-found.primary,
    )


def _count(cells: Cells) -> float:
    return cells.get(COUNT, 0.0)
