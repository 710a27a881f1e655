"""The interval of a paired difference of metrics, from each row's influence on it.

Student's t on the influences, as of a mean. Skewed influences (squared errors are) make such an interval miss more
often on the side of the long tail. The first term of the Edgeworth expansion of t, skewness * (1 + 2 t^2) / (6 sqrt(n))
standard errors (Johnson 1978, "Modified t tests and confidence intervals for asymmetrical populations"; Hall 1992, "The
bootstrap and Edgeworth expansion", 2.4), moves the bound on that side outwards; the other one stays, so that it only
ever widens. benchmarks/quality.py measures how often it misses, beside a paired BCa bootstrap of the same rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelpack.quality.metrics import Floats

FEWEST = 20  # rows below which no interval is given: t and its correction both need some


def bounds(
    difference: float, influence: Floats, weights: Floats, confidence: float, spread: float = 1.0
) -> tuple[float, float]:
    """Low and high of a difference with this two-sided confidence.

    `influence` is the rows' influence on the difference and has the weighted mean 0; `spread` widens the interval.
    """
    from scipy.special import stdtrit

    total = float(weights.sum())
    unit = float(abs(influence).max(initial=0.0))  # cubes of large influences are no numbers any more
    if unit <= 0:
        return difference, difference
    influence = influence / unit
    variance = float(weights @ influence**2) / (total - 1)
    error = unit * spread * (variance / total) ** 0.5
    t = float(stdtrit(total - 1, (1 + confidence) / 2))
    skewness = float(weights @ influence**3) / total / variance**1.5
    shift = skewness * (1 + 2 * t**2) / (6 * total**0.5)
    return difference + error * (min(shift, 0.0) - t), difference + error * (max(shift, 0.0) + t)
