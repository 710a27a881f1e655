from __future__ import annotations

import json
import random
from typing import Any

import pytest

from modelpack.errors import InputError
from modelpack.fields import read
from modelpack.gate.checks import Evidence, Shadow, Told, Window, parse_check
from modelpack.gate.checks.deciding import Terms
from modelpack.gate.checks.segments import Segments


def shadow(statistic: str = "disagreement", margin: float = 0.05, tolerance: float = 0.5, **more: Any) -> Shadow:
    terms = Terms("shadow", margin, more.pop("min_sample", 200), **more)
    return Shadow(terms, statistic, tolerance if statistic == "disagreement" else 0.0, "mpg")


def mirrored(n: int, apart: float = 0.0, shift: float = 0.0, seed: int = 1, segment: str = "") -> list[Told]:
    """`n` requests that both answered; a share of `apart` is 5 off, all others differ by `shift` and some noise."""
    chance = random.Random(seed)
    found = []
    for each in range(n):
        value = chance.gauss(20, 5)
        other = value + (5 if chance.random() < apart else shift + chance.uniform(-0.3, 0.3))
        for role, answer in (("primary", value), ("canary", other)):
            found.append(Told(f"{segment}{each}", role, answer, each / n, None, segment))
    return found


def evaluate(check: Shadow, rows: list[Told], elapsed: float = 1.0, **more: Any) -> Evidence:
    return check.evaluate(Window(told=tuple(rows), elapsed=elapsed, **more))


@pytest.mark.parametrize(
    ("check", "rows", "elapsed", "verdict", "says"),
    [
        (shadow(), mirrored(600), 0.1, "accept", "0 % of 600 mirrored requests"),
        (shadow(), mirrored(600, apart=0.2), 0.1, "reject", "at most 5 % may be"),
        (shadow(), mirrored(600, apart=0.05), 0.1, "undecided", "too wide"),
        (shadow(), mirrored(150), 0.1, "undecided", "150 of at least 200 mirrored requests"),
        (shadow(margin=0), mirrored(300), 0.5, "undecided", "50 % of the horizon"),
        (shadow(margin=0), mirrored(300), 1.0, "accept", "no request gets another answer"),
        (shadow(margin=0), mirrored(300, apart=0.02), 0.1, "reject", "(more than 0.5 mpg apart)"),
        (shadow("difference", 0.2), mirrored(600), 0.1, "accept", "on the average of 600"),
        (shadow("difference", 0.2), mirrored(600, shift=0.4), 0.1, "reject", "0.2 mpg is allowed"),
        (shadow("difference", 0.2), mirrored(600, shift=-0.4), 0.1, "reject", "shifted"),
        (shadow("difference", 0), mirrored(600, shift=0.4), 0.1, "reject", "shifted"),
        (shadow("difference", 0), mirrored(600), 1.0, "accept", "no shift"),
    ],
)
def test_mirrored_answers_are_compared(
    check: Shadow, rows: list[Told], elapsed: float, verdict: str, says: str
) -> None:
    found = evaluate(check, rows, elapsed)
    assert found.verdict == verdict and says in found.reason, found.reason
    assert found.n == found.n_primary == len(rows) // 2
    assert found.low is not None and found.high is not None and found.estimate is not None
    assert found.low <= found.estimate <= found.high


def test_labels_agree_or_do_not() -> None:
    rows = [Told(str(each), role, "usa", 0.1) for each in range(400) for role in ("canary", "primary")]
    assert evaluate(shadow(tolerance=0), rows).verdict == "accept"
    other = [Told(each.id, each.role, "japan" if each.role == "canary" else each.value, 0.1) for each in rows]
    found = evaluate(shadow(tolerance=0), other)
    assert found.verdict == "reject" and found.estimate == 1.0
    assert found.worst[0]["error"] == "another answer"


@pytest.mark.parametrize("value", ["x", True, 1e80, float("nan")])
def test_an_answer_of_another_kind_disagrees(value: Any) -> None:
    rows = [Told(each.id, each.role, value if each.role == "canary" else each.value, 0.1) for each in mirrored(300)]
    assert evaluate(shadow(), rows).verdict == "reject"
    found = evaluate(shadow("difference", 0.2), rows, elapsed=0.1)
    assert found.verdict == "hold" and "300 of 300 mirrored requests got no numbers from both" in found.reason


@pytest.mark.parametrize(("without_data", "verdict"), [("wait", "hold"), ("pass", "accept"), ("fail", "reject")])
@pytest.mark.parametrize("role", ["canary", "primary", ""])
def test_requests_that_only_one_version_answered_are_no_data(role: str, without_data: str, verdict: str) -> None:
    rows = [each for each in mirrored(600) if each.role == role]
    found = evaluate(shadow(without_data=without_data), rows)
    assert (found.verdict, found.n) == (verdict, 0)
    assert "0 of at least 200 mirrored requests" in found.reason
    assert evaluate(shadow(without_data=without_data), rows, elapsed=0.5).verdict == "undecided"


def test_a_retry_counts_once() -> None:
    rows = mirrored(300)
    again = [*rows, *(Told(each.id, each.role, 500.0, each.t) for each in rows)]
    assert evaluate(shadow(), again) == evaluate(shadow(), rows)


def test_the_furthest_answers_come_first() -> None:
    rows = mirrored(300)
    rows[3] = Told(rows[3].id, "canary", 900.0, 0.1)
    rows[7] = Told(rows[7].id, "canary", "x", 0.1)
    worst = evaluate(shadow(), rows).worst
    assert [(each["id"], each["canary"]) for each in worst] == [("3", "x"), ("1", 900.0)]


def test_one_segment_that_disagrees_rejects() -> None:
    segments = Segments("region", values=("eu", "us"))
    rows = mirrored(3000, segment="eu") + mirrored(250, apart=0.3, segment="us")
    found = evaluate(shadow(margin=0.1, segments=segments), rows, elapsed=0.1)
    assert found.verdict == "reject" and "where region is us" in found.reason
    assert [(each.name, each.verdict, each.n) for each in found.parts] == [
        ("eu", "accept", 3000),
        ("us", "reject", 250),
    ]


def test_a_canary_at_the_margin_is_rarely_rejected_however_often_one_looks() -> None:
    rejected = {"disagreement": 0, "difference": 0}
    for seed in range(60):
        rows = {
            "disagreement": mirrored(400, apart=0.05, seed=seed),
            "difference": mirrored(400, shift=0.2, seed=seed),
        }
        for statistic, given in rows.items():
            check = shadow(statistic, 0.05 if statistic == "disagreement" else 0.2, min_sample=40)
            looks = (evaluate(check, given[:seen], elapsed=0.1) for seen in range(160, 801, 160))
            rejected[statistic] += any(each.verdict == "reject" for each in looks)
    assert max(rejected.values()) <= 6  # 3 are expected at alpha; the chance of more than 6 is 3 %


def test_it_is_read_from_gate_yaml() -> None:
    text = "{name: s, type: shadow, tolerance: 0.5, margin: 0.01, min_sample: 300, unit: mpg}"
    check = parse_check(read(text, "gate.yaml"))
    assert check == Shadow(Terms("s", 0.01, 300), "disagreement", 0.5, "mpg") and check.needs == ()
    assert (check.description()["share"], check.description()["limit"]) == (True, 0.5)
    for before, after, says in (
        ("margin: 0.01", "margin: 1.5", "not between 0 and 1"),
        ("tolerance: 0.5", "statistic: difference, tolerance: 0.5", "tolerance: is not a known key"),
        ("tolerance: 0.5", "tolerance: -1", "not between 0"),
    ):
        with pytest.raises(InputError, match=says):
            parse_check(read(text.replace(before, after), "gate.yaml"))


def test_what_is_shown_is_json() -> None:
    rows = [Told("a", "canary", float("nan"), 0.1), Told("a", "primary", float("inf"), 0.1)]
    (worst,) = evaluate(shadow(), rows).worst
    assert (worst["canary"], worst["primary"], worst["error"]) == ("nan", "inf", "another answer")
    json.dumps(worst, allow_nan=False)
