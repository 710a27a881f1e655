"""How sure a test has to be that is looked at all the time, so that it gives so many false alarms a month.

What serves is judged by what came in during the last `window` seconds, at any time, and for years. Looks that are close
together see almost the same: their statistics are correlated by 1 - t / window, falling as the window slides on. Such
a process crosses a high level in clumps, and clumps come at random: at level z, z phi(z) of them in each window where
the statistic is normal, and f(r) (r - (d - 1) / r) where it is the root of chi-square with d degrees of freedom and
density f. Aldous, "Probability Approximations via the Poisson Clumping Heuristic" (1989), chapters B and D; for the
normal one also Slepian, "First passage time for a particular Gaussian process", Annals of Mathematical Statistics 32
(1961). A clump is one alarm if the alarm stays on until its cause is gone, and not only until the next look. Fewer
numbers than a normal distribution needs, or fewer looks, give fewer clumps.
"""

from __future__ import annotations

import math
from functools import lru_cache

MONTH = 30 * 86400.0  # seconds
LOOSEST = 0.05  # of a look, however many alarms are allowed


@lru_cache(maxsize=1024)
def level(alarms: float, window: float, freedom: int = 0) -> float:
    """The probability with which a single look may be wrong; `alarms` are a month, `window` is in seconds.

    One-sided for a normal statistic, or of chi-square with so many degrees of freedom.
    """
    from scipy.optimize import brentq
    from scipy.special import chdtrc, chdtri, ndtr, ndtri

    allowed = alarms * window / MONTH  # in each window
    if freedom == 0:
        loosest = float(-ndtri(LOOSEST))
        if _normal(loosest) <= allowed:
            return LOOSEST
        return float(ndtr(-brentq(lambda z: math.log(_normal(z) / allowed), loosest, 38.0)))
    loosest = math.sqrt(float(chdtri(freedom, LOOSEST)))
    if _chi(loosest, freedom) <= allowed:
        return LOOSEST
    found = brentq(lambda r: math.log(_chi(r, freedom) / allowed), loosest, loosest + 30.0)
    return float(chdtrc(freedom, found**2))


def _normal(z: float) -> float:
    return z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _chi(r: float, freedom: int) -> float:
    density = (freedom - 1) * math.log(r) - r * r / 2 - (freedom / 2 - 1) * math.log(2) - math.lgamma(freedom / 2)
    return math.exp(density) * (r - (freedom - 1) / r)
