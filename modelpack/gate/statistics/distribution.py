"""How far two distributions over the same bins are apart, and whether that can be chance.

Two questions, since either alone misleads: with much traffic a test finds differences that do not matter, with little
traffic a distance is large by chance.

Whether it is chance is asked each time the sample has doubled, and look number j may spend alpha / (j (j + 1)) on it,
all looks together alpha: as few looks as keep the delay to the next one below the time that the drift has lasted. The
test is the Cochran-Mantel-Haenszel test for any number of bins (Landis, Heyman, Koch, "Average partial association in
three-way contingency tables", International Statistical Review 46 (1978)): only answers of the same slice are compared,
so that inputs that change for both versions alike while the weights climb are no drift. For ks it is the bound of
Kolmogorov (1933) and Smirnov (1939), over bins conservative.

Chance alone adds to a distance, most to few answers. Where nothing has changed psi is about (1/n + 1/m) times
chi-square with bins - 1 degrees of freedom (Yurdakul, "Statistical Properties of Population Stability Index", 2018),
the Jensen-Shannon divergence in nats an eighth of that, by the same expansion. What is held against the limit, and
shown, is the distance less the mean of that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from modelpack.gate.statistics.spending import Floats
from modelpack.quality.drift import psi as _psi

EXPECTED = 5.0  # of each version below which a bin is taken together with others: Cochran 1954
_ADDED = {"psi": 1.0, "jensen-shannon": 1.0 / (8.0 * math.log(2.0))}  # by chance, times (bins - 1) (1/n + 1/m)


def psi(one: Sequence[float], other: Sequence[float]) -> float:
    """The population stability index: below 0.1 little, above 0.25 a large change (Siddiqi 2006)."""
    return _psi(list(other), list(one))


def jensen_shannon(one: Sequence[float], other: Sequence[float]) -> float:
    """The divergence of Lin (1991) in bits: 0 for equal ones, 1 for those that share no bin."""
    p, q = _shares(one), _shares(other)
    middle = (p + q) / 2.0
    return max(0.0, float(_entropy(middle) - (_entropy(p) + _entropy(q)) / 2.0))


def ks(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest distance of the cumulative shares; the bins have to be in order."""
    return float(np.abs(np.cumsum(_shares(one) - _shares(other))).max(initial=0.0))


def chi_square(one: Sequence[float], other: Sequence[float]) -> float:
    """Cramér's V (1946), the root of chi-square an answer: 0 for equal ones, 1 for those that share no bin."""
    table = np.array([one, other], dtype=np.float64)
    total = table.sum()
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / max(total, 1.0)
    known = expected > 0
    return math.sqrt(float(((table - expected)[known] ** 2 / expected[known]).sum()) / max(total, 1.0))


STATISTICS: Mapping[str, Callable[[Sequence[float], Sequence[float]], float]] = {
    "psi": psi,
    "jensen-shannon": jensen_shannon,
    "ks": ks,
    "chi-square": chi_square,
}


@dataclass(frozen=True)
class Change:
    """`value` is the statistic, less what chance adds on average, over all that was seen, or up to the look that
    rejected. `p` is that of the last look and `allowed` what it had to fall below; 1 and 0 before the first. `enough`:
    a look was taken. `sample`: the first one's answers that `value` is of."""

    value: float
    p: float
    allowed: float
    rejected: bool
    enough: bool
    sample: float


def changed(
    slices: Sequence[tuple[Sequence[float], Sequence[float]]],
    *,
    statistic: str,
    limit: float,
    alpha: float,
    min_sample: int,
    reference: bool = False,
) -> Change:
    """Whether the first one's distribution is beyond `limit` of the other's. Slices are (canary, other) counts by bin,
    oldest first; the first look is at `min_sample` of the canary's.

    `reference`: the other ones are a sample that was there before, the same in every slice.
    """
    found = Change(0.0, 1.0, 0.0, False, False, 0.0)
    mine = np.cumsum(np.array([each for each, _ in slices], dtype=np.float64), axis=0)
    looks = 0
    for index in range(len(slices)):
        if mine[index].sum() < min_sample * 2.0**looks:
            continue
        # sizes that were passed in one slice are looks that were not taken, and had their share all the same
        looks = max(looks + 1, 1 + math.floor(math.log2(float(mine[index].sum()) / min_sample)))
        seen = slices[: index + 1]
        strata = [(mine[index], np.array(slices[index][1], dtype=np.float64))] if reference else _strata(seen)
        allowed = alpha / (looks * (looks + 1.0))
        p = _smirnov(strata) if statistic == "ks" else _chance(strata)
        value = _distance(statistic, strata)
        found = Change(value, p, allowed, p <= allowed and value > limit, True, float(mine[index].sum()))
        if found.rejected:
            return found
    if not slices:
        return found
    strata = [(mine[-1], np.array(slices[-1][1], dtype=np.float64))] if reference else _strata(slices)
    return Change(_distance(statistic, strata), found.p, found.allowed, False, found.enough, float(mine[-1].sum()))


Stratum = tuple[Floats, Floats]


def _strata(slices: Sequence[tuple[Sequence[float], Sequence[float]]]) -> list[Stratum]:
    pairs = [(np.array(one, dtype=np.float64), np.array(other, dtype=np.float64)) for one, other in slices]
    return [pair for pair in pairs if pair[0].sum() > 0 and pair[1].sum() > 0]


def _standardised(strata: Sequence[Stratum]) -> tuple[list[float], list[float]]:
    """Both distributions as counts, with each slice as large in the one as in the other; each keeps its total."""
    if not strata:
        return [], []
    totals = [(float(one.sum()), float(other.sum())) for one, other in strata]
    weights = [n * m / (n + m) if n + m else 0.0 for n, m in totals]
    found = []
    for role in (0, 1):
        mixed = sum(w * pair[role] / max(n[role], 1e-12) for w, pair, n in zip(weights, strata, totals, strict=True))
        whole = sum(n[role] for n in totals)
        found.append([float(each) for each in np.asarray(mixed) * whole / max(sum(weights), 1e-12)])
    return found[0], found[1]


def _distance(statistic: str, strata: Sequence[Stratum]) -> float:
    """The statistic less what chance adds on average, not below 0."""
    one, other = _standardised(strata)
    found = STATISTICS[statistic](one, other)
    bins = sum(a + b > 0 for a, b in zip(one, other, strict=True))
    # for one slice n m / (n + m)
    size = sum(n * m / max(n + m, 1.0) for n, m in ((float(a.sum()), float(b.sum())) for a, b in strata))
    return max(0.0, found - _ADDED.get(statistic, 0.0) * (bins - 1) / size) if size else found


def _chance(strata: Sequence[Stratum]) -> float:
    """The p-value of the Cochran-Mantel-Haenszel test; small bins are taken together."""
    from scipy.special import chdtrc

    if not strata:
        return 1.0
    excess: Floats = np.zeros(len(strata[0][0]))
    variance: Floats = np.zeros((len(excess), len(excess)))
    fewest: Floats = np.zeros(len(excess))
    for one, other in strata:
        both, n, m = one + other, float(one.sum()), float(other.sum())
        total = n + m
        if total < 2:
            continue
        shares = both / total
        excess += one - n * shares
        variance += n * m / (total - 1.0) * (np.diag(shares) - np.outer(shares, shares))
        fewest += min(n, m) * shares
    small = fewest < EXPECTED
    joined = np.vstack([np.eye(len(excess))[~small], small[None, :].astype(float)])
    if (joined @ fewest)[-1] <= 0:
        joined = joined[:-1]
    excess, variance = joined @ excess, joined @ variance @ joined.T
    if len(excess) < 2:
        return 1.0
    # one bin follows from the others
    excess, variance = excess[:-1], variance[:-1, :-1]
    freedom = int(np.linalg.matrix_rank(variance))
    value = float(excess @ np.linalg.pinv(variance) @ excess)
    return float(chdtrc(freedom, value)) if freedom else 1.0


def _smirnov(strata: Sequence[Stratum]) -> float:
    from scipy.special import kolmogorov

    if not strata:
        return 1.0
    one, other = _standardised(strata)
    sizes = [(float(a.sum()), float(b.sum())) for a, b in strata]
    weights = np.array([n * m / (n + m) for n, m in sizes])
    # as many answers as give the weighted difference its variance
    size = float(weights.sum())
    return float(kolmogorov(ks(one, other) * math.sqrt(size)))


def _shares(counts: Sequence[float]) -> Floats:
    array = np.array(counts, dtype=np.float64)
    found: Floats = array / max(float(array.sum()), 1e-12)
    return found


def _entropy(shares: Floats) -> float:
    positive = shares[shares > 0]
    return float(-(positive * np.log2(positive)).sum())
