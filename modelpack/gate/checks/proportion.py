"""The share of bad requests, canary against primary: errors, timeouts, fallbacks, whatever two counters can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from modelpack.fields import Fields
from modelpack.gate.checks import traffic
from modelpack.gate.checks.check import Cells, Evidence, Need, Slice, Window
from modelpack.gate.checks.deciding import Question, Seen, Terms, Words
from modelpack.gate.selectors import Selector
from modelpack.gate.statistics.counts import compare

TOTAL, BAD = "total", "bad"


@dataclass(frozen=True)
class Proportion:
    """Rejects when the canary's share is higher by more than the margin, a share: 0.01 lets it be a point worse.

    `overdispersion` is by how much counts vary more than those of requests routed one by one, None asks the slices.
    """

    type: ClassVar[str] = "proportion"
    compares: ClassVar[bool] = True
    terms: Terms
    total: Selector
    bad: Selector
    overdispersion: float | None = 1.0

    @classmethod
    def parse(cls, fields: Fields) -> Proportion:
        return cls(
            terms=Terms.parse(fields, highest=1.0),
            total=traffic.selector(fields, TOTAL),
            bad=traffic.selector(fields, BAD),
            overdispersion=traffic.overdispersion(fields),
        )

    @property
    def name(self) -> str:
        return self.terms.name

    @property
    def alpha(self) -> float | None:
        return self.terms.alpha

    @property
    def needs(self) -> tuple[Need, ...]:
        by = self.terms.label
        return Need(TOTAL, self.total, by=by), Need(BAD, self.bad, by=by)

    def evaluate(self, window: Window) -> Evidence:
        return traffic.judge(self.terms, _WORDS, window, self._measure)

    def description(self) -> dict[str, Any]:
        measures = {"statistic": "errors", "measures": "share of bad requests", "share": True}
        return {**measures, "unit": "", "limit": None, **self.terms.description()}

    def _measure(self, slices: Sequence[Slice], question: Question) -> Seen:
        found = compare(
            traffic.counts(slices, _total, _bad),
            margin=question.margin,
            alpha=question.alpha,
            min_sample=question.min_sample,
            overdispersion=self.overdispersion,
        )
        return traffic.seen(found, slices, _total)


def _total(cells: Cells) -> float:
    return cells.get(TOTAL, 0.0)


def _bad(cells: Cells) -> float:
    return cells.get(BAD, 0.0)


_WORDS = Words(
    worse="the canary has more bad requests",
    within="the share of bad requests is no worse than allowed",
    nothing="the canary was not found to have more bad requests",
    say=traffic.shares,
    difference=traffic.points,
)
