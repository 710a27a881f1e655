from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from modelpack.errors import InputError
from modelpack.fields import read
from modelpack.gate.checks import Evidence, Labels, Told, Window, parse_check
from modelpack.gate.checks.deciding import Terms
from modelpack.gate.checks.segments import Segments


def labels(metric: str = "mae", margin: float = 0.0, min_sample: int = 100, **more: Any) -> Labels:
    return Labels(Terms("quality", margin, min_sample, **more), metric, "mpg" if metric != "accuracy" else "")


def told(
    errors: dict[str, Callable[[random.Random], float]], n: int = 400, share: float = 0.5, seed: int = 1, **more: Any
) -> list[Told]:
    """`n` predictions of 20 and more, each version's with its errors, over the whole horizon."""
    chance = random.Random(seed)
    found = []
    for each in range(n):
        role, truth = ("canary" if chance.random() < share else "primary"), 20 + chance.random()
        found.append(Told(f"r{each}", role, truth + errors[role](chance), each / n, truth, **more))
    return found


def noise(size: float, shift: float = 0.0) -> Callable[[random.Random], float]:
    return lambda chance: shift + chance.gauss(0, size)


ALIKE = {"canary": noise(1), "primary": noise(1)}
OVER = 1.0


def evaluate(check: Labels, rows: list[Told], elapsed: float = OVER, **more: Any) -> Evidence:
    return check.evaluate(Window(told=tuple(rows), elapsed=elapsed, **more))


@pytest.mark.parametrize("metric", ["mae", "rmse", "bias"])
def test_errors_that_are_alike_pass_at_the_horizon(metric: str) -> None:
    found = evaluate(labels(metric), told(ALIKE))
    assert found.verdict == "accept" and "was not found to be worse" in found.reason
    assert evaluate(labels(metric), told(ALIKE), elapsed=0.5).verdict == "undecided"
    assert found.low is not None and found.high is not None and found.estimate is not None
    assert found.low < 0 < found.high and found.low < found.estimate < found.high
    assert f"of {found.n} labelled predictions" in found.reason and f"the primary's {found.n_primary}" in found.reason


@pytest.mark.parametrize(
    ("metric", "canary", "primary", "verdict"),
    [
        ("mae", noise(2), noise(1), "reject"),
        ("rmse", noise(2), noise(1), "reject"),
        ("bias", noise(1, 2), noise(1), "reject"),
        ("bias", noise(1, -2), noise(1), "reject"),
        ("bias", noise(1), noise(1, 2), "accept"),
        ("bias", noise(1, -1), noise(1, 1), "accept"),
        ("mae", noise(1), noise(2), "accept"),
    ],
)
def test_only_a_worse_canary_is_rejected(metric: str, canary: Any, primary: Any, verdict: str) -> None:
    found = evaluate(labels(metric), told({"canary": canary, "primary": primary}))
    assert found.verdict == verdict, found.reason


@pytest.mark.parametrize(("metric", "canary", "primary"), [("mae", 1.2, 1.0), ("rmse", 1.2, 1.0), ("bias", -1.2, 1.0)])
def test_the_numbers_are_the_metrics_own(metric: str, canary: float, primary: float) -> None:
    constant = {"canary": lambda _: canary, "primary": lambda _: primary}
    found = evaluate(labels(metric, margin=0.5), told(constant))
    assert found.canary == pytest.approx(1.2) and found.primary == pytest.approx(1.0)
    assert found.estimate == pytest.approx(0.2) and found.verdict == "accept"


def classes(right: dict[str, float], n: int = 600, seed: int = 2) -> list[Told]:
    chance = random.Random(seed)
    found = []
    for each in range(n):
        role = chance.choice(("canary", "primary"))
        answer = "usa" if chance.random() < right[role] else "japan"
        found.append(Told(f"r{each}", role, answer, each / n, "usa"))
    return found


def test_accuracy_is_better_where_it_is_higher() -> None:
    found = evaluate(labels("accuracy"), classes({"canary": 0.6, "primary": 0.9}))
    assert found.verdict == "reject" and "points" in found.reason
    assert found.canary == pytest.approx(0.6, abs=0.05) and found.primary == pytest.approx(0.9, abs=0.05)
    assert found.high is not None and found.high < 0
    assert evaluate(labels("accuracy"), classes({"canary": 0.9, "primary": 0.6})).verdict == "accept"


def test_within_a_margin_it_is_accepted_before_the_horizon() -> None:
    rows = classes({"canary": 0.9, "primary": 0.9}, n=3000)
    found = evaluate(labels("accuracy", margin=0.1), rows, elapsed=0.4)
    assert found.verdict == "accept" and "at most -10 points is allowed" in found.reason
    assert evaluate(labels("accuracy", margin=0.1), rows[:200], elapsed=0.4).verdict == "undecided"


def test_predictions_without_a_label_say_nothing_yet() -> None:
    rows = [replace(each, truth=each.truth if index % 10 == 0 else None) for index, each in enumerate(told(ALIKE))]
    found = evaluate(labels(), rows, elapsed=0.5)
    n = sum(each.role == "canary" and each.truth is not None for each in rows)
    assert (found.verdict, found.n) == ("undecided", n)
    all_canary = sum(each.role == "canary" for each in rows)
    assert f"labels so far: {n} of {all_canary} of the canary" in found.reason


@pytest.mark.parametrize(("without_data", "verdict"), [("wait", "hold"), ("pass", "accept"), ("fail", "reject")])
def test_without_labels_the_horizon_ends_as_it_was_told_to(without_data: str, verdict: str) -> None:
    rows = [replace(each, truth=None) for each in told(ALIKE)]
    found = evaluate(labels(without_data=without_data), rows)
    assert found.verdict == verdict and "0 of at least 100 labelled predictions of the canary" in found.reason
    assert evaluate(labels(without_data=without_data), rows, elapsed=0.9).verdict == "undecided"
    assert evaluate(labels(without_data=without_data), []).verdict == verdict


def test_silence_is_no_reason_to_hold_where_labels_are_late() -> None:
    assert evaluate(labels(), [], elapsed=0.2, silent=500.0).verdict == "undecided"


def test_one_version_without_any_label_is_not_compared() -> None:
    rows = [each for each in told(ALIKE) if each.role == "canary"]
    found = evaluate(labels(), rows)
    assert found.verdict == "hold" and "of the primary" in found.reason and found.n_primary == 0


def test_a_retry_counts_once_and_a_later_label_corrects_an_earlier_one() -> None:
    rows = told(ALIKE)
    again = [*rows, *(replace(each, value=999.0) for each in rows)]
    assert evaluate(labels(), again) == evaluate(labels(), rows)
    wrong = [replace(each, truth=-500.0) for each in rows]
    assert evaluate(labels(), [*wrong, *rows]) == evaluate(labels(), rows)
    unlabelled = [replace(each, truth=None) for each in rows]
    assert evaluate(labels(), [*rows, *unlabelled]) == evaluate(labels(), rows)


def test_labels_may_come_in_any_order() -> None:
    rows = told(ALIKE)
    shuffled = random.Random(5).sample(rows, len(rows))
    ours, theirs = evaluate(labels(), shuffled), evaluate(labels(), rows)
    assert (ours.low, ours.high, ours.n) == (pytest.approx(theirs.low), pytest.approx(theirs.high), theirs.n)


def test_young_predictions_that_wait_for_their_labels_do_not_count_against_the_canary() -> None:
    """Traffic gets harder with time for both, and only the canary's share of it rises."""
    chance = random.Random(4)
    rows = []
    for each in range(4000):
        t = each / 4000
        role = "canary" if chance.random() < 0.05 + 0.5 * t else "primary"
        rows.append(Told(f"r{each}", role, 20 + chance.gauss(0, 1 + 4 * t), t, 20.0))
    found = evaluate(labels(), rows)
    assert found.verdict == "accept", found.reason


@pytest.mark.parametrize("value", ["x", True, 1e80, -1e300, float("nan"), float("inf")])
def test_answers_that_are_no_numbers_are_left_out(value: Any) -> None:
    rows = told(ALIKE)
    odd = [Told("odd", "canary", value, 0.5, 20.0), Told("odder", "primary", 20.0, 0.5, value)]
    assert evaluate(labels(), [*rows, *odd]).low == evaluate(labels(), rows).low


def test_a_canary_that_answers_another_kind_of_thing_is_held() -> None:
    rows = [replace(each, value="usa") if each.role == "canary" else each for each in told(ALIKE)]
    found = evaluate(labels(), rows, elapsed=0.3)
    assert found.verdict == "hold" and "are no numbers that mae can use" in found.reason
    assert "of the canary's" in found.reason


def test_one_bad_segment_rejects() -> None:
    segments = Segments("region", values=("eu", "us"))
    rows = told(ALIKE, segment="eu", n=1600)
    worse = {"canary": noise(4), "primary": noise(1)}
    rows += [replace(each, id=f"u{each.id}") for each in told(worse, segment="us", n=300, seed=7)]
    found = evaluate(labels(margin=0.9, segments=segments), rows)
    assert found.verdict == "reject" and "where region is us" in found.reason
    assert [(each.name, each.verdict) for each in found.parts] == [("eu", "accept"), ("us", "reject")]


def test_undeclared_segments_are_the_others() -> None:
    segments = Segments("region", most=1)
    rows = [replace(each, segment=("eu", "us", "")[index % 3]) for index, each in enumerate(told(ALIKE))]
    found = evaluate(labels(segments=segments), rows)
    assert [each.name for each in found.parts] == ["eu", "other"]
    assert sum(each.n for each in found.parts) == found.n


def test_a_person_who_goes_back_is_not_stopped() -> None:
    rows = told({"canary": noise(3), "primary": noise(1)})
    assert evaluate(labels(), rows, rollback=True).verdict == "accept"


@pytest.mark.parametrize("metric", ["mae", "rmse", "bias", "accuracy"])
def test_a_good_canary_is_rarely_rejected_however_often_one_looks(metric: str) -> None:
    rejected = 0
    for seed in range(60):
        rows = classes({"canary": 0.8, "primary": 0.8}, seed=seed) if metric == "accuracy" else told(ALIKE, seed=seed)
        looks = (evaluate(labels(metric, min_sample=40), rows[:seen]) for seen in range(60, len(rows) + 1, 60))
        rejected += any(each.verdict == "reject" for each in looks)
    assert rejected <= 6  # 3 are expected at alpha; the chance of more than 6 is 3 %


def test_it_is_read_from_gate_yaml() -> None:
    text = "{name: q, type: labels, metric: rmse, margin: 0.2, min_sample: 300, unit: mpg, without_data: pass}"
    check = parse_check(read(text, "gate.yaml"))
    assert check == Labels(Terms("q", 0.2, 300, "pass"), "rmse", "mpg") and check.needs == ()
    assert check.description()["measures"] == "root of the mean squared error, by late labels"
    for before, after, says in (
        ("rmse", "mse", "did you mean"),
        ("margin: 0.2", "margin: -1", "not between 0"),
        ("rmse, margin: 0.2", "accuracy, margin: 2", "not between 0 and 1"),
    ):
        with pytest.raises(InputError, match=says):
            parse_check(read(text.replace(before, after), "gate.yaml"))
