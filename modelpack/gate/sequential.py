"""Is the canary worse than the primary? An answer that stays valid however often one looks.

The data are counts of bad requests among all, canary and primary, in strata: intervals of constant weight. Only
requests of the same stratum are compared, so that a baseline that drifts while the weights climb does not count against
the canary; the strata's differences are added with the weights of Mantel and Haenszel, n_c n_p / (n_c + n_p).

The interval is an asymptotic confidence sequence from the normal mixture boundary: Howard, Ramdas, McAuliffe, Sekhon,
"Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49 (2021), eq. (14);
Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences",
Annals of Statistics 52 (2024). Its variance is that of a canary exactly at the margin, as in the score test of
Farrington and Manning, Statistics in Medicine 9 (1990): there a wrong verdict is likeliest, and luck cannot shrink it.

Each bound alone fails with probability alpha at most, at any time: a canary within the margin can only be rejected
wrongly, one beyond it only be accepted wrongly. `benchmarks/gate.py` measures how far that holds with few errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Variance of one bad request, added to the measured one: while there are hardly any, the normal approximation does not
# hold, and without any the interval would have no width. It fades as requests come in.
PRIOR = 1.0


@dataclass(frozen=True)
class Stratum:
    """Requests, and bad ones among them, while the weight was constant. `step` numbers such intervals in a rollout."""

    step: int
    weight: float
    canary_total: float = 0.0
    canary_bad: float = 0.0
    primary_total: float = 0.0
    primary_bad: float = 0.0


@dataclass(frozen=True)
class Bounds:
    """Canary minus primary in share of requests, with its confidence sequence; the two shares are weighted alike."""

    estimate: float
    low: float
    high: float
    canary: float
    primary: float


def difference(strata: Sequence[Stratum], *, margin: float, alpha: float, sharpest: float) -> Bounds | None:
    """The bounds after these strata; None while no stratum has requests of both.

    `sharpest` is the number of canary requests around which the interval is tightest; it must not depend on the data.
    """
    rows = [(each.canary_total, each.canary_bad, each.primary_total, each.primary_bad) for each in strata]
    rows = [row for row in rows if row[0] > 0 and row[2] > 0]
    if not rows:
        return None
    columns = [np.array(column, dtype=np.float64) for column in zip(*rows, strict=True)]
    return Bounds(*(float(value) for value in bounds(*columns, margin=margin, alpha=alpha, sharpest=sharpest)))


def bounds(
    canary_total: Floats,
    canary_bad: Floats,
    primary_total: Floats,
    primary_bad: Floats,
    *,
    margin: float,
    alpha: float,
    sharpest: float,
) -> tuple[Any, Any, Any, Any, Any]:
    """(estimate, low, high, canary share, primary share) from arrays whose last axis runs over strata.

    Strata without requests of both arms do not count. Rows without any such stratum get an interval of -1..1.
    """
    both = np.maximum(canary_total + primary_total, 1.0)
    weight = canary_total * primary_total / both
    total = weight.sum(axis=-1)
    safe = np.maximum(total, 1e-12)
    # the primary's share if the canary's were higher by the margin and all bad requests were as many
    primary = np.maximum((canary_bad + primary_bad - canary_total * margin) / both, 0.0)
    canary = np.minimum(primary + margin, 1.0)
    noise = primary_total * canary * (1.0 - canary) + canary_total * primary * (1.0 - primary)
    reach = _boundary((weight / both * noise).sum(axis=-1) + PRIOR, total, alpha, sharpest) / safe
    canary_share = (weight * canary_bad / np.maximum(canary_total, 1.0)).sum(axis=-1) / safe
    primary_share = (weight * primary_bad / np.maximum(primary_total, 1.0)).sum(axis=-1) / safe
    estimate = canary_share - primary_share
    low = np.where(total > 0, np.maximum(estimate - reach, -1.0), -1.0)
    high = np.where(total > 0, np.minimum(estimate + reach, 1.0), 1.0)
    return estimate, low, high, canary_share, primary_share


def _boundary(variance: Any, time: Any, alpha: float, sharpest: float) -> Any:
    """How far a sum with this variance may stray to one side at any time; `time` is its effective sample, in requests.

    The mixture's parameter is chosen to be tightest at `sharpest`: Howard et al., section 3.5. Half of the two-sided
    boundary's chance falls to each side, so that one side at alpha is both sides at twice that.
    """
    both_sides = 2.0 * alpha
    scale = -2.0 * math.log(both_sides)
    age = np.maximum(time, 1e-12) / (sharpest / (scale + math.log(scale) + 1.0))
    return np.sqrt(variance * (age + 1.0) / age * np.log((age + 1.0) / both_sides**2))
