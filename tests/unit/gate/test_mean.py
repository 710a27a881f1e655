from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelpack.errors import InputError
from modelpack.gate.checks.check import Need, Slice, Window
from modelpack.gate.checks.mean import Mean
from modelpack.gate.selectors import Selector
from tests.fakes.live import parsed

LINES = """name: revenue
sum: revenue_sum
count: revenue_count
squares: revenue_squares
unit: EUR
better: higher
margin: 0.5
min_sample: 500
"""
BLIND = LINES.replace("squares: revenue_squares\n", "")


def check(lines: str) -> Mean:
    found: Mean = parsed(Mean, lines)
    return found


def window(
    canary: float, primary: float, *, n: int = 2000, spread: float = 2.0, slices: int = 40, **changes: Any
) -> Window:
    """Numbers with these means, spread normally, from `n` requests of each."""
    changes = {"elapsed": 0.5, **changes}
    random = np.random.default_rng(7)

    def cells(mean: float) -> dict[str, float]:
        values = random.normal(mean, spread, n // slices)
        return {"count": len(values), "sum": float(values.sum()), "squares": float((values**2).sum())}

    ends = [changes["elapsed"] * (k + 1) / slices for k in range(slices)]
    return Window(slices={"": tuple(Slice(1, 50.0, end, cells(canary), cells(primary)) for end in ends)}, **changes)


@pytest.mark.parametrize("lines", [LINES, BLIND])
@pytest.mark.parametrize(
    ("better", "margin", "seen", "verdict", "says"),
    [
        ("higher", 0.5, window(10, 10), "accept", "the canary's mean is no lower than allowed: "),
        ("higher", 0.5, window(9, 10), "reject", "the canary's mean is lower: "),
        ("higher", 0.5, window(11, 10), "accept", "no lower than allowed"),
        ("lower", 0.5, window(11, 10), "reject", "the canary's mean is higher: "),
        ("lower", 0.5, window(9, 10), "accept", "no higher than allowed"),
        ("higher", 0.5, window(10, 10, n=400), "undecided", "400 of at least 500 requests"),
        ("higher", 0.5, window(10, 10, n=0), "undecided", "0 of at least 500 requests"),
        ("higher", 0.5, window(10, 10, spread=40.0), "undecided", "the interval is still too wide"),
        ("higher", 0.0, window(10, 10), "undecided", "the canary's mean was not found to be lower so far"),
        ("higher", 0.0, window(10, 10, elapsed=1.0), "accept", "EUR would have been found in 8 of 10 rollouts"),
        ("higher", 0.0, window(9, 10), "reject", "the canary's mean is lower"),
        ("higher", 0.0, window(10, 10, unreachable="gone"), "hold", "gone"),
        ("higher", 0.0, window(9, 10, rollback=True), "accept", "a person asked"),
    ],
)
def test_the_means(lines: str, better: str, margin: float, seen: Window, verdict: str, says: str) -> None:
    lines = lines.replace("better: higher", f"better: {better}").replace("margin: 0.5", f"margin: {margin}")
    found = check(lines).evaluate(seen)
    assert found.verdict == verdict and says in found.reason


@pytest.mark.parametrize(
    ("better", "canary", "allowed", "power"), [("higher", 9.0, "-0.5 EUR", "-"), ("lower", 11.0, "+0.5 EUR", "+")]
)
def test_numbers_are_canary_minus_primary_whatever_is_better(
    better: str, canary: float, allowed: str, power: str
) -> None:
    lines = LINES.replace("higher", better)
    found = check(lines).evaluate(window(canary, 10.0))
    assert (found.canary, found.primary) == pytest.approx((canary, 10.0), abs=0.2)
    assert found.estimate == pytest.approx(canary - 10.0, abs=0.2)
    assert found.low is not None and found.high is not None and found.low < found.estimate < found.high
    assert f", the margin is {allowed}" in found.reason
    equal = check(lines.replace("margin: 0.5", "margin: 0")).evaluate(window(10.0, 10.0, elapsed=1.0))
    assert f"; {power}0." in equal.reason


def test_bounds_widen_the_interval_of_numbers_that_are_all_the_same() -> None:
    seen = window(1.0, 1.0, spread=0.0)
    plain, bounded = (check(LINES + more).evaluate(seen) for more in ("", "low: 0\nhigh: 3000\n"))
    assert plain.verdict == "accept" and bounded.verdict == "undecided"


def test_too_few_to_compare_are_said_to_be_so() -> None:
    found = check(BLIND.replace("500", "5")).evaluate(window(10, 10, slices=4))
    assert found.verdict == "undecided" and "there is too little to compare: 2,000 requests" in found.reason


def test_with_squares_a_few_slices_are_enough() -> None:
    assert check(LINES).evaluate(window(10, 10, slices=4)).verdict == "accept"


def test_what_it_needs_and_how_it_is_described() -> None:
    one = check(LINES)
    assert [each.cell for each in one.needs] == ["count", "sum", "squares"]  # the first one tells of silence
    assert check(BLIND).needs == (Need("count", Selector("revenue_count")), Need("sum", Selector("revenue_sum")))
    said = one.description()
    assert (said["statistic"], said["better"], said["unit"], said["share"]) == ("mean", "higher", "EUR", False)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("better: higher", "better: bigger", "6: better: 'bigger' is not one of higher, lower"),
        ("better: higher\n", "", "1: better: is missing"),
        ("unit: EUR", "low: 0", "5: low: bounds have two ends"),
        ("unit: EUR", "high: 0", "5: high: bounds have two ends"),
        ("unit: EUR", "low: 3\nhigh: 3", "5: low: 3 is not below high, 3"),
        ("margin: 0.5", "margin: -1", "7: margin: -1 is not between"),
        ("sum: revenue_sum", "sum: '{}'", "2: sum: '{}' is not a selector"),
    ],
)
def test_mistakes_name_the_line(old: str, new: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        check(LINES.replace(old, new))
    assert str(caught.value).startswith(f"gate.yaml:{problem}")
