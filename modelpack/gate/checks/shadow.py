"""Mirrored requests: what both versions answered to the very same ones, joined by their id."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from modelpack.fields import Fields
from modelpack.gate.checks import told as tellings
from modelpack.gate.checks.check import Evidence, Need, Told, Value, Window
from modelpack.gate.checks.deciding import Question, Seen, Terms, Words
from modelpack.gate.checks.told import CANARY, PRIMARY
from modelpack.gate.statistics.counts import Bounds
from modelpack.gate.statistics.mean import FEWEST, SHARPEST, mixture
from modelpack.gate.statistics.share import share

DISAGREEMENT, DIFFERENCE = "disagreement", "difference"
WORST = 20

Both = tuple[Told, Told]


@dataclass(frozen=True)
class Shadow:
    """`disagreement`: rejects when a larger share of answers than the margin is further from the primary's than
    `tolerance` (in the prediction's unit; labels differ or don't). `difference`: rejects when canary minus primary is
    further from 0 than the margin, on the average. `min_sample` are requests that both answered.
    """

    type: ClassVar[str] = "shadow"
    compares: ClassVar[bool] = True
    terms: Terms
    statistic: str = DISAGREEMENT
    tolerance: float = 0.0
    unit: str = ""

    @classmethod
    def parse(cls, fields: Fields) -> Shadow:
        statistic = fields.choice("statistic", (DISAGREEMENT, DIFFERENCE), DISAGREEMENT)
        shares = statistic == DISAGREEMENT
        return cls(
            terms=Terms.parse(fields, highest=1.0 if shares else None),
            statistic=statistic,
            tolerance=fields.number("tolerance", 0.0, low=0) if shares else 0.0,
            unit=fields.text("unit", ""),
        )

    @property
    def name(self) -> str:
        return self.terms.name

    @property
    def alpha(self) -> float | None:
        return self.terms.alpha

    @property
    def needs(self) -> tuple[Need, ...]:
        return ()

    def description(self) -> dict[str, Any]:
        measures = "share of mirrored requests that the canary answers otherwise"
        return {
            "statistic": self.statistic,
            "measures": measures if self._shares else "canary minus primary, mean over mirrored requests",
            "share": self._shares,
            "counts": "mirrored requests",
            "unit": self.unit,
            "limit": self.tolerance if self._shares else None,
            **self.terms.description(),
        }

    def evaluate(self, window: Window) -> Evidence:
        told = tellings.distinct(window.told)
        found = tellings.judge(self.terms, self._words, window, told, self._measure)
        pairs = sorted(_joined(told), key=lambda pair: -_distance(pair))[:WORST]
        return replace(found, worst=tuple(_shown(pair) for pair in pairs if _distance(pair) > self.tolerance))

    @property
    def _shares(self) -> bool:
        return self.statistic == DISAGREEMENT

    def _measure(self, told: Sequence[Told], question: Question) -> Seen:
        pairs = _joined(told)
        return self._disagreeing(pairs, question) if self._shares else self._difference(pairs, question)

    def _disagreeing(self, pairs: Sequence[Both], question: Question) -> Seen:
        if not pairs:
            return Seen(None, 0, 0)
        n, bad = len(pairs), sum(_distance(pair) > self.tolerance for pair in pairs)
        low, high = share(bad, n, question.alpha)
        return Seen(_bounds(bad / n, low, high, math.nan, math.nan, question, n), n, n)

    def _difference(self, pairs: Sequence[Both], question: Question) -> Seen:
        rows = [(tellings.number(each.value), tellings.number(other.value)) for each, other in pairs]
        known = [(each, other) for each, other in rows if each is not None and other is not None]
        n = len(known)
        if len(rows) >= question.min_sample and n < len(rows) / 2:
            return Seen(None, n, n, f"{len(rows) - n:,} of {len(rows):,} mirrored requests got no numbers from both")
        if n < FEWEST:
            return Seen(None, n, n)
        differences = [each - other for each, other in known]
        mean = sum(differences) / n
        variance = sum((each - mean) ** 2 for each in differences) / (n - 1)
        # Howard et al. 2021, as in statistics.mean; either side may reject, so each gets half
        error = mixture(n, question.alpha / 2, SHARPEST * question.min_sample) * math.sqrt(variance / n)
        canary, primary = (sum(column) / n for column in zip(*known, strict=True))
        return Seen(_bounds(mean, mean - error, mean + error, canary, primary, question, n), n, n)

    @property
    def _words(self) -> Words:
        if self._shares:
            beyond = f" (more than {self._value(self.tolerance)} apart)" if self.tolerance else ""
            return Words(
                worse=f"too many requests get another answer from the canary than from the primary{beyond}",
                within=f"no more requests than allowed get another answer from the canary{beyond}",
                nothing=f"no request gets another answer from the canary{beyond}",
                say=self._say,
                difference=lambda value: f"{100 * value:.3g} %",
                things="mirrored requests",
            )
        return Words(
            worse="the canary's answers are shifted",
            within="the canary's answers are shifted by no more than allowed",
            nothing="no shift of the canary's answers was found",
            say=self._say,
            difference=self._value,
            things="mirrored requests",
        )

    def _say(self, bounds: Bounds, seen: Seen, question: Question) -> str:
        if self._shares:
            numbers = f"{100 * bounds.estimate:.3g} % of {seen.n:,} mirrored requests"
            span = f"between {100 * bounds.low:.3g} and {100 * bounds.high:.3g} %"
            return f"{numbers}, {span}" + (f"; at most {100 * question.margin:.3g} % may be" if question.margin else "")
        numbers = f"{self._signed(bounds.estimate)} on the average of {seen.n:,} mirrored requests"
        span = f"between {self._signed(bounds.low)} and {self._signed(bounds.high)}"
        return f"{numbers}, {span}" + (f"; {self._value(question.margin)} is allowed" if question.margin else "")

    def _value(self, value: float) -> str:
        return f"{value:.4g} {self.unit}".rstrip()

    def _signed(self, value: float) -> str:
        return f"{value + 0.0:+.3g} {self.unit}".rstrip()


def _bounds(
    estimate: float, low: float, high: float, canary: float, primary: float, question: Question, n: int
) -> Bounds:
    """Beyond the margin on either side rejects; a share has only one."""
    margin, low, high = question.margin, float(low), float(high)
    rejected = low > margin or high < -margin
    accepted = margin > 0 and n >= question.min_sample and -margin < low and high < margin
    return Bounds(estimate, low, high, canary, primary, rejected, accepted, detectable=None)


def _joined(told: Sequence[Told]) -> list[Both]:
    """(canary, primary) of each request that both answered."""
    primary = {each.id: each for each in told if each.role == PRIMARY}
    return [(each, primary[each.id]) for each in told if each.role == CANARY and each.id in primary]


def _distance(pair: Both) -> float:
    """How far two answers are apart: infinitely, if they are different labels or not of one kind."""
    numbers = [tellings.number(each.value) for each in pair]
    if numbers[0] is not None and numbers[1] is not None:
        return abs(numbers[0] - numbers[1])
    return 0.0 if tellings.word(pair[0].value) == tellings.word(pair[1].value) else math.inf


def _plain(value: Value) -> Value:
    """As JSON can have it."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _shown(pair: Both) -> dict[str, Any]:
    distance = _distance(pair)
    return {
        "id": pair[0].id,
        "segment": pair[0].segment,
        "expected": None,
        "canary": _plain(pair[0].value),
        "primary": _plain(pair[1].value),
        "error": distance if math.isfinite(distance) else "another answer",
    }
