"""Whether the canary's predictions, or a feature that it was asked about, are distributed otherwise than before.

Drift is a distance beyond a limit that is no chance either: `statistics.distribution` asks both, at sample sizes that
double, so that a canary without drift is rejected with a probability of at most alpha however often one looks. There is
nothing to accept before the horizon is over: a drift may still come.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from modelpack.errors import InputError
from modelpack.fields import Fields
from modelpack.gate.checks import told as tellings
from modelpack.gate.checks import traffic
from modelpack.gate.checks.binning import FILE, Reference, Scale, read_reference
from modelpack.gate.checks.check import HISTOGRAM, Bins, Evidence, Need, Slice, Told, Window
from modelpack.gate.checks.deciding import Question, Seen, Terms, Words
from modelpack.gate.checks.histogram import ALL, problem
from modelpack.gate.checks.told import CANARY, PRIMARY
from modelpack.gate.selectors import Selector
from modelpack.gate.statistics.counts import Bounds
from modelpack.gate.statistics.distribution import STATISTICS, Change, changed

REFERENCE = "reference"
SLOTS = 100  # stretches of the horizon that told predictions are counted in; the first ones are short
_WORDS = {
    "psi": "population stability index",
    "jensen-shannon": "Jensen-Shannon divergence in bits",
    "ks": "largest distance of the cumulative shares",
    "chi-square": "Cramér's V",
}

Counts = tuple[float, ...]
Rows = list[tuple[Counts, Counts]]  # (canary, what it is held against) by slice


@dataclass(frozen=True)
class Drift:
    """Rejects when `statistic` is above `limit` and above what chance gives.

    The values are those of `histogram`, or the predictions that servers told of. `against` is the primary, or the
    distribution `key` of reference.json. The first look is at `min_sample` values of the canary.
    """

    type: ClassVar[str] = "drift"
    compares: ClassVar[bool] = True
    terms: Terms
    statistic: str
    limit: float
    histogram: Selector | None = None
    against: str = PRIMARY
    key: str = ""
    reference: Reference | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Drift:
        predictions = fields.flag("predictions")
        if not predictions and "histogram" not in fields:
            raise fields.error("type", "one of histogram and predictions: true is missing")
        if predictions and "histogram" in fields:
            raise fields.error("predictions", "either histogram or predictions: true is needed, not both")
        terms = Terms.parse(fields, compares=False)
        against = fields.choice("against", (PRIMARY, REFERENCE), PRIMARY)
        return cls(
            terms=replace(terms, margin=0.0),
            statistic=fields.choice("statistic", list(STATISTICS), "psi"),
            limit=fields.number("limit", low=0),
            histogram=None if predictions else traffic.selector(fields, "histogram"),
            against=against,
            key=fields.text("reference", terms.name) if against == REFERENCE else "",
        )

    @property
    def name(self) -> str:
        return self.terms.name

    @property
    def alpha(self) -> float | None:
        return self.terms.alpha

    @property
    def needs(self) -> tuple[Need, ...]:
        return (Need("histogram", self.histogram, HISTOGRAM, by=self.terms.label),) if self.histogram else ()

    def with_files(self, files: Mapping[str, bytes], folder: str) -> Drift:
        """The check with its reference, if it needs one; raises InputError."""
        if self.against != REFERENCE:
            return self
        if FILE not in files:
            raise InputError(f"{folder}/{FILE}", "there is no such file", f"check {self.name!r} needs it")
        found = read_reference(files[FILE], f"{folder}/{FILE}", self.key)
        if self.histogram and not found.scale.bounds:
            raise InputError(f"{folder}/{FILE}", f"{self.key} has categories", "a histogram needs bounds")
        return replace(self, reference=found)

    def description(self) -> dict[str, Any]:
        return {
            "statistic": self.statistic,
            "measures": f"{_WORDS[self.statistic]} of the {self._values}, against the {self.against}",
            "unit": "",
            "share": False,
            "counts": self._things,
            "limit": self.limit,
            **self.terms.description(),
            "margin": None,
        }

    def evaluate(self, window: Window) -> Evidence:
        if self.histogram:
            found = traffic.judge(self.terms, self._words, window, self._buckets)
            scale = self._scale_of([each for each in window.all if each.whole])
            rows = self._rows([each for each in window.all if each.whole], scale)
        else:
            told = tellings.distinct(window.told)
            scale = self.reference.scale if self.reference else self._scale(told)
            over = [each for each in told if _end(each.t) <= window.elapsed]

            def measure(own: Sequence[Told], question: Question) -> Seen:
                return self._measure(self._stretches(own, scale), scale, question)

            found = tellings.judge(self.terms, self._words, window, over, measure)
            rows = self._stretches(over, scale)
        return replace(found, bins=self._bins(rows, scale))

    def _measure(self, rows: Rows, scale: Scale, question: Question) -> Seen:
        n, beside = round(sum(sum(each) for each, _ in rows)), round(sum(sum(other) for _, other in rows))
        if self.reference:
            beside = round(sum(self.reference.counts))
        if not any(sum(each) and sum(other) for each, other in rows):  # only what came at the same time is compared
            return Seen(None, n, beside)
        if self.statistic == "ks" and not scale.bounds:
            return Seen(None, n, beside, "ks compares numbers, and these are categories: use psi or chi-square")
        found = changed(
            rows,
            statistic=self.statistic,
            limit=self.limit,
            alpha=question.alpha,
            min_sample=question.min_sample,
            reference=self.reference is not None,
        )
        return Seen(_bounds(found), n, beside)

    # -- a histogram

    def _buckets(self, slices: Sequence[Slice], question: Question) -> Seen:
        assert self.histogram is not None
        wrong = problem(slices, self.histogram)
        scale = self._scale_of(slices)
        if self.reference and slices and not wrong:
            here = _known(slices)
            missing = [f"{each:g}" for each in scale.bounds if here and f"{each:g}" not in here]
            if missing:
                wrong = f"{', '.join(missing[:4])} of {FILE} is no bound of {self.histogram.metric}"
        return Seen(None, 0, 0, wrong) if wrong else self._measure(self._rows(slices, scale), scale, question)

    def _scale_of(self, slices: Sequence[Slice]) -> Scale:
        if self.reference:
            return self.reference.scale
        return Scale(bounds=tuple(sorted(float(each) for each in _known(slices) if each != ALL)))

    def _rows(self, slices: Sequence[Slice], scale: Scale) -> Rows:
        fixed = self.reference.counts if self.reference else None
        return [(scale.of_buckets(each.canary), fixed or scale.of_buckets(each.primary)) for each in slices]

    # -- predictions that were told

    def _scale(self, told: Sequence[Told]) -> Scale:
        """From the primary's first ones, so that bins stay what they are while more come."""
        first = [each.value for each in told if each.role == PRIMARY][: self.terms.min_sample]
        return Scale.of(first)

    def _stretches(self, told: Sequence[Told], scale: Scale) -> Rows:
        found: dict[float, dict[str, list[Any]]] = {}
        for each in told:
            found.setdefault(_end(each.t), {CANARY: [], PRIMARY: []})[each.role].append(each.value)
        fixed = self.reference.counts if self.reference else None
        return [(scale.count(found[end][CANARY]), fixed or scale.count(found[end][PRIMARY])) for end in sorted(found)]

    # -- words

    @property
    def _values(self) -> str:
        return f"values of {self.histogram.metric}" if self.histogram else "predictions"

    @property
    def _things(self) -> str:
        return "values" if self.histogram else "predictions"

    @property
    def _words(self) -> Words:
        return Words(
            worse=f"the canary's {self._values} are distributed otherwise than the {self.against}'s",
            within="",
            nothing=f"no drift of the canary's {self._values} was found",
            say=self._say,
            difference=lambda value: f"{value:.3g}",
            things=self._things,
        )

    def _say(self, bounds: Bounds, seen: Seen, question: Question) -> str:
        beyond = "and chance does not explain it" if bounds.rejected else ""
        if not bounds.rejected and bounds.estimate > self.limit:
            beyond = "and so few may be that far apart by chance"
        both = f"between {seen.n:,} {self._things} of the canary and {seen.n_primary:,} of the {self.against}"
        numbers = f"{self.statistic} {bounds.estimate:.3g} {both}"
        return ", ".join(filter(None, [numbers, f"the limit is {self.limit:g}", beyond]))

    def _bins(self, rows: Rows, scale: Scale) -> tuple[Bins, ...]:
        """Both distributions in shares, without bins that nothing fell into at the end."""
        canary = [sum(column) for column in zip(*(each for each, _ in rows), strict=True)]
        other = [sum(column) for column in zip(*(other for _, other in rows), strict=True)]
        if not sum(canary) or not sum(other):
            return ()
        kept = len(canary) - (0 if canary[-1] or other[-1] else 1)
        shares = [tuple(each / sum(column) for each in column[:kept]) for column in (canary, other)]
        return (Bins(self._values, scale.labels[:kept], shares[0], shares[1], self.against),)


def _bounds(found: Change) -> Bounds:
    """A distance has no interval, and no value for each version."""
    none = math.nan
    return Bounds(float(found.value), none, none, none, none, rejected=found.rejected, accepted=False, detectable=None)


def _end(t: float) -> float:
    """How much of the horizon has passed when the stretch of a prediction is over."""
    return ((math.floor(SLOTS * math.sqrt(max(0.0, t)) + 1e-9) + 1) / SLOTS) ** 2


def _known(slices: Sequence[Slice]) -> set[str]:
    """The bounds of every bucket that was seen."""
    return {bound for each in slices for cells in (each.canary, each.primary) for bound in cells}
