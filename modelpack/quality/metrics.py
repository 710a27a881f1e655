"""Metrics with their influence: how much each row moves them, which is what an interval is made of.

A metric is a smooth function of means over rows. Its influence function (Hampel 1974, "The influence curve and its role
in robust estimation") is the row's derivative; the difference of two models' influences, row by row, is paired, and its
variance over n is the variance of the metrics' difference (the infinitesimal jackknife: Jaeckel 1972; Efron 1981).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Codes = npt.NDArray[np.int64]

UNKNOWN = -1  # a predicted label that is no class of the truth


@dataclass(frozen=True)
class Estimate:
    """A metric's value, and the influence of each row on it; their weighted mean is 0."""

    value: float
    influence: Floats


def regression(metric: str, truth: Floats, predicted: Floats) -> Estimate | None:
    """mae, rmse or r2; None where it is not defined (r2 of a constant truth)."""
    import numpy as np

    error = predicted - truth
    if metric == "mae":
        size = np.abs(error)
        return Estimate(float(size.mean()), size - size.mean())
    square = error**2
    mean = float(square.mean())
    if metric == "rmse":
        root = mean**0.5
        return Estimate(root, (square - mean) / (2 * root) if root else np.zeros_like(square))
    spread = (truth - truth.mean()) ** 2
    variance = float(spread.mean())
    if not variance:
        return None
    return Estimate(1 - mean / variance, mean / variance**2 * (spread - variance) - (square - mean) / variance)


def classification(metric: str, truth: Codes, predicted: Codes, weights: Floats, classes: Floats) -> Estimate:
    """accuracy, precision, recall or f1 of weighted rows.

    `truth` and `predicted` number the classes from 0, UNKNOWN is none of them; `classes` says how much each one's value
    counts, 1/K each for the plain mean. A class that is never predicted has precision 0.
    """
    import numpy as np

    hit = (truth == predicted).astype(float)
    total = weights.sum()
    if metric == "accuracy":
        mean = float(weights @ hit / total)
        return Estimate(mean, hit - mean)
    true, positive = metric != "precision", metric != "recall"
    known = predicted != UNKNOWN
    counts = np.zeros(len(classes))
    if true:
        counts += np.bincount(truth, weights, len(classes))
    if positive:
        counts += np.bincount(predicted[known], weights[known], len(classes))
    factor = float(true) + float(positive)  # f1 = 2 hits / (true + positive)
    hits = np.bincount(truth, weights * hit, len(classes)) * factor
    asked = counts > 0
    values = np.divide(hits, counts, out=np.zeros_like(hits), where=asked)
    share = np.divide(classes * total, counts, out=np.zeros_like(hits), where=asked)
    influence = share[truth] * factor * hit
    if true:
        influence -= (share * values)[truth]
    if positive:
        influence[known] -= (share * values)[predicted[known]]
    return Estimate(float(classes @ values), influence)


def ranking(positive: npt.NDArray[np.bool_], scores: Floats) -> Estimate | None:
    """The area under the ROC curve: how often a positive row has the higher score, ties by half. None where all
    rows are of one kind.

    Its influence: the structural components of DeLong, DeLong and Clarke-Pearson 1988, "Comparing the areas under two
    or more correlated receiver operating characteristic curves", from midranks as in Sun and Xu 2014, "Fast
    implementation of DeLong's algorithm".
    """
    import numpy as np
    from scipy.stats import rankdata

    counts = np.where(positive, positive.sum(), (~positive).sum()).astype(float)
    others = len(scores) - counts
    if not others.all():
        return None
    own = np.zeros(len(scores))
    for kind in (positive, ~positive):
        own[kind] = rankdata(scores[kind])
    beaten = (rankdata(scores) - own) / others
    beaten = np.where(positive, beaten, 1 - beaten)
    area = float(beaten[positive].mean())
    return Estimate(area, (beaten - area) * len(scores) / counts)
