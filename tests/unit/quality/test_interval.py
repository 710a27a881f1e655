from __future__ import annotations

import numpy as np
import pytest

from modelpack.quality.interval import bounds

RANDOM = np.random.default_rng(3)


def test_of_a_mean_without_skew_it_is_students_interval() -> None:
    stats = pytest.importorskip("scipy.stats")
    half = RANDOM.normal(size=20)
    values = np.concatenate([half, -half]) + 0.3  # symmetric
    low, high = bounds(values.mean(), values - values.mean(), np.ones(40), 0.9)
    oracle = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (low, high) == pytest.approx((oracle.low, oracle.high))


def test_skew_moves_the_bound_of_the_long_tail_alone() -> None:
    values = RANDOM.exponential(size=40)
    influence = values - values.mean()
    low, high = bounds(0.0, influence, np.ones(40), 0.95)
    mirrored = bounds(0.0, -influence, np.ones(40), 0.95)
    assert high > -low * 1.1
    assert mirrored == pytest.approx((-high, -low))
    symmetric = bounds(0.0, np.concatenate([influence, -influence]), np.full(80, 0.5), 0.95)
    assert low == pytest.approx(symmetric[0], rel=0.02)


def test_it_is_wider_when_more_is_asked() -> None:
    influence = RANDOM.normal(size=100)
    influence -= influence.mean()
    plain, sure = (bounds(0.0, influence, np.ones(100), each) for each in (0.9, 0.999))
    spread = bounds(0.0, influence, np.ones(100), 0.9, spread=2.0)
    assert sure[0] < plain[0] < plain[1] < sure[1]
    assert spread == pytest.approx((2 * plain[0], 2 * plain[1]))


def test_rows_that_all_agree_leave_no_doubt() -> None:
    assert bounds(0.25, np.zeros(30), np.ones(30), 0.95) == (0.25, 0.25)


def test_large_influences_are_as_good_as_small_ones() -> None:
    influence = RANDOM.exponential(size=100)
    influence -= influence.mean()
    plain = bounds(0.0, influence, np.ones(100), 0.95)
    for unit in (1e-200, 1e200):
        large = bounds(0.0, influence * unit, np.ones(100), 0.95)
        assert (large[0] / unit, large[1] / unit) == pytest.approx(plain)
