from __future__ import annotations

import json
import random
from typing import Any

import pytest

from modelpack.errors import InputError
from modelpack.fields import read
from modelpack.gate.checks import Drift, Evidence, Slice, Told, Window, parse_check
from modelpack.gate.checks.deciding import Terms
from modelpack.gate.checks.segments import Segments
from modelpack.gate.selectors import Selector

STATISTICS = {"psi": 0.1, "jensen-shannon": 0.02, "ks": 0.1, "chi-square": 0.1}


def drift(statistic: str = "psi", min_sample: int = 200, *, histogram: bool = False, **more: Any) -> Drift:
    known = {key: more.pop(key) for key in ("against", "key") if key in more}
    limit = more.pop("limit", STATISTICS[statistic])
    selector = Selector("prediction") if histogram else None
    return Drift(Terms("drift", 0.0, min_sample, **more), statistic, limit, selector, **known)


def told(n: int, shift: float = 0.0, seed: int = 1, share: float = 0.4, segment: str = "") -> list[Told]:
    """`n` predictions of 20 and around, the canary's `shift` more, over the whole horizon."""
    chance = random.Random(seed)
    found = []
    for each in range(n):
        role = "canary" if chance.random() < share else "primary"
        value = chance.gauss(20 + shift * (role == "canary"), 5)
        found.append(Told(f"{segment}{each}", role, value, each / n, None, segment))
    return found


def words(n: int, japan: float, seed: int = 1) -> list[Told]:
    """Classes; the canary answers japan in this share, the primary in 0.3."""
    chance = random.Random(seed)
    found = []
    for each in range(n):
        role = chance.choice(("canary", "primary"))
        value = "japan" if chance.random() < (japan if role == "canary" else 0.3) else "usa"
        found.append(Told(str(each), role, value, each / n))
    return found


BOUNDS = (10, 15, 20, 25, 30)


def slices(n: int, shift: float = 0.0, many: int = 20, seed: int = 1, whole: bool = True) -> tuple[Slice, ...]:
    chance = random.Random(seed)
    found = []
    for each in range(many):
        cells = []
        for role in ("canary", "primary"):
            values = [chance.gauss(20 + shift * (role == "canary"), 5) for _ in range(n // many)]
            buckets = {f"{bound:g}": float(sum(value <= bound for value in values)) for bound in BOUNDS}
            cells.append({**buckets, "+Inf": float(len(values))})
        found.append(Slice(1, 50.0, (each + 1) / many, cells[0], cells[1], whole))
    return tuple(found)


def evaluate(check: Drift, rows: list[Told] | tuple[Slice, ...], elapsed: float = 1.1, **more: Any) -> Evidence:
    if isinstance(rows, tuple):
        return check.evaluate(Window(slices={"": rows}, elapsed=elapsed, **more))
    return check.evaluate(Window(told=tuple(rows), elapsed=elapsed, **more))


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("histogram", [False, True])
def test_a_shift_of_the_predictions_is_found(statistic: str, histogram: bool) -> None:
    def rows(shift: float) -> Any:
        return slices(2000, shift) if histogram else told(4000, shift)

    check = drift(statistic, histogram=histogram)
    same, shifted = evaluate(check, rows(0.0)), evaluate(check, rows(4.0))
    assert same.verdict == "accept" and "no drift" in same.reason
    assert shifted.verdict == "reject" and "chance does not explain it" in shifted.reason
    assert shifted.estimate is not None and shifted.estimate > STATISTICS[statistic] > (same.estimate or 0.0)
    assert f"{statistic} {shifted.estimate:.3g} between {shifted.n:,} " in shifted.reason
    assert f"{shifted.n_primary:,} of the primary" in shifted.reason
    assert evaluate(check, rows(0.0), elapsed=0.9).verdict == "undecided"


@pytest.mark.parametrize("statistic", ["psi", "jensen-shannon", "chi-square"])
def test_categories_drift_too(statistic: str) -> None:
    assert evaluate(drift(statistic), words(3000, 0.3)).verdict == "accept"
    found = evaluate(drift(statistic), words(3000, 0.55))
    assert found.verdict == "reject"
    assert found.bins[0].edges == ("japan", "usa")


def test_the_order_that_ks_needs_is_missing_in_categories() -> None:
    found = evaluate(drift("ks"), words(3000, 0.3))
    assert found.verdict == "hold" and "use psi or chi-square" in found.reason


def test_a_shift_that_does_not_matter_is_below_the_limit() -> None:
    found = evaluate(drift(limit=0.25), told(20_000, 0.8))
    assert found.verdict == "accept" and "the limit is 0.25" in found.reason


def test_few_values_are_far_apart_by_chance() -> None:
    verdicts = {evaluate(drift(min_sample=30, limit=0.0), told(100, seed=seed)).verdict for seed in range(20)}
    assert verdicts == {"accept"}


def test_a_class_that_nobody_had_seen_is_drift() -> None:
    rows = words(3000, 0.3)
    rows = [Told(each.id, each.role, "mars", each.t) if each.role == "canary" else each for each in rows]
    found = evaluate(drift(), rows)
    assert found.verdict == "reject" and found.bins[0].edges[-1] == "other" and found.bins[0].canary[-1] == 1.0


@pytest.mark.parametrize("value", ["x", float("nan"), True, 1e300])
def test_answers_that_are_no_numbers_have_a_bin_of_their_own(value: Any) -> None:
    rows = [Told(each.id, each.role, value, each.t) if each.role == "canary" else each for each in told(3000)]
    found = evaluate(drift(), rows)
    assert found.verdict == "reject" and found.bins[0].edges[-1] == "no number" and found.bins[0].canary[-1] == 1.0
    json.dumps([vars(each) for each in found.bins], allow_nan=False)


def test_both_distributions_are_shown_in_shares() -> None:
    (numbers,) = evaluate(drift(), told(4000)).bins
    assert len(numbers.edges) == len(numbers.canary) == len(numbers.against) == 10
    assert sum(numbers.canary) == pytest.approx(1) and sum(numbers.against) == pytest.approx(1)
    (buckets,) = evaluate(drift(histogram=True), slices(2000)).bins
    assert buckets.edges == ("to 10", "10 to 15", "15 to 20", "20 to 25", "25 to 30", "above 30")
    assert evaluate(drift(), []).bins == ()


@pytest.mark.parametrize(("without_data", "verdict"), [("wait", "hold"), ("pass", "accept"), ("fail", "reject")])
@pytest.mark.parametrize("role", ["canary", "primary", ""])
def test_one_version_alone_is_no_data(role: str, without_data: str, verdict: str) -> None:
    rows = [each for each in told(2000) if each.role == role]
    found = evaluate(drift(without_data=without_data), rows)
    assert found.verdict == verdict, found.reason
    assert evaluate(drift(without_data=without_data), rows, elapsed=0.5).verdict == "undecided"


def test_what_never_came_at_the_same_time_is_not_compared() -> None:
    rows = [Told(each.id, each.role, each.value, 0.1 if each.role == "canary" else 0.9) for each in told(2000)]
    found = evaluate(drift(), rows)
    assert found.verdict == "hold" and "too little to compare" in found.reason


def test_a_retry_counts_once() -> None:
    rows = told(2000)
    again = [*rows, *(Told(each.id, each.role, 500.0, each.t) for each in rows)]
    assert evaluate(drift(), again) == evaluate(drift(), rows)


def test_a_slice_that_still_grows_is_not_looked_at() -> None:
    found = evaluate(drift(histogram=True), slices(2000, 4.0, whole=False))
    assert (found.verdict, found.n, found.bins) == ("hold", 0, ())
    late = [Told(each.id, each.role, each.value, 0.999 + each.t / 1000) for each in told(2000, 4.0)]
    assert evaluate(drift(), late, elapsed=0.9999).verdict == "undecided"


def test_one_segment_that_drifts_rejects() -> None:
    segments = Segments("region", values=("eu", "us"))
    found = evaluate(drift(segments=segments), told(6000, segment="eu") + told(1500, 5.0, segment="us"))
    assert found.verdict == "reject" and "where region is us" in found.reason
    assert [(each.name, each.verdict) for each in found.parts] == [("eu", "undecided"), ("us", "reject")]


def test_a_person_who_goes_back_is_not_stopped() -> None:
    assert evaluate(drift(), told(4000, 4.0), rollback=True).verdict == "accept"


@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_canary_without_drift_is_rarely_rejected_however_often_one_looks(statistic: str) -> None:
    rejected = 0
    for seed in range(60):
        rows = told(1000, seed=seed)
        check = drift(statistic, min_sample=50, limit=0.0)
        rejected += any(evaluate(check, rows, elapsed=look).verdict == "reject" for look in (0.5, 1.1))
    assert rejected <= 6  # 3 are expected at alpha; the chance of more than 6 is 3 %


TEXT = "{name: predictions, type: drift, predictions: true, statistic: psi, limit: 0.25, min_sample: 200}"
REFERENCE = {
    "predictions": {"bounds": list(BOUNDS), "counts": [23, 136, 341, 341, 136, 23]},
    "origin": {"counts": {"japan": 300, "usa": 700}},
}


def against(statistic: str = "psi", key: str = "predictions", *, histogram: bool = False, text: Any = None) -> Drift:
    check = drift(statistic, histogram=histogram, against="reference", key=key)
    return check.with_files({"reference.json": json.dumps(REFERENCE if text is None else text).encode()}, "mpg")


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("histogram", [False, True])
def test_a_reference_is_held_against(statistic: str, histogram: bool) -> None:
    def rows(shift: float) -> Any:
        return slices(2000, shift) if histogram else told(4000, shift)

    check = against(statistic, histogram=histogram)
    assert evaluate(check, rows(0.0)).verdict == "accept"
    found = evaluate(check, rows(4.0))
    assert found.verdict == "reject" and "of the reference" in found.reason and found.n_primary == 1000
    assert found.bins[0].against_name == "reference"


def test_a_reference_needs_no_primary() -> None:
    rows = [each for each in told(4000, 4.0) if each.role == "canary"]
    assert evaluate(against(), rows).verdict == "reject"


def test_a_reference_of_categories() -> None:
    assert evaluate(against("chi-square", "origin"), words(3000, 0.3)).verdict == "accept"
    assert evaluate(against("chi-square", "origin"), words(3000, 0.6)).verdict == "reject"


def test_a_reference_with_other_bounds_than_the_histogram_is_a_mistake() -> None:
    text = {"predictions": {"bounds": [10, 17], "counts": [20, 30, 40]}}
    found = evaluate(against(histogram=True, text=text), slices(2000))
    assert found.verdict == "hold" and "17 of reference.json is no bound of prediction" in found.reason


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ({}, "has no distribution 'predictions'"),
        ([], "has no distribution 'predictions'"),
        ({"prediction": {}}, "there are prediction"),
        ({"predictions": {"bounds": [1], "counts": [30, 30], "odd": 1}}, "key 'odd' is not known"),
        ({"predictions": {"bounds": [1], "counts": [30]}}, "is not a distribution"),
        ({"predictions": {"bounds": [2, 1], "counts": [30, 30, 30]}}, "is not a distribution"),
        ({"predictions": {"bounds": [1], "counts": [30, -1]}}, "is not a distribution"),
        ({"predictions": {"bounds": [1], "counts": [30, float("nan")]}}, "is not a distribution"),
        ({"predictions": {"bounds": ["a"], "counts": [30, 1]}}, "is not a distribution"),
        ({"predictions": {"counts": {"a": "b"}}}, "is not a distribution"),
        ({"predictions": {"bounds": [1], "counts": [5, 5]}}, "has 10 values"),
    ],
)
def test_mistakes_in_a_reference_are_named(text: Any, says: str) -> None:
    with pytest.raises(InputError, match=r"mpg/reference\.json") as raised:
        against(text=text)
    assert says in str(raised.value)


def test_a_reference_that_is_missing_or_of_categories_is_named() -> None:
    with pytest.raises(InputError, match="there is no such file"):
        drift(against="reference", key="predictions").with_files({}, "mpg")
    with pytest.raises(InputError, match="a histogram needs bounds"):
        against(key="origin", histogram=True)
    assert drift().with_files({}, "mpg") == drift()


def test_it_is_read_from_gate_yaml() -> None:
    check = parse_check(read(TEXT, "gate.yaml"))
    assert check == Drift(Terms("predictions", 0.0, 200), "psi", 0.25) and check.needs == ()
    assert (check.description()["margin"], check.description()["limit"]) == (None, 0.25)
    kept = parse_check(read(TEXT.replace("predictions: true", "histogram: p, against: reference"), "gate.yaml"))
    assert isinstance(kept, Drift) and kept.key == "predictions" and kept.needs[0].kind == "histogram"
    for before, after, says in (
        ("predictions: true", "predictions: true, histogram: p", "not both"),
        ("predictions: true, ", "", "type: one of histogram and predictions: true is missing"),
        ("statistic: psi", "statistic: kl", "is not one of"),
        ("limit: 0.25, ", "", "limit: is missing"),
        ("limit: 0.25", "limit: 25 %", "limit: is not a number.*a share of 25 % is written 0.25"),
        ("limit: 0.25", "limit: 2.5%", "a share of 2.5 % is written 0.025"),
        ("limit: 0.25", "limit: 0.25, margin: 1", "margin: is not a known key"),
        ("limit: 0.25", "limit: 0.25, reference: x", "reference: is not a known key"),
    ):
        with pytest.raises(InputError, match=says):
            parse_check(read(TEXT.replace(before, after), "gate.yaml"))
