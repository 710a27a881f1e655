"""Is the canary's share of bad requests higher than the primary's? An answer that stays valid however often one looks.

The data are counts of bad requests among all, canary and primary, in slices of time. Only requests of the same slice
are compared, so that a baseline that drifts while the weights climb does not count against the canary. What is summed
over slices is the canary's bad requests minus those expected of its share; divided by the sum of n_c n_p / (n_c + n_p)
it is the difference of the shares with the weights of Mantel and Haenszel (1959).

Detection (margin 0) is exact. Given how many of a slice's requests are bad, those of a canary that is as good are
hypergeometric (Fisher 1935), whatever the baseline does from slice to slice; `spending` says how many are too many.
The interval is the repeated one of Jennison and Turnbull, "Interim analyses: the repeated confidence interval
approach", Journal of the Royal Statistical Society B 51 (1989): it lies above 0 exactly if the canary is rejected.

Acceptance (a margin above 0) is two such tests, each at alpha: is the difference above the margin, is it below. They
take the sum as normal, with the variance of a canary exactly at the margin: Farrington and Manning, Statistics in
Medicine 9 (1990). There a wrong verdict is likeliest, and luck cannot shrink it.

Where each request is sent to a version by itself, as a proxy's weights do, it makes no difference whether requests
fail together: which of the bad ones hit the canary is a matter of the split alone. Where users stay with one version
counts vary more. How much more, Pearson's chi-square of the slices over its degrees of freedom tells (McCullagh and
Nelder, "Generalized linear models" (1989), 4.5). While the slices are few that is not known well: Student's t takes the
place of the normal distribution, with one slice's worth of the belief that nothing of the kind goes on, as in Smyth,
"Linear models and empirical Bayes methods", Statistical Applications in Genetics and Molecular Biology 3 (2004).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from modelpack.gate.statistics.spending import Floats, Reach, Whole, reach, scales, whole

# Variance of one bad request, added where the sum is taken as normal: without any the interval would have no width.
PRIOR = 1.0
BELIEF = 1.0  # slices' worth of it
FOUND = 0.8416  # standard errors: the normal quantile of 80 %
KNOWN = 10_000  # results that are kept: most looks at a rollout come before its next slice is over


class Counts(NamedTuple):
    """Requests of one slice, and bad ones among them; `end` is the share of the horizon that had passed after it."""

    canary: float
    canary_bad: float
    primary: float
    primary_bad: float
    end: float


@dataclass(frozen=True)
class Bounds:
    """Canary minus primary in share of requests, with its interval; the two shares are weighted alike.

    `detectable` is how much worse a canary has to be for this many requests to show it in 80 % of rollouts. After a
    rejection all are those of the slice that gave it; `n` and `n_primary` then are the requests until then.
    """

    estimate: float
    low: float
    high: float
    canary: float
    primary: float
    rejected: bool
    accepted: bool
    detectable: float | None
    n: int | None = None
    n_primary: int | None = None


@dataclass(frozen=True)
class Looks:
    """The same after each slice, as arrays."""

    estimate: Floats
    low: Floats
    high: Floats
    canary: Floats
    primary: Floats
    detectable: Floats


def compare(
    slices: Sequence[Counts], *, margin: float, alpha: float, min_sample: int, overdispersion: float | None = 1.0
) -> Bounds | None:
    """The bounds after these slices, oldest first; None while none has requests of both.

    All slices have to be over: one that still grows would be looked at more often than is paid for. `alpha` is for each
    of the two wrong verdicts. `min_sample` are canary requests before any acceptance. `overdispersion` is by how much
    the counts' variance is larger than that of requests that are routed one by one; None asks the slices.
    """
    both = [each for each in slices if each.canary > 0 and each.primary > 0]
    if not both:
        return None
    table, sample = np.array(both, dtype=np.float64).T, sum(each.canary for each in slices)
    asked = hashlib.sha256(table.tobytes()).digest(), margin, alpha, overdispersion, sample >= min_sample
    known = _known.get(asked)
    if known is None:
        found = looks(table, margin=margin, alpha=alpha, overdispersion=overdispersion)
        known = _bounds(found, both, margin, enough=sample >= min_sample)
        if len(_known) >= KNOWN:
            _known.clear()
        _known[asked] = known
    return known


_known: dict[tuple[object, ...], Bounds] = {}


def _bounds(found: Looks, both: Sequence[Counts], margin: float, *, enough: bool) -> Bounds:
    above = found.low > margin
    rejected = bool(above.any())
    at = int(above.argmax()) if rejected else len(both) - 1
    detectable = float(found.detectable[at])
    return Bounds(
        float(found.estimate[at]),
        float(found.low[at]),
        float(found.high[at]),
        float(found.canary[at]),
        float(found.primary[at]),
        rejected=rejected,
        accepted=not rejected and margin > 0 and enough and bool(found.high[at] < margin),
        detectable=detectable if detectable < 1 else None,
        n=round(sum(each.canary for each in both[: at + 1])) if rejected else None,
        n_primary=round(sum(each.primary for each in both[: at + 1])) if rejected else None,
    )


def looks(table: Floats, *, margin: float, alpha: float, overdispersion: float | None = 1.0) -> Looks:
    """`table` has the five rows of Counts; every column needs requests of both."""
    canary, canary_bad, primary, primary_bad, ends = table
    total, bad = canary + primary, canary_bad + primary_bad
    weight = canary * primary / total
    size = np.cumsum(weight)
    excess = np.cumsum(canary_bad - bad * canary / total)
    scatter = 1.0 if overdispersion is None else overdispersion
    if margin > 0:
        variance = scatter * (_at_margin(table, margin) + PRIOR)
        z = _standardised(_normal_reach(variance, ends, alpha), variance)
        stretch = _stretch(table, z) if overdispersion is None else 1.0
        error = stretch * np.sqrt(variance) / size
        low, high = excess / size - z * error, excess / size + z * error
        detectable = margin + (z + FOUND) * error
    else:
        variance = scatter * np.cumsum(_hypergeometric_variance(total, bad, canary))
        # requests that come so many at a time are as many fewer that come one by one
        fewer = _exact_reach(canary / scatter, primary / scatter, bad / scatter, ends, alpha)
        spread = fewer._replace(above=scatter * fewer.above)
        z = _standardised(spread, variance)
        stretch = _stretch(table, z) if overdispersion is None else 1.0
        above = stretch * spread.above
        low = (excess - above) / size
        # a canary that is worse by d has that many more bad requests, and varies more by them
        more = scatter * np.cumsum(weight * primary / total)
        high = _root(size, excess, (stretch * z) ** 2 * variance, (stretch * z) ** 2 * more)
        detectable = _root(size, above, (stretch * FOUND) ** 2 * variance, (stretch * FOUND) ** 2 * more)
    return Looks(
        excess / size,
        np.maximum(low, -1.0),
        np.minimum(high, 1.0),
        np.cumsum(weight * canary_bad / canary) / size,
        np.cumsum(weight * primary_bad / primary) / size,
        detectable,
    )


def _root(size: Any, middle: Any, constant: Any, slope: Any) -> Any:
    """The larger d with (size d - middle)^2 = constant + slope d."""
    half = 2.0 * size * middle + slope
    return (half + np.sqrt(np.maximum(half**2 - 4.0 * size**2 * (middle**2 - constant), 0.0))) / (2.0 * size**2)


def _standardised(spread: Reach, variance: Floats) -> Any:
    """Reach in standard errors. While nothing would be too much, what the look's own spending would allow."""
    from scipy.special import ndtri

    alone = -ndtri(np.clip(spread.allowed, 1e-12, 0.5))
    known = spread.known & (variance > 0)
    return np.where(known, spread.above / np.sqrt(np.where(known, variance, 1.0)), alone)


def _exact_reach(canary: Floats, primary: Floats, bad: Floats, ends: Floats, alpha: float) -> Reach:
    scale = scales(bad)
    sizes = [whole(each, scale) for each in (bad, canary, primary)]
    return reach(_hypergeometric(*sizes), scale, ends, alpha)


def _hypergeometric(bad: Whole, canary: Whole, primary: Whole) -> list[Floats]:
    """For each slice the probabilities of 0, 1, … of its bad requests being the canary's, of all drawn alike."""
    from scipy.special import gammaln

    bad = np.minimum(bad, canary + primary)
    states = bad + 1
    of = np.repeat(np.arange(len(bad)), states)
    begin = np.cumsum(states) - states
    among = np.arange(len(of)) - begin[of]
    others = bad[of] - among
    one, two = canary[of] - among, primary[of] - others
    possible = (one >= 0) & (two >= 0)
    always = gammaln(canary + 1) + gammaln(primary + 1) + gammaln(bad + 1)
    always += gammaln(canary + primary - bad + 1) - gammaln(canary + primary + 1)
    ways = gammaln(among + 1) + gammaln(others + 1)
    ways += gammaln(np.maximum(one, 0) + 1) + gammaln(np.maximum(two, 0) + 1)
    chances = np.where(possible, np.exp(np.where(possible, always[of] - ways, 0.0)), 0.0)
    return np.split(chances, begin[1:])


def _hypergeometric_variance(total: Floats, bad: Floats, canary: Floats) -> Floats:
    share = canary / total
    return bad * share * (1.0 - share) * (total - bad) / np.maximum(total - 1.0, 1.0)


def _at_margin(table: Floats, margin: float) -> Floats:
    """The variance of the excess after each slice, if the canary's share were higher by exactly the margin."""
    canary, canary_bad, primary, primary_bad, _ = table
    total = canary + primary
    weight = canary * primary / total
    below = (canary_bad + primary_bad - canary * margin) / total
    above = below + margin
    noise = primary * above * (1.0 - above) + canary * below * (1.0 - below)
    # with no bad requests but the canary's, at the margin
    least = primary * margin * (1.0 - margin)
    found: Floats = np.maximum(np.cumsum(weight / total * noise), np.cumsum(weight / total * least))
    return found


def _normal_reach(variance: Floats, ends: Floats, alpha: float) -> Reach:
    """As if the sum were one of as many coins as have this variance, 1/4 each."""
    coins = np.diff(np.maximum.accumulate(4.0 * variance), prepend=0.0)
    scale = scales(coins)
    return reach([_coins(each) for each in whole(coins, scale).tolist()], scale, ends, alpha)


def _coins(number: int) -> Floats:
    from scipy.special import gammaln

    heads = np.arange(number + 1)
    logs = gammaln(number + 1) - gammaln(heads + 1) - gammaln(number - heads + 1) - number * math.log(2.0)
    found: Floats = np.exp(logs)
    return found


def _stretch(table: Floats, z: Floats) -> Any:
    """By what factor the sum may stray further than it could if each request were routed by itself."""
    from scipy.special import ndtr, stdtrit

    ratio, freedom = _dispersion(table)
    return np.sqrt(ratio) * np.maximum(-stdtrit(freedom, ndtr(-z)) / np.maximum(z, 1e-9), 1.0)


def _dispersion(table: Floats) -> tuple[Floats, Floats]:
    """After each slice, by how much the canary's bad requests vary more than chance around what they are on average, at
    least 1, and the degrees of freedom of that.

    The canary's odds to be the one that fails are those of Mantel and Haenszel so far, so that a canary that is
    steadily worse is not taken for one that varies.
    """
    canary, canary_bad, primary, primary_bad, _ = table
    total, bad = canary + primary, canary_bad + primary_bad
    odds = np.cumsum(canary_bad * primary / total) + 0.5
    odds = (odds / (np.cumsum(primary_bad * canary / total) + 0.5))[:, None]
    share = odds * canary / (odds * canary + primary)
    variance = bad * share * (1.0 - share) * ((total - bad) / np.maximum(total - 1.0, 1.0))
    past = np.tril(np.ones((len(bad), len(bad))))
    count = past @ (bad > 0)
    ratio = (past * (canary_bad - bad * share) ** 2).sum(axis=1) / np.maximum((past * variance).sum(axis=1), 1e-12)
    # one slice's worth of freedom went into the odds
    freedom = BELIEF + np.maximum(count - 1.0, 0.0)
    return np.maximum((BELIEF + count * ratio) / freedom, 1.0), freedom
