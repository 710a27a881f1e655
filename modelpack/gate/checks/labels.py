"""How right both versions were, by the labels that came in later.

Labels come late, and the young predictions of a canary wait for more of them than the primary's. So only predictions
of the same stretch of time are compared, and `statistics.mean` stays valid in whatever order labels come. Each metric
is taken as a mean: rmse, r, as that of (e^2 + r^2) / 2r (the delta method), bias as that of errors with its own sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from modelpack.fields import Fields
from modelpack.gate.checks import told as tellings
from modelpack.gate.checks.check import Evidence, Need, Told, Window
from modelpack.gate.checks.deciding import Question, Seen, Terms, Words
from modelpack.gate.checks.told import CANARY, PRIMARY
from modelpack.gate.statistics.counts import Bounds
from modelpack.gate.statistics.mean import batches, compare

METRICS = {
    "accuracy": "share of right predictions",
    "mae": "mean absolute error",
    "rmse": "root of the mean squared error",
    "bias": "size of the mean error",
}
_MOST_UNUSABLE = 0.5  # of a version's labelled predictions


@dataclass(frozen=True)
class Labels:
    """Rejects when the canary's metric is worse by more than the margin: a share for accuracy, else in the prediction's
    unit. `min_sample` are labelled predictions of the canary."""

    type: ClassVar[str] = "labels"
    compares: ClassVar[bool] = True
    terms: Terms
    metric: str
    unit: str = ""

    @classmethod
    def parse(cls, fields: Fields) -> Labels:
        metric = fields.choice("metric", list(METRICS))
        terms = Terms.parse(fields, highest=1.0 if metric == "accuracy" else None)
        return cls(terms, metric, fields.text("unit", ""))

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
        measures = {"statistic": self.metric, "measures": f"{METRICS[self.metric]}, by late labels"}
        return {
            **measures,
            "share": self.metric == "accuracy",
            "better": "higher" if self.metric == "accuracy" else "lower",
            "counts": "labels",
            "unit": self.unit,
            "limit": None,
            **self.terms.description(),
        }

    def evaluate(self, window: Window) -> Evidence:
        told = tellings.distinct(window.told)
        found = tellings.judge(self.terms, self._words, window, told, self._measure)
        return replace(found, reason=f"{found.reason}; {self._coverage(told)}")

    def _measure(self, told: Sequence[Told], question: Question) -> Seen:
        known = {role: [each for each in told if each.role == role and self._labelled(each)] for role in _ROLES}
        rows = {role: [each for each in several if self._usable(each)] for role, several in known.items()}
        n, n_primary = len(rows[CANARY]), len(rows[PRIMARY])
        for role in _ROLES:
            unusable = len(known[role]) - len(rows[role])
            if len(known[role]) >= question.min_sample and unusable > _MOST_UNUSABLE * len(known[role]):
                problem = f"{unusable:,} of the {role}'s {len(known[role]):,} labelled predictions are no numbers"
                return Seen(None, n, n_primary, f"{problem} that {self.metric} can use")
        canary, primary = (self._influences(rows[role]) for role in _ROLES)
        # the sign of a mean is chosen by looking at it, so that either of two may be wrong
        alpha = question.alpha / 2 if self.metric == "bias" else question.alpha
        span = 1.0 if self.metric == "accuracy" else None
        found = compare(
            batches(canary, primary), margin=question.margin, alpha=alpha, min_sample=question.min_sample, span=span
        )
        return Seen(_as_accuracy(found) if found and self.metric == "accuracy" else found, n, n_primary)

    def _labelled(self, each: Told) -> bool:
        """Whether its label can be used: one that cannot is nobody's error."""
        return each.truth is not None and (self.metric == "accuracy" or tellings.number(each.truth) is not None)

    def _usable(self, each: Told) -> bool:
        return self.metric == "accuracy" or tellings.number(each.value) is not None

    def _influences(self, rows: Sequence[Told]) -> list[tuple[float, float]]:
        """(how much each prediction adds to what is worse, t), so that its mean is the metric."""
        if self.metric == "accuracy":
            return [(float(tellings.word(each.value) != tellings.word(each.truth or "")), each.t) for each in rows]
        errors = [(tellings.number(each.value) or 0.0) - (tellings.number(each.truth) or 0.0) for each in rows]
        if self.metric == "mae":
            values = [abs(each) for each in errors]
        elif self.metric == "bias":
            sign = 1.0 if sum(errors) >= 0 else -1.0
            values = [sign * each for each in errors]
        else:
            root = (sum(each**2 for each in errors) / max(1, len(errors))) ** 0.5
            values = [(each**2 + root**2) / (2 * root) if root else 0.0 for each in errors]
        return [(value, each.t) for value, each in zip(values, rows, strict=True)]

    @property
    def _words(self) -> Words:
        return Words(
            worse=f"the canary's {METRICS[self.metric]} is worse",
            within=f"the canary's {METRICS[self.metric]} is no worse than allowed",
            nothing=f"the canary's {METRICS[self.metric]} was not found to be worse",
            say=self._say,
            difference=lambda value: self._difference(-value if self.metric == "accuracy" else value),
            things="labelled predictions",
        )

    def _say(self, bounds: Bounds, seen: Seen, question: Question) -> str:
        numbers = f"{self._value(bounds.canary)} of {seen.n:,} labelled predictions"
        beside = f"{self._value(bounds.primary)} of the primary's {seen.n_primary:,}"
        span = f"between {self._difference(bounds.low)} and {self._difference(bounds.high)}"
        worst = self._difference(-question.margin if self.metric == "accuracy" else question.margin)
        allowed = f"; at most {worst} is allowed" if question.margin else ""
        return f"{numbers}, {beside}: {self._difference(bounds.estimate)}, {span}{allowed}"

    def _value(self, value: float) -> str:
        return f"{100 * value:.3g} %" if self.metric == "accuracy" else f"{value:.4g} {self.unit}".rstrip()

    def _difference(self, value: float) -> str:
        if self.metric == "accuracy":
            return f"{100 * value + 0.0:+.3g} points"
        return f"{value + 0.0:+.3g} {self.unit}".rstrip()

    def _coverage(self, told: Sequence[Told]) -> str:
        """Of how many predictions the label has come."""
        said = []
        for role in _ROLES:
            own = [each for each in told if each.role == role]
            said.append(f"{sum(each.truth is not None for each in own):,} of {len(own):,} of the {role}")
        return f"labels so far: {', '.join(said)}"


_ROLES = (CANARY, PRIMARY)


def _as_accuracy(found: Bounds) -> Bounds:
    """What was said of the share of wrong predictions, of the share of right ones."""
    return replace(
        found,
        estimate=-found.estimate,
        low=-found.high,
        high=-found.low,
        canary=1 - found.canary,
        primary=1 - found.primary,
    )
