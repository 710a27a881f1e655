"""Drift: far, and not by chance."""

from __future__ import annotations

import math

import numpy
import pandas
import pytest

from modelpack.quality.drift import Shift, drift, psi


def shift(now: list[object], before: list[object], alarms: float = 0.01, limit: float = 0.25) -> Shift:
    (found,) = drift(pandas.DataFrame({"x": now}), pandas.DataFrame({"x": before}), {"x": limit}, alarms)
    return found


def normal(count: int, mean: float = 0.0, seed: int = 1) -> list[object]:
    return list(numpy.random.default_rng(seed).normal(mean, 1.0, count))


def test_the_index_is_the_published_formula() -> None:
    # half a row is added to each count: shares 0.25, 0.75 and 0.5, 0.5
    wanted = (0.5 - 0.25) * math.log(0.5 / 0.25) + (0.5 - 0.75) * math.log(0.5 / 0.75)
    assert psi([9.5, 29.5], [19.5, 19.5]) == pytest.approx(wanted)
    assert psi([10, 20, 0], [10, 20, 0]) == 0
    assert math.isfinite(psi([100, 0], [0, 100]))


@pytest.mark.parametrize(
    ("now", "before", "test", "drifted"),
    [
        (normal(500), normal(500, seed=2), "KS", False),
        (normal(500, 1.0), normal(500), "KS", True),
        (normal(200_000, 0.03), normal(200_000, seed=2), "KS", False),  # certain, and too small to matter
        (normal(12, 0.7), normal(12, seed=2), "KS", False),  # far, and may be chance
        ([*normal(300), *[None] * 300], normal(600), "KS", True),  # only the missing values are more
        ([math.nan] * 500, normal(500), "KS", True),
        (["a", "b"] * 200, ["a", "b"] * 300, "chi-square", False),
        (["a", "c"] * 200, ["a", "b"] * 200, "chi-square", True),
        (["a"] * 380 + ["b"] * 20, ["a", "b"] * 200, "chi-square", True),
        ([1, 2, 3] * 100, [1, 2, 3] * 90, "chi-square", False),
        ([1, 1, 1, 3] * 100, [1, 2, 3] * 90, "chi-square", True),
        ([5] * 300, [5] * 300, "chi-square", False),
        ([6] * 300, [5] * 300, "chi-square", True),
        ([True, False] * 100, [True] * 200, "chi-square", True),
        (["x"] * 200, normal(200), "chi-square", True),
        ([None] * 50, [None] * 50, "chi-square", False),
        ([math.nan] * 50, [math.nan] * 50, "chi-square", False),
        ([f"id{n}" for n in range(400)], [f"id{n}" for n in range(400)], "chi-square", False),
        ([1.0, 2.0, None] * 100, [1, 2, 2] * 100, "chi-square", True),
        ([*[1.0, 2.0] * 200, None], [1, 2] * 200, "chi-square", False),  # a missing value makes floats of integers
        ([*map(str, normal(500)), "n/a"], normal(500, seed=2), "KS", False),
        (normal(500), [*map(str, normal(500, seed=2)), "n/a"], "KS", False),
        ([*map(str, normal(500, 1.0)), "n/a"], normal(500), "KS", True),
    ],
)
def test_a_column_drifts_if_it_is_far_and_not_by_chance(
    now: list[object], before: list[object], test: str, drifted: bool
) -> None:
    found = shift(now, before)
    assert (found.test, found.drifted) == (test, drifted), found


def test_many_columns_do_not_add_up_to_a_false_alarm() -> None:
    """40 columns without a drift, where one in 50 would be accused by its own test alone."""
    random = numpy.random.default_rng(3)
    names = [f"c{number}" for number in range(40)]
    alarms = single = 0
    for _ in range(40):
        now, before = (pandas.DataFrame(random.normal(size=(60, 40)), columns=names) for _ in range(2))
        found = drift(now, before, dict.fromkeys(names, 0.0), 0.02)
        alarms += any(each.drifted for each in found)
        single += any(each.p < 0.02 for each in found)
    assert single > 8
    assert alarms <= 3


def test_one_column_among_many_is_still_found() -> None:
    names = [f"c{number}" for number in range(40)]
    random = numpy.random.default_rng(4)
    now, before = (pandas.DataFrame(random.normal(size=(500, 40)), columns=names) for _ in range(2))
    now["c7"] += 1
    found = drift(now, before, dict.fromkeys(names, 0.25), 0.01)
    assert [each.column for each in found if each.drifted] == ["c7"]
