"""Is the canary's mean of some number higher than the primary's? Always valid, for numbers of any size.

The numbers come in batches of time; only those of the same batch are compared, and the batches' differences are added
with the weights n_c n_p / (n_c + n_p), as in `counts`. Around the sum stands an asymptotic confidence sequence: Howard,
Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49
(2021), eq. (14); Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic
confidence sequences", Annals of Statistics 52 (2024). It does not ask when one looks, nor in which order numbers come,
so that a batch may still grow when late labels are joined.

With sums of squares the variance is that within batches: of numbers that reach a version one by one. Without, or where
users stay with one version, it is that between batches, with Student's t for few of them. Numbers are taken to have a
variance; a few huge ones among many small ones need more numbers than the confidence says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from modelpack.gate.statistics.counts import FOUND, Bounds
from modelpack.gate.statistics.spending import Floats

BATCHES = 48  # of a horizon, when single numbers are put together
FEWEST = 20  # numbers of each version, or batches without squares, below which there is no interval
SHARPEST = 2.0  # times the minimum sample: verdicts are wanted soon after it, and later ones have more numbers


class Batch(NamedTuple):
    """Count, sum and sum of squares of one stretch of time; NaN for squares that nobody knows."""

    canary: float
    canary_sum: float
    canary_squares: float
    primary: float
    primary_sum: float
    primary_squares: float


def batches(canary: Iterable[tuple[float, float]], primary: Iterable[tuple[float, float]]) -> list[Batch]:
    """Single numbers as (value, t), put together by t, in shares of the horizon."""
    table: dict[int, list[float]] = {}
    for offset, values in ((0, canary), (3, primary)):
        for value, t in values:
            row = table.setdefault(math.floor(t * BATCHES), [0.0] * 6)
            row[offset] += 1.0
            row[offset + 1] += value
            row[offset + 2] += value * value
    return [Batch(*table[each]) for each in sorted(table)]


def compare(
    many: Sequence[Batch],
    *,
    margin: float,
    alpha: float,
    min_sample: int,
    span: float | None = None,
    overdispersion: float | None = 1.0,
) -> Bounds | None:
    """Canary minus primary, in the numbers' unit; None while there are too few of them.

    Higher is worse: turn the signs of the sums where it is better. Each of low and high fails with probability alpha at
    most. `span` is the numbers' highest minus their lowest possible value, None for no limit: with it, numbers that are
    all the same don't make the interval narrow. `overdispersion` is by how much the means' variance is larger than that
    of numbers that come one by one; None asks the batches.
    """
    table = np.array(many, dtype=np.float64).T.reshape(6, -1)
    both = table[:, (table[0] > 0) & (table[3] > 0)]
    found = looks(both, alpha=alpha, min_sample=min_sample, span=span, overdispersion=overdispersion)
    if not found.enough:
        return None
    estimate, error = float(found.estimate), float(found.error)
    low, high = estimate - float(found.reach) * error, estimate + float(found.reach) * error
    return Bounds(
        estimate,
        low,
        high,
        float(found.canary),
        float(found.primary),
        rejected=low > margin,
        accepted=margin > 0 and float(table[0].sum()) >= min_sample and high < margin,
        detectable=margin + (float(found.reach) + FOUND) * error,
    )


class Look(NamedTuple):
    """`error` is the estimate's standard error, `reach` how many of them it may stray, `enough` whether they count."""

    estimate: Any
    error: Any
    reach: Any
    canary: Any
    primary: Any
    enough: Any


def looks(
    table: Floats, *, alpha: float, min_sample: int, span: float | None = None, overdispersion: float | None = 1.0
) -> Look:
    """`table` has the six rows of Batch, each with batches along the last axis; batches without one version are 0."""
    canary, canary_sum, _, primary, primary_sum, _ = table
    one, two = np.maximum(canary, 1.0), np.maximum(primary, 1.0)
    weight = canary * primary / np.maximum(canary + primary, 1.0)
    number = (weight > 0).sum(axis=-1)
    size = np.maximum(weight.sum(axis=-1), 1e-12)
    above, below = (weight * canary_sum / one).sum(axis=-1) / size, (weight * primary_sum / two).sum(axis=-1) / size
    estimate = above - below
    reach = mixture(size, alpha, SHARPEST * min_sample)
    enough = np.minimum(canary.sum(axis=-1), primary.sum(axis=-1)) >= FEWEST
    if overdispersion is not None and np.isfinite(table).all():
        noise = weight**2 * (_within(*table[:3]) / one + _within(*table[3:]) / two)
        variance = overdispersion * noise.sum(axis=-1)
    else:
        residual = canary_sum / one - primary_sum / two - estimate[..., None]
        variance = size * (weight * residual**2).sum(axis=-1) / np.maximum(number - 1.0, 1.0)
        reach = _student(reach, np.maximum(number - 1.0, 1.0))
        enough = enough & (number >= FEWEST)
    error = np.sqrt(variance + (span / 2.0) ** 2 if span else variance) / size
    return Look(estimate, error, reach, above, below, enough)


def mixture(size: Any, alpha: float, sharpest: float) -> Any:
    """How many standard errors a mean may stray to one side at any time; it is least at about the size `sharpest`.

    `sharpest` must not depend on the data: Howard et al., section 3.5. Half of the two-sided boundary's chance falls to
    each side, so that one side at alpha is both sides at twice that.
    """
    both_sides = min(2.0 * alpha, 0.5)
    scale = -2.0 * math.log(both_sides)
    age = size / (sharpest / (scale + math.log(scale) + 1.0))
    return np.sqrt((age + 1.0) / age * np.log((age + 1.0) / both_sides**2))


def _within(count: Floats, total: Floats, squares: Floats) -> Any:
    """The variance within each batch, with one number's worth of that of all batches for those that are too small."""
    spread = np.maximum(squares - total**2 / np.maximum(count, 1.0), 0.0)
    pooled = spread.sum(axis=-1) / np.maximum(np.maximum(count - 1.0, 0.0).sum(axis=-1), 1.0)
    return (spread + pooled[..., None]) / np.maximum(count, 1.0)


def _student(reach: Any, freedom: Any) -> Any:
    from scipy.special import ndtr, stdtrit

    return -stdtrit(freedom, ndtr(-reach))
