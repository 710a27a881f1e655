"""Made-up traffic for the checks of a gate.yaml: what counters of a primary and a canary could have gone up by.

Requests are taken as independent. What nobody said of the primary is assumed, and `Source.says` names it.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from modelpack.errors import InputError
from modelpack.gate.checks import Check
from modelpack.gate.checks.binning import Reference, Scale
from modelpack.gate.checks.check import Cells
from modelpack.gate.checks.drift import Drift
from modelpack.gate.checks.latency import Latency
from modelpack.gate.checks.mean import HIGHER, Mean
from modelpack.gate.checks.proportion import Proportion
from modelpack.gate.checks.segments import Segments
from modelpack.gate.checks.slo import Slo
from modelpack.gate.selectors import Selector
from modelpack.gate.statistics.distribution import STATISTICS

BAD, SLOW = 0.01, 0.05  # assumed shares
SPREAD = 0.7  # of the logarithm of an answer's time
_OFF = 0.5  # a drift that one would want to catch, in standard deviations
BINS = 10  # of predictions without a reference
# Envoy's buckets, in milliseconds
BOUNDS = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000)

Numbers = npt.NDArray[np.int64]
_OF_ENVOY = ("envoy_", "istio_")  # what histograms of proxies with these buckets are called

Rows = list[dict[str, float]]
Draw = Callable[[np.random.Generator, Numbers, float], Rows]


@dataclass(frozen=True)
class Baseline:
    """What is so of the primary: a share, a time, a mean. `spread` is the standard deviation of single numbers."""

    value: float
    spread: float | None = None


@dataclass(frozen=True)
class Source:
    """A check whose traffic can be made up. `draw(rng, requests of each slice, how much worse)` gives their cells.

    `baseline` is the primary's, given or assumed; `usual` a regression that one would want to catch; `costs`: each one
    that is worse is a bad answer.
    """

    check: Check
    draw: Draw
    says: str
    unit: str
    usual: float
    baseline: Baseline | None = None
    most: float = math.inf
    costs: bool = False

    @property
    def counts(self) -> tuple[object, ...]:
        """What it counts: checks that have this in common see the same requests."""
        needs = tuple(replace(each, by="") for each in self.check.needs)
        return (needs, *(getattr(self.check, key, None) for key in ("threshold", "quantile", "reference")))

    @property
    def segments(self) -> Segments | None:
        terms = getattr(self.check, "terms", None)
        found: Segments | None = terms.segments if terms else None
        return found

    def shown(self, worse: float) -> str:
        """How much worse, as people say it."""
        return f"+{100 * worse:g} points" if self.unit == "share" else f"{worse:+g} {self.unit}".rstrip()


def source_of(check: Check, given: Baseline | None) -> Source | None:
    """How a check's traffic is made up, None for one that rests on no counters; raises InputError for a baseline that
    makes no sense or is needed."""
    if isinstance(check, Proportion):
        return _share(check, given, BAD, check.terms.margin, "are bad", _total)
    if isinstance(check, Latency) and check.threshold is not None:
        what = f"take more than {check.threshold:g} {check.unit}".rstrip() + _unknown(check.histogram, check.threshold)
        return _share(check, given, SLOW, check.terms.margin, what, _slower(check.threshold))
    if isinstance(check, Latency):
        usual = check.terms.margin or 20.0
        return _times(check, given, check.quantile or 0.5, check.unit, 5 * usual, 2 * usual)
    if isinstance(check, Slo) and check.quantile is not None:
        return _times(check, given, check.quantile, check.unit, check.most / 2, check.most)
    if isinstance(check, Slo):
        slow = check.threshold is not None
        what = f"take more than {check.threshold:g} {check.unit}".rstrip() if slow else "are bad"
        if check.histogram and check.threshold is not None:
            what += _unknown(check.histogram, check.threshold)
        cells = _slower(check.threshold or 0.0) if slow else _total
        return _share(check, given, check.most / 2, check.most, what, cells)
    if isinstance(check, Mean):
        return _mean(check, given)
    return _drift(check) if isinstance(check, Drift) else None


def _share(
    check: Check, given: Baseline | None, usual: float, margin: float | None, what: str, cells: Callable[..., Rows]
) -> Source:
    share = _value(check, given, usual, 0.0, 1.0)

    def draw(rng: np.random.Generator, number: Numbers, worse: float) -> Rows:
        return cells(number, rng.binomial(number, min(1.0, share + worse)))

    says = f"{100 * share:.3g} % of the primary's answers {what}"
    worst = 2 * margin if margin else max(share, 0.01)
    return Source(check, draw, says, "share", min(worst, 1.0 - share), Baseline(share), 1.0 - share, costs=True)


def _total(number: Numbers, bad: Numbers) -> Rows:
    return [{"total": float(n), "bad": float(k)} for n, k in zip(number, bad, strict=True)]


def _unknown(histogram: Selector, threshold: float) -> str:
    """A warning where the proxy counts into no such bucket unless it is told to: the gate would hold."""
    if threshold in BOUNDS or not histogram.metric.startswith(_OF_ENVOY):
        return ""
    place = bisect(BOUNDS, threshold)
    near = " and ".join(f"{each:g}" for each in BOUNDS[max(0, place - 1) : place + 1])
    return f"; but {threshold:g} is no bucket of Envoy's, and without it the gate holds: the nearest are {near}"


def _slower(threshold: float) -> Callable[[Numbers, Numbers], Rows]:
    def cells(number: Numbers, slow: Numbers) -> Rows:
        return [{f"{threshold:g}": float(n - k), "+Inf": float(n)} for n, k in zip(number, slow, strict=True)]

    return cells


def _times(check: Check, given: Baseline | None, q: float, unit: str, usual: float, worse: float) -> Source:
    """Log-normal times whose q-quantile is the baseline, in Envoy's buckets; a slower version is so many times as slow
    with every request."""
    from scipy.special import ndtr, ndtri

    time = _value(check, given, usual, 0.0, math.inf)
    spread = given.spread if given and given.spread else SPREAD
    bounds = np.array(BOUNDS) / (1000.0 if unit in ("s", "seconds") else 1.0)

    def draw(rng: np.random.Generator, number: Numbers, worse: float) -> Rows:
        below = ndtr((np.log(bounds) - math.log(time + worse)) / spread + ndtri(q))
        chances = np.diff(np.concatenate([[0.0], below, [1.0]]))
        return _cumulative(rng.multinomial(number, chances), [f"{each:g}" for each in bounds])

    says = f"{100 * q:g} % of the primary's answers come within {time:.4g} {unit}".rstrip()
    return Source(check, draw, f"{says}, log-normal, in Envoy's buckets", unit, worse, Baseline(time, spread))


def _mean(check: Mean, given: Baseline | None) -> Source:
    """Normal numbers: their sums, and sums of squares, as so many of them have."""
    if given is None and (check.low is None or check.high is None):
        remedy = f"write --baseline {check.name}=MEAN:SD, a single number's mean and standard deviation"
        raise InputError(check.name, "is a mean, and nothing says of what size", remedy)
    low, high = check.low or 0.0, check.high or 0.0
    mean = given.value if given else (low + high) / 2
    spread = given.spread if given and given.spread else (high - low) / 4 or abs(mean)
    if spread <= 0:
        raise InputError(check.name, "has a spread of zero", f"write --baseline {check.name}=MEAN:SD")
    sign = -1.0 if check.better == HIGHER else 1.0

    def draw(rng: np.random.Generator, number: Numbers, worse: float) -> Rows:
        sums = number * (mean + sign * worse) + spread * np.sqrt(number) * rng.standard_normal(len(number))
        within = spread**2 * rng.chisquare(np.maximum(number - 1, 1)) * (number > 1)
        squares = sums**2 / np.maximum(number, 1) + within
        rows = zip(number, sums, squares, strict=True)
        return [{"count": float(n), "sum": float(total), "squares": float(square)} for n, total, square in rows]

    says = f"the primary's mean is {mean:.4g}, of numbers that spread by {spread:.4g}"
    return Source(check, draw, says, check.unit, 2 * (check.terms.margin or spread / 20), Baseline(mean, spread))


def _drift(check: Drift) -> Source | None:
    """Values that fall into the reference's bins as often as the reference's, else into ten alike; a drift moves a
    normal variable behind them, in its standard deviations. What was told counts as what a histogram does."""
    from scipy.special import ndtr, ndtri

    if check.reference and check.statistic == "ks" and not check.reference.scale.bounds:
        return None
    counts = check.reference.counts if check.reference else (1.0,) * BINS
    counts = counts[:-1] if check.reference and check.reference.scale.bounds else counts  # what is no number
    bounds = tuple(float(each) for each in range(1, len(counts)))
    cells = [f"{each:g}" for each in bounds]
    reference = Reference(Scale(bounds=bounds), (*counts, 0.0)) if check.reference else None
    edges = ndtri(np.clip(np.cumsum(counts)[:-1] / sum(counts), 0.0, 1.0))

    def draw(rng: np.random.Generator, number: Numbers, worse: float) -> Rows:
        chances = np.diff(np.concatenate([[0.0], ndtr(edges - worse), [1.0]]))
        return _cumulative(rng.multinomial(number, chances), cells)

    one, other = ((1e9 * np.diff([0.0, *ndtr(edges - each), 1.0])).tolist() for each in (_OFF, 0.0))
    found = STATISTICS[check.statistic](one, other)
    made = replace(check, histogram=check.histogram or Selector("predictions"), reference=reference)
    says = f"predictions in {len(counts)} bins as {'the reference has them' if reference else 'often each'}"
    says += f"; {_OFF:+g} standard deviations are {check.statistic} {found:.3g}, the limit is {check.limit:g}"
    return Source(made, draw, says, "standard deviations", _OFF)


def _cumulative(counts: npt.NDArray[np.int64], bounds: list[str]) -> Rows:
    below = np.cumsum(counts, axis=1).astype(float)
    return [dict(zip((*bounds, "+Inf"), each, strict=True)) for each in below.tolist()]


def _value(check: Check, given: Baseline | None, usual: float, low: float, high: float) -> float:
    value = given.value if given else usual
    if not low < value < high:
        allowed = f"above {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
        raise InputError(check.name, f"cannot have a baseline of {value:g}", f"it is {allowed}")
    return value


def add(cells: Sequence[Cells]) -> Cells:
    """The sum of several segments' cells."""
    found: dict[str, float] = {}
    for each in cells:
        for key, value in each.items():
            found[key] = found.get(key, 0.0) + value
    return found
