"""Canary against primary on live traffic: is the share of bad requests higher by more than the margin?

`errors` counts the series of `bad` among those of `total`; `slower-than` counts a histogram's observations above one of
its bucket bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from modelpack.fields import Fields
from modelpack.gate import verdict
from modelpack.gate.checks.check import Evidence, Window
from modelpack.gate.selectors import Selector
from modelpack.gate.sequential import Bounds, difference

ERRORS = "errors"
SLOWER = "slower-than"
SHARPEST = 2  # times the minimum sample: where benchmarks/gate.py found the best balance of early and late verdicts


@dataclass(frozen=True)
class Comparison:
    """Accepts when the whole interval is below the margin, rejects when it is above.

    `margin` is a share: 0.02 lets the canary be two points worse. `min_sample` are canary requests before any
    acceptance. `threshold` is in the histogram's unit.
    """

    type: ClassVar[str] = "comparison"
    name: str
    statistic: str
    total: Selector
    bad: Selector | None
    threshold: float | None
    margin: float
    min_sample: int
    alpha: float | None = None
    unit: str = ""

    @classmethod
    def parse(cls, fields: Fields) -> Comparison:
        statistic = fields.choice("statistic", [ERRORS, SLOWER])
        slower = statistic == SLOWER
        fields.skip("alpha")
        return cls(
            name=fields.text("name"),
            statistic=statistic,
            total=_selector(fields, "histogram" if slower else "total"),
            bad=None if slower else _selector(fields, "bad"),
            threshold=fields.number("threshold", low=0) if slower else None,
            margin=fields.number("margin", low=0, high=1),
            min_sample=fields.integer("min_sample", low=1),
            alpha=fields.number("alpha", low=1e-6, high=0.5) if "alpha" in fields else None,
            unit=fields.text("unit", ""),
        )

    def description(self) -> dict[str, Any]:
        return {
            "statistic": self.statistic,
            "unit": self.unit,
            "limit": self.threshold,
            "margin": self.margin,
            "min_sample": self.min_sample,
        }

    def evaluate(self, window: Window) -> Evidence:
        found = difference(window.strata, margin=self.margin, alpha=window.alpha, sharpest=SHARPEST * self.min_sample)
        n = int(sum(each.canary_total for each in window.strata))
        n_primary = int(sum(each.primary_total for each in window.strata))
        given, reason = self._judge(found, n, window)
        if found is None:
            return Evidence(given, reason, n=n, n_primary=n_primary)
        return Evidence(
            given,
            reason,
            estimate=found.estimate,
            low=found.low,
            high=found.high,
            n=n,
            canary=found.canary,
            primary=found.primary,
            n_primary=n_primary,
        )

    def _judge(self, found: Bounds | None, n: int, window: Window) -> tuple[str, str]:
        allowed = f"{100 * self.margin:.3g} points are allowed"
        so_far = f"{_points(found)}, {allowed}" if found else allowed
        if window.rollback:
            return verdict.ACCEPT, f"a person asked to go back to this version; seen: {so_far} (n {n})"
        if found and found.low > self.margin:
            return verdict.REJECT, f"the canary has more {self._what()}: {so_far} (n {n})"
        if window.unreachable:
            return verdict.HOLD, f"the metrics cannot be read: {window.unreachable}"
        if found and found.high < self.margin and n >= self.min_sample:
            return verdict.ACCEPT, f"the share of {self._what()} is no worse than allowed: {so_far} (n {n})"
        if window.silent >= window.patience:
            return verdict.HOLD, f"no request has reached the canary for {window.silent:.0f} s"
        if n < self.min_sample:
            return verdict.UNDECIDED, f"{n} of at least {self.min_sample} canary requests seen; {so_far}"
        return verdict.UNDECIDED, f"the interval is still too wide: {so_far} (n {n})"

    def _what(self) -> str:
        return "errors" if self.threshold is None else f"answers slower than {self.threshold:g} {self.unit}".rstrip()


def _points(found: Bounds) -> str:
    return f"{100 * found.estimate:+.2f} points ({100 * found.low:+.2f} to {100 * found.high:+.2f})"


def _selector(fields: Fields, key: str) -> Selector:
    text = fields.text(key)
    return Selector.parse(text, lambda problem: fields.error(key, problem))
