"""The metrics are scikit-learn's, and each row's influence is what leaving it out would tell."""

from __future__ import annotations

import numpy as np
import pytest

from modelpack.quality.metrics import UNKNOWN, classification, regression

RANDOM = np.random.default_rng(1)
N = 60
Y = RANDOM.normal(20, 5, N)
P = Y + RANDOM.normal(0, 2, N)
TRUTH = np.concatenate([np.arange(4), RANDOM.integers(0, 4, N - 4)])
GIVEN = np.where(RANDOM.random(N) < 0.3, RANDOM.integers(0, 4, N), TRUTH)
EVEN = np.full(4, 0.25)


@pytest.mark.parametrize("metric", ["mae", "rmse", "r2"])
def test_regression_is_as_scikit_learn_says(metric: str) -> None:
    oracle = pytest.importorskip("sklearn.metrics")
    name = {"mae": "mean_absolute_error", "rmse": "root_mean_squared_error", "r2": "r2_score"}[metric]
    found = regression(metric, Y, P)
    assert found is not None
    assert found.value == pytest.approx(getattr(oracle, name)(Y, P))


@pytest.mark.parametrize("metric", ["accuracy", "precision", "recall", "f1"])
@pytest.mark.parametrize("given", [GIVEN, np.where(GIVEN == 2, 1, GIVEN), np.where(GIVEN == 2, UNKNOWN, GIVEN)])
def test_classification_is_as_scikit_learn_says(metric: str, given: np.ndarray) -> None:
    oracle = pytest.importorskip("sklearn.metrics")
    found = classification(metric, TRUTH, given, np.ones(N), EVEN)
    more = {} if metric == "accuracy" else {"labels": range(4), "average": "macro", "zero_division": 0}
    assert found.value == pytest.approx(getattr(oracle, f"{metric}_score")(TRUTH, given, **more))


def test_weights_are_rows_that_repeat() -> None:
    times = RANDOM.integers(1, 4, N)
    for metric in ("accuracy", "precision", "recall", "f1"):
        weighted = classification(metric, TRUTH, GIVEN, times.astype(float), EVEN)
        repeated = classification(metric, TRUTH.repeat(times), GIVEN.repeat(times), np.ones(times.sum()), EVEN)
        assert weighted.value == pytest.approx(repeated.value)
        assert weighted.influence.repeat(times) == pytest.approx(repeated.influence)


@pytest.mark.parametrize("metric", ["mae", "rmse", "r2", "accuracy", "precision", "recall", "f1"])
@pytest.mark.parametrize("one", [False, True])
def test_influence_is_the_derivative_by_a_rows_weight(metric: str, one: bool) -> None:
    if metric in ("mae", "rmse", "r2"):
        whole, copies = regression(metric, Y, P), 2000
        assert whole is not None
        for row in (0, 7, 31):
            more = regression(metric, *(np.append(np.tile(each, copies), each[row]) for each in (Y, P)))
            assert more is not None
            slope = (more.value - whole.value) * (copies * N + 1)
            assert slope == pytest.approx(whole.influence[row], rel=0.02, abs=0.002)
        return
    classes = np.eye(4)[2] if one else EVEN
    whole, step = classification(metric, TRUTH, GIVEN, np.ones(N), classes), 1e-5
    assert whole.influence.mean() == pytest.approx(0, abs=1e-9)
    for row in range(N):
        weights = np.ones(N)
        weights[row] += step
        slope = (classification(metric, TRUTH, GIVEN, weights, classes).value - whole.value) / step * N
        assert slope == pytest.approx(whole.influence[row], abs=1e-3)


def test_r2_of_a_constant_is_not_defined_and_a_perfect_model_has_no_error() -> None:
    assert regression("r2", np.ones(5), np.arange(5.0)) is None
    perfect = regression("rmse", Y, Y)
    assert perfect is not None
    assert perfect.value == 0
    assert not perfect.influence.any()
