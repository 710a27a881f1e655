"""What is seen of a model while it serves, and whether that calls for a new one: late labels, drift, alerts.

Pure. A signal starts a training run and decides on no rollout, so it may err more often than a verdict: at the bounds
below a model that is just as good as its limit is called stale in 1 % of looks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from modelpack.fields import Fields
from modelpack.quality.drift import BINS, psi

Value = float | str | bool
METRICS = ("mae", "rmse", "accuracy")
_Z = 2.326  # the standard normal's 99th percentile
_LARGEST = 1e70  # the fourth power is a number still


@dataclass(frozen=True)
class Labels:
    """The error on the true values that came in later, of predictions made in the last `window` seconds.

    Stale once the metric is confidently worse than `limit`, in the prediction's unit (accuracy: a share).
    """

    name: str
    metric: str
    limit: float
    min_sample: int
    window: float


@dataclass(frozen=True)
class Drift:
    """How far the last predictions are from a version's first `min_sample` ones, as a population stability index.

    Stale above `limit` (0.1 is usually called some change, 0.25 a large one) and above what chance gives.
    """

    name: str
    limit: float
    min_sample: int
    window: float


@dataclass(frozen=True)
class Seen:
    """A prediction of `version` at `t` (unix seconds), and what was true, None while nobody knows."""

    t: float
    version: str
    prediction: Value
    truth: Value | None = None


@dataclass(frozen=True)
class Signal:
    """`value` is the metric or index, None without enough data; `n` how many it rests on."""

    name: str
    kind: str
    stale: bool
    reason: str
    version: str = ""
    value: float | None = None
    limit: float | None = None
    n: int = 0


def read_signals(fields: Fields) -> tuple[Labels | Drift, ...]:
    """`signals:` of a gate.yaml; raises InputError with file and line."""
    found: list[Labels | Drift] = []
    for each in fields.mappings("signals"):
        name, kind = each.text("name"), each.choice("type", ("labels", "drift"))
        if name in (other.name for other in found):
            raise each.error("name", f"{name!r} is given twice")
        sample = each.integer("min_sample", 100, low=20, high=100_000)
        window = each.duration("window", "7d")
        if kind == "labels":
            metric, limit = each.choice("metric", METRICS), each.number("limit")
            found.append(Labels(name, metric, limit, sample, window))
        else:
            found.append(Drift(name, each.number("limit", 0.25, low=0.01), sample, window))
        each.done()
    return tuple(found)


def judge(spec: Labels | Drift, seen: Sequence[Seen], now: float) -> Signal:
    """What a model's predictions, oldest first, say; only those of the version that answered most of the last ones."""
    version = _serving(seen[-spec.min_sample :])
    ours = [each for each in seen if each.version == version]
    if isinstance(spec, Labels):
        return _labels(spec, version, [each for each in ours if each.t > now - spec.window])
    return _drift(spec, version, ours, now)


def _serving(seen: Sequence[Seen]) -> str:
    versions = Counter(each.version for each in seen)
    return max(sorted(versions), key=versions.__getitem__, default="")


def _labels(spec: Labels, version: str, seen: Sequence[Seen]) -> Signal:
    """One-sided 99 % bounds: Wilson's for a share (Wilson 1927), the normal one for a mean."""
    known = [each for each in seen if each.truth is not None and _comparable(spec.metric, each)]
    n = len(known)
    if n < spec.min_sample:
        reason = f"{n} of {spec.min_sample} labels are there"
        return Signal(spec.name, "labels", False, reason, version, None, spec.limit, n)
    if spec.metric == "accuracy":
        value = sum(each.prediction == each.truth for each in known) / n
        bound, word = _wilson_high(value, n), "at most"
        stale = bound < spec.limit
    else:
        power = 2 if spec.metric == "rmse" else 1
        errors = [abs(float(each.prediction) - float(each.truth or 0.0)) ** power for each in known]
        mean = sum(errors) / n
        spread = math.sqrt(sum((each - mean) ** 2 for each in errors) / (n - 1) / n)
        value, bound = mean ** (1 / power), max(0.0, mean - _Z * spread) ** (1 / power)
        word, stale = "at least", bound > spec.limit
    reason = f"{spec.metric} {value:.4g} of {n} labels, {word} {bound:.4g} at 99 %, the limit is {spec.limit:g}"
    return Signal(spec.name, "labels", stale, reason, version, value, spec.limit, n)


def _comparable(metric: str, seen: Seen) -> bool:
    """Whether a row has an error. A server may say any number: one whose square is none would hide all others."""
    return metric == "accuracy" or all(
        isinstance(each, int | float) and not isinstance(each, bool) and abs(each) < _LARGEST
        for each in (seen.prediction, seen.truth)
    )


def _wilson_high(share: float, n: int) -> float:
    z2 = _Z**2 / n
    return (share + z2 / 2 + _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n))) / (1 + z2)


def _drift(spec: Drift, version: str, seen: Sequence[Seen], now: float) -> Signal:
    first, rest = seen[: spec.min_sample], seen[spec.min_sample :]
    last = [each for each in rest if each.t > now - spec.window]
    if len(last) < spec.min_sample:
        reason = f"{len(last)} of {spec.min_sample} predictions after the first {spec.min_sample} are there"
        return Signal(spec.name, "drift", False, reason, version, None, spec.limit, len(last))
    before, latest = [each.prediction for each in first], [each.prediction for each in last]
    values = [*before, *latest]
    odd = [(place, each) for place, each in enumerate(values, 1) if type(each) not in (int, float)]
    if 0 < len(odd) <= max(1, len(values) // 10):  # counted by value, each number would be another
        place, text = odd[0]
        reason = f"prediction {place} of {len(values)} is {str(text)[:50]!r}, and all but {len(odd)} are numbers"
        return Signal(spec.name, "drift", False, reason, version, None, spec.limit, len(last))
    value, bins = stability_index(before, latest)
    chance = _chance(bins, len(first), len(last))
    reason = (
        f"stability index {value:.3f} of the last {len(last)} predictions, the limit is {spec.limit:g}; "
        f"chance gives {chance:.3f} in 1 of 100 looks"
    )
    stale = value > max(spec.limit, chance)
    return Signal(spec.name, "drift", stale, reason, version, value, spec.limit, len(last))


def _chance(bins: int, before: int, now: int) -> float:
    """The index that samples of one distribution exceed in 1 % of cases: (1/n + 1/m) times a chi-square variable with
    a degree of freedom less than there are bins (Yurdakul and Naranjo 2020, Journal of Risk Model Validation 14-4)."""
    from scipy.stats import chi2

    return float(chi2.ppf(0.99, max(1, bins - 1))) * (1 / before + 1 / now)


def stability_index(before: Sequence[Value], now: Sequence[Value]) -> tuple[float, int]:
    """The population stability index and its number of bins.

    Numbers fall into ten bins with as many of `before` each, others are counted by value.
    """
    if all(type(each) in (int, float) for each in (*before, *now)):
        ordered = sorted(float(each) for each in before)
        edges = sorted({ordered[len(ordered) * number // BINS] for number in range(1, BINS)} - {ordered[0]})
        old, new = (_binned([float(each) for each in values], edges) for values in (before, now))
    else:
        counts = [Counter(str(each) for each in values) for values in (before, now)]
        kinds = sorted(counts[0] | counts[1])
        old, new = ([each[kind] for kind in kinds] for each in counts)
    return psi([*map(float, old)], [*map(float, new)]), len(old)


def _binned(values: Sequence[float], edges: Sequence[float]) -> list[int]:
    counts = [0] * (len(edges) + 1)
    for each in values:
        counts[sum(each >= edge for edge in edges)] += 1
    return counts
