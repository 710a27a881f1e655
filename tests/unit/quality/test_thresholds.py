from __future__ import annotations

import json

import numpy as np
import pytest

from modelpack.errors import InputError
from modelpack.quality import thresholds

RANDOM = np.random.default_rng(7)
N = 4000
SCORES = RANDOM.uniform(0.5, 1, N)
TRUTH = np.array(["a", "b"] * (N // 2))


def drawn(seed: int) -> tuple[list[str], list[str], list[float]]:
    """A classifier whose score is its chance to be right."""
    random = np.random.default_rng(seed)
    scores = random.uniform(0.5, 1, N)
    given = np.where(random.random(N) < scores, TRUTH, np.where(TRUTH == "a", "b", "a"))
    return TRUTH.tolist(), given.tolist(), scores.tolist()


def test_the_threshold_gives_the_wanted_precision_on_rows_not_seen() -> None:
    found = thresholds.calibrate(*drawn(0), precision=0.9)
    for name in ("a", "b"):
        score = found.classes[name].score
        assert score is not None
        assert 0.8 < score < 0.95  # the precision of what scores s or more is (1 + s) / 2
    truth, given, scores = drawn(2)
    sure = [found.sure(label, score) for label, score in zip(given, scores, strict=True)]
    right = [one == other for one, other, kept in zip(truth, given, sure, strict=True) if kept]
    assert np.mean(right) > 0.9
    assert 0.2 < np.mean(sure) < 0.5


def test_it_misses_the_wanted_precision_as_rarely_as_promised() -> None:
    """The true precision from score s on is (1 + s) / 2, so whether a threshold keeps its promise is known."""
    missed = [
        (1 + (each.score or 1.0)) / 2 < 0.9
        for seed in range(100)
        for each in thresholds.calibrate(*drawn(seed), precision=0.9, confidence=0.9).classes.values()
    ]
    assert sum(missed) <= 20


def test_the_lower_bound_is_clopper_and_pearsons() -> None:
    stats = pytest.importorskip("scipy.stats")
    found = thresholds.calibrate(*drawn(0), precision=0.9).classes["a"]
    oracle = stats.binomtest(found.correct, found.accepted, alternative="greater").proportion_ci(1 - 0.05 / 20)
    assert found.least == pytest.approx(oracle.low)


@pytest.mark.parametrize(
    ("truth", "given", "precision"), [(["a"] * 50, ["a"] * 50, 0.95), (["a", "b"] * 500, ["a"] * 1000, 0.6)]
)
def test_a_class_that_cannot_show_it_is_never_believed(truth: list[str], given: list[str], precision: float) -> None:
    found = thresholds.calibrate(truth, given, [0.9] * len(truth), precision)
    assert found.classes["a"].score is None
    assert not found.sure("a", 1.0)


def test_equal_scores_are_accepted_together() -> None:
    found = thresholds.calibrate(["a"] * 900 + ["b"] * 100, ["a"] * 1000, [0.7] * 1000, 0.8)
    assert (found.classes["a"].accepted, found.classes["a"].correct) == (1000, 900)


def test_json_keeps_it() -> None:
    found = thresholds.calibrate(*drawn(3), precision=0.9)
    assert thresholds.from_json(json.loads(json.dumps(thresholds.to_json(found)))) == found
    assert found.sure("a", 0.999)
    assert not found.sure("a", 0.5)
    assert not found.sure("unknown", 0.999)


@pytest.mark.parametrize(
    ("given", "scores", "precision", "words"),
    [
        (["a"], [0.5, 0.6], 0.9, "1 targets, 1 labels, 2 scores"),
        (["a"], [float("nan")], 0.9, "row 1"),
        ([None], [0.5], 0.9, "row 1"),
        (["a"], [0.5], 95, "shares between 0 and 1"),
    ],
)
def test_what_is_no_calibration_is_an_error(
    given: list[str], scores: list[float], precision: float, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        thresholds.calibrate(["a"], given, scores, precision)
