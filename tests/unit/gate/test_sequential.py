from __future__ import annotations

import math

import numpy as np
import pytest

from modelpack.gate.sequential import Bounds, Stratum, bounds, difference


def look(*strata: tuple[int, int, int, int], margin: float = 0.02, alpha: float = 0.05) -> Bounds:
    found = difference(
        [Stratum(k, 10, *each) for k, each in enumerate(strata)], margin=margin, alpha=alpha, sharpest=1000
    )
    assert found
    return found


def test_known_numbers() -> None:
    found = look((1000, 30, 1000, 10), margin=0.0)
    assert (found.canary, found.primary) == (0.03, 0.01)
    assert found.estimate == pytest.approx(0.02)
    # by hand: W = 500, V = 500 * 0.02 * 0.98 + 1, both sides at 0.1, age = 500 / (1000 / (4.605 + ln 4.605 + 1))
    age = 500 / (1000 / (4.60517 + math.log(4.60517) + 1))
    reach = math.sqrt(10.8 * (age + 1) / age * math.log((age + 1) / 0.01)) / 500
    assert found.low == pytest.approx(0.02 - reach, abs=1e-6)
    assert found.high == pytest.approx(0.02 + reach, abs=1e-6)


@pytest.mark.parametrize("strata", [[], [(0, 0, 100, 1)], [(100, 1, 0, 0)]])
def test_without_requests_of_both_there_is_no_estimate(strata: list[tuple[int, int, int, int]]) -> None:
    rows = [Stratum(k, 10, *each) for k, each in enumerate(strata)]
    assert difference(rows, margin=0, alpha=0.05, sharpest=500) is None


def test_no_errors_at_all_do_not_make_the_interval_narrow() -> None:
    few, many = look((20, 0, 20, 0)), look((2000, 0, 2000, 0))
    assert few.high > 0.3
    assert 0 < many.high < 0.02


def test_one_early_error_rejects_nobody() -> None:
    for errors in range(4):
        assert look((10, errors, 90, 0)).low < 0


def test_the_margin_bounds_the_variance_from_below() -> None:
    assert look((600, 0, 600, 0), margin=0.05).high > look((600, 0, 600, 0), margin=0.0).high


def test_an_outage_shared_by_both_in_one_stratum_does_not_count_against_the_canary() -> None:
    calm, outage = (100, 1, 900, 9), (500, 100, 500, 100)
    totals = tuple(a + b for a, b in zip(calm, outage, strict=True))
    assert look(totals, margin=0.0).low > 0  # what totals alone would say
    assert look(calm, outage, margin=0.0).estimate == pytest.approx(0.0)


def test_the_estimate_is_the_difference_of_the_shares_shown() -> None:
    found = look((100, 3, 900, 9), (500, 4, 500, 30))
    assert found.estimate == pytest.approx(found.canary - found.primary)


def test_a_smaller_alpha_is_a_wider_interval() -> None:
    assert look((500, 5, 500, 5), alpha=0.01).high > look((500, 5, 500, 5), alpha=0.05).high


def test_a_good_canary_is_rarely_rejected_however_often_one_looks_while_the_baseline_drifts() -> None:
    rng = np.random.default_rng(7)
    weights = np.array([0.1, 0.3, 0.5])
    rejected = np.zeros(2000, dtype=bool)
    table = np.zeros((4, 2000, 3))
    for step in range(30):
        share = 0.01 + 0.03 * step / 30
        stratum = step // 10
        canary = rng.binomial(500, weights[stratum], 2000)
        table[0, :, stratum] += canary
        table[1, :, stratum] += rng.binomial(canary, share)
        table[2, :, stratum] += 500 - canary
        table[3, :, stratum] += rng.binomial(500 - canary, share)
        _, low, *_ = bounds(*table, margin=0.0, alpha=0.05, sharpest=1000)
        rejected |= low > 0
    assert rejected.mean() < 0.05
