"""A metric of two models over the same rows, and the interval of its difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelpack.quality.interval import FEWEST, bounds
from modelpack.quality.metrics import UNKNOWN, Estimate, classification, ranking, regression

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from modelpack.quality.metrics import Codes, Floats


@dataclass(frozen=True)
class Paired:
    """What both models reach; `difference` is new - old, between `low` and `high`. None: not defined, no old model, or
    too few rows for an interval."""

    new: float | None
    old: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None


def numbers(
    metric: str,
    truth: Floats,
    new: Floats,
    old: Floats | None,
    confidence: float,
    *,
    spread: float = 1.0,
    fewest: int = FEWEST,
) -> Paired:
    """mae, rmse or r2; `spread` widens the interval, which needs `fewest` rows."""
    import numpy as np

    after = regression(metric, truth, new)
    before = None if old is None else regression(metric, truth, old)
    return between(after, before, np.ones(len(truth)), confidence, spread=spread, enough=len(truth) >= fewest)


def labels(
    metric: str,
    truth: Codes,
    new: Codes,
    old: Codes | None,
    counted: Floats,
    confidence: float,
    *,
    spread: float = 1.0,
    fewest: int = FEWEST,
) -> Paired:
    """accuracy, precision, recall or f1. `counted` says how much each class's value counts; where only some classes
    count, `fewest` rows have to be of them."""
    import numpy as np

    weights = np.ones(len(truth))
    after = classification(metric, truth, new, weights, counted)
    if old is None:
        return Paired(after.value)
    before = classification(metric, truth, old, weights, counted)
    rows = int((counted[truth] > 0).sum())
    doubted = _with_doubt(truth, new, old, counted)
    apart = [classification(metric, doubted[0], each, doubted[3], counted) for each in doubted[1:3]]
    found = between(apart[0], apart[1], doubted[3], confidence, spread=spread, enough=rows >= fewest)
    difference = after.value - before.value
    if found.low is None or found.high is None:
        return Paired(after.value, before.value, difference)
    return Paired(after.value, before.value, difference, min(found.low, difference), max(found.high, difference))


def scores(
    truth: npt.NDArray[np.bool_], new: Floats, old: Floats | None, confidence: float, *, fewest: int = FEWEST
) -> Paired:
    """The area under the ROC curve; `truth` tells the positive rows. `fewest` rows have to be of either kind."""
    import numpy as np

    enough = int(min(truth.sum(), (~truth).sum())) * 2 >= fewest
    after, before = ranking(truth, new), None if old is None else ranking(truth, old)
    return between(after, before, np.ones(len(truth)), confidence, enough=enough)


def between(
    after: Estimate | None,
    before: Estimate | None,
    weights: Floats,
    confidence: float,
    *,
    spread: float = 1.0,
    enough: bool = True,
) -> Paired:
    """The difference of two estimates over the same rows."""
    if after is None or before is None:
        return Paired(after.value if after else None, before.value if before else None)
    difference = after.value - before.value
    if not enough:
        return Paired(after.value, before.value, difference)
    low, high = bounds(difference, after.influence - before.influence, weights, confidence, spread)
    return Paired(after.value, before.value, difference, low, high)


def _with_doubt(truth: Codes, new: Codes, old: Codes, classes: Floats) -> tuple[Codes, Codes, Codes, Floats]:
    """The rows, and for every class two more that weigh what it counts: one that only the new model gets right, and one
    that only the old one does; the other takes it for the next class. For accuracy and recall that is the adjusted
    interval of Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of binomial proportions based
    on paired data": without it, models that agree on each of a few rows would be the same for sure."""
    import numpy as np

    present = np.union1d(truth, np.flatnonzero(classes))
    wrong, doubt = np.array([UNKNOWN]), classes[present]
    if len(present) > 1:
        wrong = np.roll(present, -1)
        doubt = np.maximum(doubt, classes[wrong])  # a mistake for a class touches its precision too
    return (
        np.concatenate([truth, present, present]),
        np.concatenate([new, present, wrong]),
        np.concatenate([old, wrong, present]),
        np.concatenate([np.ones(len(truth)), doubt, doubt]),
    )
