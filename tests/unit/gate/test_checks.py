from __future__ import annotations

from typing import Any

import pytest

from modelpack.gate.checks import Comparison, Golden, Window
from modelpack.gate.checks.check import Pair, Reply
from modelpack.gate.checks.golden import Example
from modelpack.gate.selectors import Selector
from modelpack.gate.sequential import Stratum


def golden(
    metric: str = "mae", floor: float = 3.0, margin: float = 0.3, expected: tuple[Any, ...] = (1.0, 2.0)
) -> Golden:
    examples = tuple(Example(f"e{n}", {}, value) for n, value in enumerate(expected))
    return Golden("golden", "/", metric, floor, margin, "mpg", examples)


def pairs(*answers: tuple[Any, Any]) -> Window:
    def reply(value: Any) -> Reply:
        return Reply(error=value) if isinstance(value, str) and value.startswith("!") else Reply(value)

    return Window(
        pairs=tuple(Pair(f"e{n}", reply(canary), reply(primary)) for n, (canary, primary) in enumerate(answers))
    )


@pytest.mark.parametrize(
    ("check", "window", "verdict", "says"),
    [
        (golden(), Window(), "pending", "2 examples"),
        (golden(), pairs((1.1, 1.2), (2.1, 2.2)), "accept", "mae is 0.1 mpg (primary 0.2 mpg)"),
        (golden(), pairs((1.5, 1.1), (2.5, 2.1)), "reject", "more than 0.3 mpg worse"),
        (golden(), pairs((9, 9), (9, 9)), "reject", "the floor is 3 mpg"),
        (golden("rmse"), pairs((1, 1), (6, 2)), "reject", "rmse is 2.828"),
        (golden(), pairs(("!answered 500", 1), (2, 2)), "reject", "failed on 1 of 2 examples"),
        (golden(), pairs((1, 1), (2, "!answered 500")), "hold", "the primary failed on 1 of 2"),
        (golden(), pairs(("!a", "!b"), (2, 2)), "hold", "the primary failed"),
        (golden("accuracy", 0.5, 0.0, ("usa", "japan")), pairs(("usa", "usa"), ("eu", "eu")), "accept", "is 0.5"),
        (golden("accuracy", 0.9, 0.5, ("usa", "japan")), pairs(("usa", "usa"), ("eu", "eu")), "reject", "floor"),
        (golden("accuracy", 0.1, 0.1, ("usa", "japan")), pairs(("usa", "usa"), ("eu", "japan")), "reject", "worse"),
    ],
)
def test_the_golden_set_decides(check: Golden, window: Window, verdict: str, says: str) -> None:
    found = check.evaluate(window)
    assert found.verdict == verdict and says in found.reason


def test_the_worst_examples_come_first_and_failures_before_them() -> None:
    found = golden(expected=(1.0, 2.0, 3.0)).evaluate(pairs((1.1, 1), (7, 2), ("!no", 3)))
    assert [(each["id"], each["error"]) for each in found.worst] == [
        ("e2", "!no"),
        ("e1", 5.0),
        ("e0", pytest.approx(0.1)),
    ]


def test_the_difference_has_an_interval_that_holds_it() -> None:
    found = golden(expected=tuple(map(float, range(30)))).evaluate(pairs(*((n + 0.1 * (n % 5), n) for n in range(30))))
    assert found.low is not None and found.high is not None and found.estimate is not None
    assert found.low < found.estimate < found.high


@pytest.mark.parametrize(
    "answer", [None, [], {}, {"predictions": []}, {"predictions": 3}, {"predictions": ["x"]}, {"predictions": [True]}]
)
def test_what_is_no_prediction_is_refused(answer: Any) -> None:
    with pytest.raises(ValueError, match="predict"):
        golden().read_prediction(answer)


ERRORS = Comparison("errors", "errors", Selector("all"), Selector("bad"), None, margin=0.02, min_sample=500)


@pytest.mark.parametrize(
    ("counts", "changes", "verdict", "says"),
    [
        ((0, 0, 0, 0), {}, "undecided", "0 of at least 500"),
        ((100, 1, 900, 9), {}, "undecided", "100 of at least 500"),
        ((600, 6, 5400, 54), {}, "accept", "no worse than allowed"),
        ((499, 5, 4500, 45), {}, "undecided", "499 of at least 500"),
        ((600, 20, 5400, 54), {}, "undecided", "too wide"),
        ((100, 25, 900, 9), {}, "reject", "more errors"),
        ((100, 25, 900, 9), {"unreachable": "gone"}, "reject", "more errors"),
        ((600, 6, 5400, 54), {"unreachable": "gone"}, "hold", "gone"),
        ((100, 1, 900, 9), {"silent": 61.0}, "hold", "no request has reached the canary for 61 s"),
        ((600, 6, 5400, 54), {"silent": 61.0}, "accept", "no worse"),
    ],
)
def test_a_comparison_decides(
    counts: tuple[int, int, int, int], changes: dict[str, Any], verdict: str, says: str
) -> None:
    found = ERRORS.evaluate(Window(strata=(Stratum(1, 10, *counts),), **changes))
    assert (found.verdict, found.n, found.n_primary) == (verdict, counts[0], counts[2])
    assert says in found.reason
