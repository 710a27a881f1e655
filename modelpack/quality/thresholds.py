"""From which score on a predicted class is to be believed: decision thresholds for a wanted precision, one a class.

Each class's threshold is the lowest of a few candidates whose accepted rows show the wanted precision: the lower bound
of Clopper and Pearson 1934 ("The use of confidence or fiducial limits illustrated in the case of the binomial") reaches
it. Several candidates are looked at, so that each gets its share of the error (Bonferroni): what was chosen holds with
the confidence that was asked for, for rows like those it was calibrated on, which the model must not have learned from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from modelpack.errors import InputError
from modelpack.quality.answers import label, number

_CANDIDATES = 20


@dataclass(frozen=True)
class Threshold:
    """A class is believed from `score` on, never if that is None. Of the rows predicted as it, `accepted` reach that
    score and `correct` of those are right; `least` is the lower bound of the precision."""

    score: float | None
    accepted: int
    correct: int
    least: float


@dataclass(frozen=True)
class Thresholds:
    """A threshold for every class that was predicted, for the wanted precision, which each holds with `confidence`."""

    precision: float
    confidence: float
    classes: Mapping[str, Threshold]

    def sure(self, prediction: Any, score: float) -> bool:
        """Whether a prediction with this score is to be believed."""
        known = self.classes.get(label(prediction) or "")
        return known is not None and known.score is not None and score >= known.score


def calibrate(
    truth: Sequence[Any], predicted: Sequence[Any], scores: Sequence[float], precision: float, confidence: float = 0.95
) -> Thresholds:
    """Thresholds from rows that the model did not learn from: what is right, what it predicted, with which score.

    Raises InputError for columns of different lengths, scores that are no numbers, and shares that are none.
    """
    if not len(truth) == len(predicted) == len(scores):
        raise InputError("calibration", f"has {len(truth)} targets, {len(predicted)} labels, {len(scores)} scores")
    if not (0 < precision < 1 and 0 < confidence < 1):
        raise InputError("calibration", "precision and confidence are shares between 0 and 1", "write 0.95 for 95 %")
    rows: dict[str, list[tuple[float, bool]]] = {}
    for place, (right, given, score) in enumerate(zip(truth, predicted, scores, strict=True), start=1):
        name, value = label(given), number(score)
        if name is None or value is None:
            raise InputError(f"calibration, row {place}", "has no label, or a score that is no finite number")
        rows.setdefault(name, []).append((value, name == label(right)))
    return Thresholds(precision, confidence, {name: _of(rows[name], precision, confidence) for name in sorted(rows)})


def _of(rows: Sequence[tuple[float, bool]], precision: float, confidence: float) -> Threshold:
    from scipy.special import betaincinv

    best_first = sorted(rows, key=lambda row: -row[0])
    error = (1 - confidence) / _CANDIDATES
    fewest = math.ceil(math.log(error) / math.log(precision))  # with fewer, not even all correct would show it
    chosen = Threshold(None, 0, 0, 0.0)
    for step in range(_CANDIDATES):  # from the strictest to all rows
        count = fewest + round((len(rows) - fewest) * step / (_CANDIDATES - 1))
        if not fewest <= count <= len(rows):
            continue
        score = best_first[count - 1][0]
        accepted = [correct for value, correct in best_first if value >= score]  # equal scores go together
        correct = sum(accepted)
        least = float(betaincinv(correct, len(accepted) - correct + 1, error)) if correct else 0.0
        if least >= precision:
            chosen = Threshold(score, len(accepted), correct, least)
    return chosen


def to_json(thresholds: Thresholds) -> dict[str, Any]:
    """What ships with the model; `null` as a score is a class that is never believed."""
    return asdict(thresholds)


def from_json(value: Mapping[str, Any]) -> Thresholds:
    """Raises KeyError, TypeError or ValueError for what is none."""
    classes = {str(name): Threshold(**each) for name, each in value["classes"].items()}
    return Thresholds(float(value["precision"]), float(value["confidence"]), classes)
