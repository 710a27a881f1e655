"""How long answers take, canary against primary, from a histogram.

Either the share of answers slower than one of its bounds, or a quantile: the time within which so many of the answers
came, of which a histogram only knows between which two bounds it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from modelpack.fields import Fields
from modelpack.gate.checks import histogram as buckets
from modelpack.gate.checks import traffic
from modelpack.gate.checks.check import HISTOGRAM, Evidence, Need, Slice, Window
from modelpack.gate.checks.deciding import Question, Seen, Terms, Words
from modelpack.gate.selectors import Selector
from modelpack.gate.statistics import counts, quantile
from modelpack.gate.statistics.counts import Bounds


@dataclass(frozen=True)
class Latency:
    """Rejects when the canary is slower by more than the margin.

    With `threshold`, a bound of the histogram in its unit, the margin is a share of answers: 0.05 lets five more of a
    hundred be slower. With `quantile`, 0.99 for the 99th percentile, it is a time in the histogram's unit.
    """

    type: ClassVar[str] = "latency"
    compares: ClassVar[bool] = True
    terms: Terms
    histogram: Selector
    threshold: float | None = None
    quantile: float | None = None
    unit: str = ""
    overdispersion: float | None = 1.0

    @classmethod
    def parse(cls, fields: Fields) -> Latency:
        if ("quantile" in fields) == ("threshold" in fields):
            if "quantile" not in fields:
                raise fields.error("type", "one of quantile and threshold is missing")
            raise fields.error("quantile", "either quantile or threshold is needed, not both")
        slower = "threshold" in fields
        return cls(
            terms=Terms.parse(fields, highest=1.0 if slower else None),
            histogram=traffic.selector(fields, "histogram"),
            threshold=fields.number("threshold", low=0) if slower else None,
            quantile=None if slower else fields.number("quantile", low=0.01, high=0.9999),
            unit=fields.text("unit", ""),
            overdispersion=traffic.overdispersion(fields) if slower else 1.0,
        )

    @property
    def name(self) -> str:
        return self.terms.name

    @property
    def alpha(self) -> float | None:
        return self.terms.alpha

    @property
    def needs(self) -> tuple[Need, ...]:
        return (Need("histogram", self.histogram, HISTOGRAM, by=self.terms.label),)

    def evaluate(self, window: Window) -> Evidence:
        measure = self._times if self.threshold is None else self._slower
        return traffic.judge(self.terms, self._words, window, measure)

    def description(self) -> dict[str, Any]:
        if self.threshold is None:
            q = 100 * (self.quantile or 0.0)
            measures = {"statistic": f"p{q:g}", "measures": f"time within which {q:g} % of answers come"}
        else:
            measures = {"statistic": "slower-than", "measures": f"share of {self._slow}"}
        unit = {"share": self.threshold is not None, "unit": self.unit, "limit": self.threshold}
        return {**measures, **unit, **self.terms.description()}

    @property
    def _slow(self) -> str:
        return f"answers slower than {self._time(self.threshold or 0.0)}"

    @property
    def _words(self) -> Words:
        if self.threshold is None:
            return Words(
                worse="the canary is slower",
                within="the canary is no slower than allowed",
                nothing="the canary was not found to be slower",
                say=self._say,
                difference=self._difference,
            )
        return Words(
            worse=f"the canary has more {self._slow}",
            within=f"the share of {self._slow} is no worse than allowed",
            nothing=f"the canary was not found to have more {self._slow}",
            say=traffic.shares,
            difference=traffic.points,
        )

    def _slower(self, slices: Sequence[Slice], question: Question) -> Seen:
        n = traffic.sample(slices, buckets.total)
        threshold = self.threshold or 0.0
        problem = buckets.problem(slices, self.histogram, threshold)
        if problem:
            return Seen(None, *n, problem)
        rows = traffic.counts(slices, buckets.total, lambda cells: buckets.slower(cells, threshold))
        asked = {"margin": question.margin, "alpha": question.alpha}
        found = counts.compare(rows, min_sample=question.min_sample, overdispersion=self.overdispersion, **asked)
        return traffic.seen(found, slices, buckets.total)

    def _times(self, slices: Sequence[Slice], question: Question) -> Seen:
        n = traffic.sample(slices, buckets.total)
        problem = buckets.problem(slices, self.histogram)
        if problem:
            return Seen(None, *n, problem)
        canary, primary = (buckets.buckets([getattr(each, role) for each in slices]) for role in ("canary", "primary"))
        rows = [quantile.Buckets(*pair) for pair in zip(canary, primary, strict=True)]
        found = quantile.compare(
            rows, self.quantile or 0.0, margin=question.margin, alpha=question.alpha, min_sample=question.min_sample
        )
        return Seen(found, *n)

    def _say(self, bounds: Bounds, seen: Seen, question: Question) -> str:
        primary = f"of the primary's {seen.n_primary:,} at most {self._time(bounds.primary)}"
        span = traffic.between(bounds.low, bounds.high, self._difference)
        allowed = f", the margin is {self._difference(question.margin)}" if question.margin else ""
        canary = f"{100 * (self.quantile or 0.0):g} % of {seen.n:,} answers took at most {self._time(bounds.canary)}"
        return f"{canary}, {primary}: {self._difference(bounds.estimate)}, {span}{allowed}"

    def _time(self, value: float) -> str:
        return f"{value:.4g} {self.unit}".rstrip()

    def _difference(self, value: float) -> str:
        return f"{traffic.signed(value)} {self.unit}".rstrip()
