from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import ndtri

from modelpack.gate.statistics.alarms import LOOSEST, MONTH, level

DAY = 86400.0


@pytest.mark.parametrize(("alarms", "window"), [(0.1, 7 * DAY), (0.1, 3600.0), (2.0, 3600.0), (1e-6, 60.0)])
def test_the_level_is_crossed_so_often_in_a_month(alarms: float, window: float) -> None:
    z = -float(ndtri(level(alarms, window)))
    assert z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi) * MONTH / window == pytest.approx(alarms, rel=1e-6)


def test_chi_square_of_one_degree_is_the_normal_one_at_both_sides() -> None:
    assert level(0.2, DAY, 1) == pytest.approx(2 * level(0.1, DAY), rel=1e-6)


def test_no_look_is_wrong_more_often_than_one_in_twenty() -> None:
    assert level(100.0, 30 * DAY) == level(100.0, 30 * DAY, 9) == LOOSEST


@pytest.mark.parametrize("freedom", [0, 9])
def test_looking_all_the_time_gives_no_more_alarms_than_stated(freedom: int) -> None:
    """Sliding windows over made-up numbers, looked at 40 times each; an alarm ends when the estimate is back."""
    from scipy.special import chdtri

    rng, looks, months, stated = np.random.default_rng(7), 40, 300, 0.5
    steps = rng.standard_normal((months * 30 * looks, max(freedom, 1)))  # a window is a day
    total = np.cumsum(steps, axis=0)
    means = (total[looks:] - total[:-looks]) / math.sqrt(looks)
    chance = level(stated, DAY, freedom)
    size = means[:, 0] if not freedom else np.sum(means**2, axis=1)
    above = size > (float(chdtri(freedom, chance)) if freedom else -float(ndtri(chance)))
    back = size <= freedom  # what it is on average
    state, alarms = False, 0
    for high, low in zip(above.tolist(), back.tolist(), strict=True):
        alarms += high and not state
        state = high or (state and not low)
    assert 0.3 * stated < alarms / months < 1.15 * stated
