"""What decides whether a candidate passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelpack import quality
from modelpack.errors import InputError
from modelpack.quality import Sample
from modelpack.quality.evaluation import Criterion, Evaluation, Row, from_json, to_json

RANDOM = np.random.default_rng(5)
N = 200
MPG = RANDOM.normal(23, 7, N)
ORIGIN = np.array(["usa", "japan", "europe", "usa"] * 50)
CARS = pd.DataFrame({"mpg": MPG, "origin": ORIGIN})
OLD = MPG + RANDOM.normal(0, 2, N)
MAE = Criterion("mae", margin=0.2)

DIGIT = np.arange(N) % 4
DIGITS = pd.DataFrame({"digit": DIGIT})


def wrong(share: float, seed: int = 0) -> np.ndarray:
    miss = np.random.default_rng(seed).random(N) < share
    return np.where(miss, (DIGIT + 1) % 4, DIGIT)


def cars(new: Sequence[Any], old: Sequence[Any] | None = tuple(OLD), *criteria: Criterion, **more: Any) -> Evaluation:
    return quality.evaluate(Sample(CARS, new, old), "mpg", criteria or (MAE,), **more)


def digits(new: Sequence[Any], old: Sequence[Any] | None, *criteria: Criterion) -> Evaluation:
    return quality.evaluate(Sample(DIGITS, new, old), "digit", criteria)


def row(found: Evaluation, group: str = "", metric: str = "", data: str = "held-out") -> Row:
    return next(each for each in found.rows if (each.data, each.group) == (data, group) and metric in (each.metric, ""))


@pytest.mark.parametrize(
    ("noise", "margin", "passed", "why"),
    [
        (0.5, 0.2, True, "mae 1."),  # clearly better
        (1.0, 0.2, True, "mae 1."),  # the same
        (1.05, 0.2, True, "mae 1."),  # a little worse, shown to be within the margin
        (1.3, 0.2, False, "worse than the current model's, 0.2 is allowed"),
        (1.0, 0.0, True, "mae 1."),  # identical: no doubt about it
        (1.01, 0.0, False, "worse than the current model's, 0 is allowed"),
    ],
)
def test_a_candidate_passes_if_it_is_shown_to_be_at_most_the_margin_worse(
    noise: float, margin: float, passed: bool, why: str
) -> None:
    found = cars(MPG + noise * (OLD - MPG), tuple(OLD), Criterion("mae", margin))
    assert (found.passed, row(found).verdict) == (passed, "pass" if passed else "fail")
    assert why in found.reason
    assert row(found).difference == pytest.approx((noise - 1) * np.abs(OLD - MPG).mean())


def test_more_doubt_than_margin_does_not_pass_and_says_how_many_rows_would_do() -> None:
    found = cars(MPG + RANDOM.normal(0, 2, N))
    assert not found.passed
    assert "rows would show it" in found.reason
    low, high = row(found).low, row(found).high
    assert low is not None and high is not None
    assert low < 0.2 < high


@pytest.mark.parametrize(("metric", "limit", "passed"), [("mae", 2.0, True), ("mae", 1.0, False), ("r2", 0.99, False)])
def test_a_limit_holds_with_and_without_a_current_model(metric: str, limit: float, passed: bool) -> None:
    criterion = Criterion(metric, margin=9, limit=limit)
    for old in (OLD, None):
        found = cars(OLD, old, criterion)
        assert found.passed == passed
        assert passed or f"{limit:g} is wanted" in found.reason


def test_the_first_model_of_all_is_judged_by_limits_alone() -> None:
    found = cars(OLD, None, against="v1")
    assert found.passed
    assert "no current model" in found.reason
    assert found.against == ""
    assert row(found).old is row(found).difference is row(found).low is None


def test_the_benchmark_has_its_own_limit_and_compares_nothing() -> None:
    bench = Sample(CARS[:5], MPG[:5] + 1.5, MPG[:5])
    kept, broken = (
        quality.evaluate(Sample(CARS, OLD, OLD), "mpg", [Criterion("mae", 0.2, 3.0, limit)], benchmark=bench)
        for limit in (None, 1.0)
    )
    assert kept.passed
    assert "benchmark's limits kept" in kept.reason
    assert row(kept, data="benchmark").verdict == "pass"
    assert not broken.passed
    assert broken.reason == "benchmark: mae is 1.5, at most 1 is wanted"


def test_a_segment_stops_a_model_only_where_it_is_shown_to_be_worse() -> None:
    better = MPG + 0.3 * (OLD - MPG)
    broken = np.where(ORIGIN == "japan", better + 6, better)
    found = cars(broken, tuple(OLD), Criterion("mae", 2.0), segments=["origin"])
    assert row(found).verdict == "pass"
    assert row(found, "origin=japan").verdict == "fail"
    assert row(found, "origin=usa").verdict == "pass"
    assert not found.passed
    assert "origin=japan is at least" in found.reason


def test_a_small_segment_shows_its_values_and_stops_nothing() -> None:
    table = CARS.assign(origin=np.where(np.arange(N) < 10, "rare", "usual"))
    new = np.where(np.arange(N) < 10, OLD + 1.5, MPG + 0.5 * (OLD - MPG))
    found = quality.evaluate(Sample(table, new, OLD), "mpg", [MAE], segments=["origin"])
    assert found.passed
    assert row(found, "origin=rare").low is None
    assert row(found, "origin=rare").difference is not None


def test_intervals_of_segments_hold_together() -> None:
    alone = cars(OLD + 0.1, segments=[])
    in_one = quality.evaluate(Sample(CARS.assign(all="x"), OLD + 0.1, OLD), "mpg", [MAE], segments=["all", "origin"])
    same, wider = row(alone), row(in_one, "all=x")
    assert same.low is not None and wider.low is not None and same.high is not None and wider.high is not None
    assert wider.low < same.low < same.high < wider.high


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, "", "many", None, 1e200])
def test_a_row_without_a_finite_number_is_not_passed(bad: Any) -> None:
    found = cars([*OLD[:7], bad, *OLD[8:]])
    assert not found.passed
    assert found.reason == "held-out: 1 of 200 rows got no finite number, row 8 first"


def test_rows_that_the_current_model_has_no_answer_to_are_left_out() -> None:
    found = cars(OLD, [math.nan] * 3 + list(OLD[3:]))
    assert found.passed
    assert row(found).n == N - 3
    assert "3 rows" in row(found).reason
    failed = cars(MPG + 9, [math.nan] * 3 + list(OLD[3:]))
    assert "worse than" in row(failed).reason and row(failed).reason.endswith("has no answer to are left out")


def test_a_current_model_that_answers_nothing_is_none() -> None:
    found = cars(OLD, [math.nan] * N, Criterion("mae", 0.0, 3.0))
    assert found.passed
    assert row(found).old is None
    assert "too few rows" in row(found).reason


def test_a_current_model_that_answers_nothing_lets_nobody_pass_without_a_limit() -> None:
    found = cars(OLD, [math.nan] * N, Criterion("mae", 0.5))
    assert not found.passed
    assert "the current model answers too few rows to be compared, and mae has no limit" in found.reason


@pytest.mark.parametrize("metric", ["mae", "rmse", "r2"])
@pytest.mark.parametrize("bad", [1e90, 1e149, 1e308])
def test_a_number_out_of_all_bounds_does_not_pass(metric: str, bad: float) -> None:
    assert not cars([*OLD[:7], bad, *OLD[8:]], OLD, Criterion(metric, 0.1)).passed


def test_too_few_rows_do_not_pass() -> None:
    few = Sample(CARS[:19], OLD[:19], OLD[:19])
    found = quality.evaluate(few, "mpg", [MAE])
    assert not found.passed
    assert found.reason == "held-out: 19 rows are too few to judge by, 20 are the fewest"


def test_r2_of_a_constant_target_does_not_pass() -> None:
    found = quality.evaluate(Sample(CARS.assign(mpg=20.0), OLD, OLD), "mpg", [Criterion("r2")])
    assert not found.passed
    assert "not defined" in found.reason


def test_classes_have_precision_and_recall_of_their_own() -> None:
    new = np.where((DIGIT == 3) & (np.arange(N) % 8 == 3), 2, DIGIT)  # half of the threes are taken for twos
    found = digits(new, DIGIT, Criterion("accuracy", 0.2))
    assert row(found, "class 3", "recall").new == 0.5
    assert row(found, "class 3", "precision").new == 1.0
    assert row(found, "class 2", "precision").new == pytest.approx(2 / 3)
    assert row(found, "class 3", "recall").n == 50
    assert row(found, "class 3", "recall").verdict == ""
    assert found.passed


def test_a_class_stops_a_model_where_its_metric_is_asked_for() -> None:
    new = np.where((DIGIT == 3) & (np.arange(N) % 8 == 3), 2, DIGIT)
    found = digits(new, DIGIT, Criterion("accuracy", 0.3), Criterion("recall", 0.2))
    assert row(found, "class 3", "recall").verdict == "fail"
    assert row(found, "class 3", "precision").verdict == ""
    assert not found.passed


def test_classifiers_that_agree_on_every_row_are_not_the_same_for_sure() -> None:
    found = row(digits(wrong(0.1), wrong(0.1), Criterion("accuracy", 0.02)))
    assert found.difference == 0
    assert found.high == pytest.approx(1.97 * math.sqrt(2 / 202**2), rel=0.01)  # Bonett and Price 2012
    assert found.verdict == "pass"


def test_a_class_that_both_models_know_by_heart_is_still_in_doubt() -> None:
    found = digits(DIGIT, DIGIT, Criterion("accuracy", 0.2))
    for metric in ("precision", "recall"):
        one = row(found, "class 2", metric)
        assert one.low is not None and one.high is not None
        assert one.low < -0.02 < 0.02 < one.high


@pytest.mark.parametrize("new", [[str(each) for each in DIGIT], DIGIT.astype(float), [f"{each}.0" for each in DIGIT]])
def test_labels_are_the_same_however_they_are_written(new: Sequence[Any]) -> None:
    assert row(digits(new, None, Criterion("accuracy", limit=1.0))).new == 1.0


def test_a_class_that_only_one_model_predicts_counts_as_wrong_elsewhere() -> None:
    found = digits(np.where(DIGIT == 1, "none of them", DIGIT.astype(str)), DIGIT, Criterion("f1", 0.5))
    assert row(found).new == 0.75
    assert row(found, "class 1", "precision").new == 0


@pytest.mark.parametrize(
    ("sample", "target", "criteria", "more", "words"),
    [
        (Sample(CARS, OLD[1:]), "mpg", [MAE], {}, "has 200 rows, and the candidate predicted 199"),
        (Sample(CARS, OLD, OLD[1:]), "mpg", [MAE], {}, "has 200 rows, and the current model predicted 199"),
        (Sample(CARS, OLD), "price", [MAE], {}, "has no column 'price'"),
        (Sample(CARS[:0], []), "mpg", [MAE], {}, "holds no rows"),
        (Sample(CARS.assign(mpg=[math.nan] * N), OLD), "mpg", [MAE], {}, "row 1: mpg is no finite number"),
        (Sample(CARS, OLD), "mpg", [], {}, "are none"),
        (Sample(CARS, OLD), "mpg", [MAE, Criterion("f1")], {}, "of numbers and of classes at once"),
        (Sample(CARS, OLD), "mpg", [MAE], {"segments": ["maker"]}, "has no column 'maker'"),
        (Sample(CARS, OLD), "mpg", [MAE], {"segments": ["mpg"]}, "mpg has 200 values"),
        (Sample(DIGITS, [0.93] * N), "digit", [Criterion("f1")], {}, "predicted scores like 0.93"),
        (
            Sample(DIGITS, [*DIGIT[:-1], "error"]),
            "digit",
            [Criterion("f1")],
            {},
            "row 200: the candidate predicted 'error', and the others are numbers",
        ),
        (
            Sample(pd.DataFrame({"y": np.arange(2000)}), np.arange(2000)),
            "y",
            [Criterion("f1")],
            {},
            "y has 2000 classes",
        ),
    ],
)
def test_what_cannot_be_compared_is_an_error(
    sample: Sample, target: str, criteria: list[Criterion], more: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError) as caught:
        quality.evaluate(sample, target, criteria, **more)
    assert words in str(caught.value)


def test_the_same_in_the_same_out_and_json_keeps_it() -> None:
    first, again = (cars(OLD * 1.01, segments=["origin"], model="mpg", version="v2", against="v1") for _ in range(2))
    assert first == again
    assert from_json(to_json(first)) == first


def test_pipelines_are_compared_over_the_rows_of_all_folds() -> None:
    parts = [np.arange(N) % 5 == each for each in range(5)]
    better = MPG + 0.5 * (OLD - MPG)
    found = quality.compare([Sample(CARS[each], better[each], OLD[each]) for each in parts], "mpg", [MAE])
    whole = row(cars(better))
    one = row(found, data="folds")
    assert found.passed
    assert (one.n, one.new) == (N, pytest.approx(whole.new))
    assert one.low is not None and one.high is not None and whole.low is not None and whole.high is not None
    assert one.high - one.low == pytest.approx(1.5 * (whole.high - whole.low))  # sqrt(1 + 5/4)


@pytest.mark.parametrize(
    "folds",
    [
        [Sample(CARS, OLD, OLD)],
        [Sample(CARS, OLD), Sample(CARS, OLD)],
        [Sample(CARS, OLD[1:], OLD), Sample(CARS, [*OLD, 1.0], OLD)],
    ],
)
def test_folds_that_are_none_are_an_error(folds: list[Sample]) -> None:
    with pytest.raises(InputError):
        quality.compare(folds, "mpg", [MAE])
