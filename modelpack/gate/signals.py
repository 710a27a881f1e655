"""What is seen of a model while it serves, and whether that calls for a new one: late labels, drift, alerts; what a
Prometheus knows of the server is in `serving`.

Pure. A signal decides on no rollout. One that is looked at all the time, of a model that is just as good as its limit,
gives `alarms` false alarms a month at most (`statistics.alarms`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelpack.errors import InputError
from modelpack.fields import Fields
from modelpack.gate.checks.binning import FILE, Reference, read_reference
from modelpack.gate.serving import ALARMS, KINDS, Level, Share, Signal, read_metric, surely_above
from modelpack.gate.statistics.alarms import level
from modelpack.quality.drift import BINS, psi

Value = float | str | bool
METRICS = ("mae", "rmse", "accuracy")
FIRST, REFERENCE = "first", "reference"
MOST = 20  # signals of a model
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
    alarms: float = ALARMS


@dataclass(frozen=True)
class Drift:
    """How far the last predictions are from a version's first `min_sample` ones, or from a reference that is kept with
    the model, as a population stability index.

    Stale above `limit` (0.1 is usually called some change, 0.25 a large one) and above what chance gives.
    """

    name: str
    limit: float
    min_sample: int
    window: float
    alarms: float = ALARMS
    reference: Reference | None = None


Spec = Labels | Drift | Share | Level


@dataclass(frozen=True)
class Seen:
    """A prediction of `version` at `t` (unix seconds), and what was true, None while nobody knows."""

    t: float
    version: str
    prediction: Value
    truth: Value | None = None


def read_signals(fields: Fields, files: Mapping[str, bytes], folder: str) -> tuple[Spec, ...]:
    """`signals:` of a gate.yaml, with what the files beside it say; raises InputError with file and line."""
    found: list[Spec] = []
    for each in fields.mappings("signals"):
        name, kind = each.text("name"), each.choice("type", ("labels", "drift", *KINDS))
        if name in (other.name for other in found):
            raise each.error("name", f"{name!r} is given twice")
        if len(found) == MOST:
            raise each.error("name", f"is one more than the {MOST} signals that a model may have")
        if kind in KINDS:
            found.append(read_metric(each, name, kind))
        else:
            found.append(_read_told(each, name, kind, files, folder))
        each.done()
    return tuple(found)


def _read_told(each: Fields, name: str, kind: str, files: Mapping[str, bytes], folder: str) -> Labels | Drift:
    sample = each.integer("min_sample", 100, low=20, high=100_000)
    window, alarms = each.duration("window", "7d"), each.number("alarms", ALARMS, low=1e-6, high=100)
    if kind == "labels":
        return Labels(name, each.choice("metric", METRICS), each.number("limit"), sample, window, alarms)
    against, reference = each.choice("against", (FIRST, REFERENCE), FIRST), None
    if against == REFERENCE:
        if FILE not in files:
            raise InputError(f"{folder}/{FILE}", "there is no such file", f"signal {name!r} needs it")
        reference = read_reference(files[FILE], f"{folder}/{FILE}", each.text("reference", name))
    return Drift(name, each.number("limit", 0.25, low=0.01), sample, window, alarms, reference)


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
    """One-sided bounds: Clopper and Pearson's for a share, Student's for a mean."""
    known = [each for each in seen if each.truth is not None and _comparable(spec.metric, each)]
    n = len(known)
    if n < spec.min_sample:
        reason = f"{n} of {spec.min_sample} labels are there"
        return Signal(spec.name, "labels", False, reason, version, None, spec.limit, n)
    chance = level(spec.alarms, spec.window)
    if spec.metric == "accuracy":
        value = sum(each.prediction == each.truth for each in known) / n
        bound, word = 1.0 - surely_above(1.0 - value, n, chance), "at most"
        stale, beyond = bound < spec.limit, value < spec.limit
    else:
        power = 2 if spec.metric == "rmse" else 1
        errors = [abs(float(each.prediction) - float(each.truth or 0.0)) ** power for each in known]
        mean = sum(errors) / n
        spread = math.sqrt(sum((each - mean) ** 2 for each in errors) / (n - 1) / n)
        value, bound = mean ** (1 / power), max(0.0, mean - _student(chance, n) * spread) ** (1 / power)
        word, stale, beyond = "at least", bound > spec.limit, value > spec.limit
    surely = f"surely {word} {bound:.4g}, the limit is {spec.limit:g}"
    reason = f"{spec.metric} {value:.4g} of {n} labels, {surely} ({spec.alarms:g} false alarms a month)"
    return Signal(spec.name, "labels", stale, reason, version, value, spec.limit, n, beyond)


def _student(chance: float, n: int) -> float:
    """How many standard errors a mean of so many may stray: more than the normal distribution has it."""
    from scipy.special import stdtrit

    return -float(stdtrit(n - 1, chance))


def _comparable(metric: str, seen: Seen) -> bool:
    """Whether a row has an error. A server may say any number: one whose square is none would hide all others."""
    return metric == "accuracy" or all(
        isinstance(each, int | float) and not isinstance(each, bool) and abs(each) < _LARGEST
        for each in (seen.prediction, seen.truth)
    )


def _drift(spec: Drift, version: str, seen: Sequence[Seen], now: float) -> Signal:
    first, rest = ([], seen) if spec.reference else (seen[: spec.min_sample], seen[spec.min_sample :])
    last = [each for each in rest if each.t > now - spec.window]
    if len(last) < spec.min_sample:
        after = "" if spec.reference else f" after the first {spec.min_sample}"
        reason = f"{len(last)} of {spec.min_sample} predictions{after} are there"
        return Signal(spec.name, "drift", False, reason, version, None, spec.limit, len(last))
    before, latest = [each.prediction for each in first], [each.prediction for each in last]
    values = [*before, *latest]
    odd = [(place, each) for place, each in enumerate(values, 1) if type(each) not in (int, float)]
    if 0 < len(odd) <= max(1, len(values) // 10):  # counted by value, each number would be another
        place, text = odd[0]
        reason = f"prediction {place} of {len(values)} is {str(text)[:50]!r}, and all but {len(odd)} are numbers"
        return Signal(spec.name, "drift", False, reason, version, None, spec.limit, len(last))
    if spec.reference:
        # a bin that nothing ever falls into says nothing
        both = zip(spec.reference.counts, spec.reference.scale.count(latest), strict=True)
        old, new = zip(*(each for each in both if any(each)), strict=True)
        value, bins, size = psi([*old], [*new]), len(old), sum(old)
    else:
        value, bins = stability_index(before, latest)
        size = float(len(first))
    chance = _chance(spec, bins, size, len(last))
    reason = (
        f"stability index {value:.3f} of the last {len(last)} predictions, the limit is {spec.limit:g}; "
        f"chance gives up to {chance:.3f} ({spec.alarms:g} false alarms a month)"
    )
    stale = value > max(spec.limit, chance)
    return Signal(spec.name, "drift", stale, reason, version, value, spec.limit, len(last), value > spec.limit)


def _chance(spec: Drift, bins: int, before: float, now: int) -> float:
    """The index that samples of one distribution rarely exceed: (1/n + 1/m) times a chi-square variable with a degree
    of freedom less than there are bins (Yurdakul and Naranjo 2020, Journal of Risk Model Validation 14-4)."""
    from scipy.special import chdtri

    freedom = max(1, bins - 1)
    return float(chdtri(freedom, level(spec.alarms, spec.window, freedom))) * (1 / before + 1 / now)


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
