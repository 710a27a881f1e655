"""Quantiles from the buckets of a histogram, canary against primary, always valid.

A quantile x is tested by what it means: a share q of the answers are at most x. So the interval of a quantile is that
of the share, read off the distribution: Howard and Ramdas, "Sequential estimation of quantiles with applications to
A/B testing and best-arm identification", Bernoulli 28 (2022). Within a bucket answers are taken as evenly spread, as
Prometheus' histogram_quantile has it, for both versions alike.

Slices of time count with the weights n_c n_p / (n_c + n_p) for both versions, so that both are seen at the same times;
the evidence is that of as many answers as give such a weighted mean the same variance. The evidence about both
quantiles is multiplied: what is likely for the difference is what some likely pair has. Evidence is that of `share`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from modelpack.gate.statistics.counts import Bounds
from modelpack.gate.statistics.mean import SHARPEST
from modelpack.gate.statistics.share import evidence
from modelpack.gate.statistics.spending import Floats

GRID = 150  # shares at which the evidence is weighed, on each side of q, close together around it
PEAK = 7.0  # by so much smaller is the mixture's parameter than the size at which the interval is tightest, at 5 %
_AWAY = np.concatenate([[0.0], np.geomspace(1e-6, 1.0, GRID - 1)])


class Buckets(NamedTuple):
    """Answers of one slice by bucket: cumulative counts by bound ("0.1", "+Inf"), as Prometheus has them."""

    canary: Mapping[str, float]
    primary: Mapping[str, float]


def quantile(buckets: Mapping[str, float], q: float) -> float | None:
    """The q-quantile, None without answers. Above the highest finite bound it is that bound."""
    bounds = _bounds([buckets])
    counts = _cumulative(buckets, bounds)
    if not len(counts) or counts[-1] <= 0:
        return None
    return float(_read(np.array([q]), counts / counts[-1], bounds)[0])


def interval(
    many: Sequence[Mapping[str, float]], q: float, alpha: float, *, min_sample: int
) -> tuple[float, float, float] | None:
    """(estimate, low, high) of one version's q-quantile over its slices; each side fails with alpha at most."""
    bounds = _bounds(many)
    counts = np.sum([_cumulative(each, bounds) for each in many], axis=0) if len(bounds) else np.zeros(1)
    if counts[-1] <= 0:
        return None
    shares, size = counts / counts[-1], float(counts[-1])
    budget = np.array([-math.log(alpha)])
    low = _lowest(1.0 - _still(1.0 - q, size, budget, min_sample), shares, bounds)
    high = _highest(_still(q, size, budget, min_sample), shares, bounds)
    return float(_read(np.array([q]), shares, bounds)[0]), float(low[0]), float(high[0])


def compare(slices: Sequence[Buckets], q: float, *, margin: float, alpha: float, min_sample: int) -> Bounds | None:
    """Canary's minus primary's q-quantile in the histogram's unit; None while no slice has answers of both.

    Each of low and high fails with probability alpha at most, at any time. They are infinite where a quantile may lie
    beyond the highest finite bound, or not be known at all.
    """
    bounds = _bounds([each for pair in slices for each in pair])
    rows = [(_cumulative(each.canary, bounds), _cumulative(each.primary, bounds)) for each in slices]
    rows = [pair for pair in rows if len(bounds) and pair[0][-1] > 0 and pair[1][-1] > 0]
    if not rows:
        return None
    canary, primary = (np.array(each) for each in zip(*rows, strict=True))
    found = look(canary, primary, bounds, q, alpha=alpha, min_sample=min_sample)
    sample = float(sum(_cumulative(each.canary, bounds)[-1] for each in slices))
    return Bounds(
        found.canary - found.primary,
        found.low,
        found.high,
        found.canary,
        found.primary,
        rejected=found.low > margin,
        accepted=margin > 0 and sample >= min_sample and found.high < margin,
        detectable=None,
    )


class Look(NamedTuple):
    """Both quantiles, and how much higher the canary's is at least and at most."""

    canary: float
    primary: float
    low: float
    high: float


def look(canary: Floats, primary: Floats, bounds: Floats, q: float, *, alpha: float, min_sample: int) -> Look:
    """Of cumulative counts, a row a slice with answers of both and a column a bound."""
    one, other = sides(canary, primary)
    values = [float(_read(np.array([q]), each, bounds)[0]) for each, _ in (one, other)]
    low = least(one, other, bounds, q, alpha=alpha, min_sample=min_sample)
    high = -least(other, one, bounds, q, alpha=alpha, min_sample=min_sample)
    return Look(values[0], values[1], low, high)


Side = tuple[Floats, float]  # cumulative shares, and of how many answers


def sides(canary: Floats, primary: Floats) -> tuple[Side, Side]:
    """Both versions, each slice with the same weight in both."""
    total = canary[:, -1], primary[:, -1]
    weight = total[0] * total[1] / (total[0] + total[1])
    shares = [weight @ (many / n[:, None]) / weight.sum() for many, n in zip((canary, primary), total, strict=True)]
    sizes = [float(weight.sum() ** 2 / (weight**2 / n).sum()) for n in total]
    return (shares[0], sizes[0]), (shares[1], sizes[1])


def least(one: Side, other: Side, bounds: Floats, q: float, *, alpha: float, min_sample: int) -> float:
    """By how much `one`'s quantile is at least higher than `other`'s: over all pairs that are not too unlikely."""
    low = q * (1.0 - _AWAY)
    # a value is too low for one's quantile if too few of its answers are below
    against = evidence((1.0 - low) * one[1], one[1], 1.0 - q, _strength(min_sample))
    high = _still(q, other[1], -math.log(alpha) - against, min_sample)
    likely = ~np.isnan(high)
    return float((_lowest(low[likely], one[0], bounds) - _highest(high[likely], other[0], bounds)).min())


def _still(q: float, size: float, budget: Floats, min_sample: int) -> Floats:
    """The highest share of so many answers that may lie below the q-quantile with less evidence than the budget against
    it; NaN where there is none."""
    shares = q + (1.0 - q) * _AWAY
    against = np.maximum.accumulate(evidence(shares * size, size, q, _strength(min_sample)))
    # the next one of the grid, so that what lies between two is not left out
    at = np.searchsorted(against, budget, side="left")
    found = np.where(at < GRID, shares[np.minimum(at, GRID - 1)], 1.0 + 1e-9)
    return np.where(at > 0, found, np.nan)


def _strength(min_sample: int) -> float:
    """Howard and Ramdas choose the mixture by the size at which the interval should be tightest, as `mean` does."""
    return SHARPEST * min_sample / PEAK


def _lowest(shares: Floats, cumulative: Floats, bounds: Floats) -> Floats:
    """The values that have these shares below them."""
    return _read(shares, cumulative, bounds, beneath=-math.inf)


def _highest(shares: Floats, cumulative: Floats, bounds: Floats) -> Floats:
    """The same; nothing says how far beyond all answers the value of more than all of them is."""
    return _read(shares, cumulative, bounds, beyond=math.inf)


def _bounds(many: Sequence[Mapping[str, float]]) -> Floats:
    """The finite bounds that all have, and infinity; nothing if that is all they have."""
    common = set.intersection(*(set(each) for each in many)) if many else set()
    return np.array(sorted({float(each) for each in common}), dtype=np.float64)


def _cumulative(buckets: Mapping[str, float], bounds: Floats) -> Floats:
    known = {float(text): value for text, value in buckets.items()}
    counts = np.array([known.get(each, 0.0) for each in bounds.tolist()], dtype=np.float64)
    found: Floats = np.maximum.accumulate(counts) if len(counts) else counts
    return found


def _read(
    shares: Floats, cumulative: Floats, bounds: Floats, *, beneath: float | None = None, beyond: float | None = None
) -> Floats:
    """The values below which these shares lie. `beyond` is what lies above the highest finite bound, else that bound;
    `beneath` what lies in the first bucket if that has no lower end, else its upper one."""
    finite = np.isfinite(bounds)
    edges, below = bounds[finite], cumulative[finite]
    if not len(edges) or edges[0] > 0:
        edges, below = np.concatenate([[0.0], edges]), np.concatenate([[0.0], below])
    at = np.minimum(np.searchsorted(below, shares, side="left"), len(edges) - 1)
    before = np.maximum(at - 1, 0)
    rise = below[at] - below[before]
    part = np.where(rise > 0, (shares - below[before]) / np.where(rise > 0, rise, 1.0), 0.0)
    found: Floats = edges[before] + np.clip(part, 0.0, 1.0) * (edges[at] - edges[before])
    if edges[0] < 0 or below[0] > 0:
        found = np.where(shares <= below[0], edges[0] if beneath is None else beneath, found)
    return np.where(shares > below[-1], edges[-1] if beyond is None else beyond, found)
