"""One share against a bound that is known, always valid: how high it is at least, and at most.

Evidence that a share is above p is how much likelier the data are under shares above p than under p itself, on average
over a Beta distribution around p that is cut off at p. Under any share of at most p that is a supermartingale that
begins at 1, so that it ever reaches 1/alpha with probability alpha at most: Ville 1939; Robbins, "Statistical methods
related to the law of the iterated logarithm", Annals of Mathematical Statistics 41 (1970). It is exact from the first
request on, and needs the share to stay below the bound, not to stay the same.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

EXPECTED = 2.0  # bad requests (or good ones, if those are fewer) that the prior of `share` is as strong as


def share(bad: float, total: float, alpha: float) -> tuple[float, float]:
    """Low and high; each fails with probability alpha at most, at any time. Nothing seen is 0..1."""
    if total <= 0:
        return 0.0, 1.0
    return _lowest(bad, total, alpha), 1.0 - _lowest(total - bad, total, alpha)


def evidence(bad: Any, total: Any, against: float, strength: float) -> Any:
    """The logarithm of the evidence that the share is above `against`, which lies strictly between 0 and 1.

    `strength` is of how many requests the prior is: it makes the evidence grow fastest at some times as many, and must
    not depend on the data.
    """
    from scipy.special import betaincc, betaln

    bad = np.asarray(bad, dtype=np.float64)
    prior = strength * against, strength * (1.0 - against)
    a, b = prior[0] + bad, prior[1] + total - bad
    with np.errstate(divide="ignore"):
        above = np.log(betaincc(a, b, against))  # -inf where the data speak for less
    before = math.log(float(betaincc(*prior, against))) + float(betaln(*prior))
    return betaln(a, b) + above - before - bad * math.log(against) - (total - bad) * math.log1p(-against)


def _lowest(bad: float, total: float, alpha: float) -> float:
    """The highest share that the data still speak against: below it lies nothing that could be true."""
    from scipy.optimize import brentq

    tiny = 1e-9
    estimate = min(bad / total, 1.0 - tiny)

    def missing(p: float) -> float:
        return float(evidence(bad, total, p, EXPECTED / min(p, 1.0 - p))) + math.log(alpha)

    if estimate <= tiny or missing(tiny) <= 0:
        return 0.0
    if missing(estimate) >= 0:
        return estimate
    return float(brentq(missing, tiny, estimate, xtol=1e-12))
