from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelpack.errors import InputError
from modelpack.gate.checks.check import Need, Slice, Window
from modelpack.gate.checks.proportion import Proportion
from modelpack.gate.selectors import Selector
from tests.fakes.live import parsed, traffic

LINES = """name: errors
total: requests
bad: 'requests{code="5"}'
margin: MARGIN
min_sample: 500
"""


def check(margin: float, **terms: Any) -> Proportion:
    found: Proportion = parsed(Proportion, LINES.replace("MARGIN", str(margin)))
    return replace(found, terms=replace(found.terms, **terms))


def window(canary: int, canary_bad: int, primary: int, primary_bad: int, **changes: Any) -> Window:
    changes = {"elapsed": 0.5, **changes}
    cells = {"total": canary, "bad": canary_bad}, {"total": primary, "bad": primary_bad}
    return Window(slices={"": traffic(*cells, until=changes["elapsed"])}, **changes)


GOOD, BAD, FEW = (2000, 20, 18000, 180), (600, 60, 5400, 54), (100, 1, 900, 9)


@pytest.mark.parametrize(
    ("counts", "changes", "verdict", "says"),
    [
        ((0, 0, 0, 0), {}, "undecided", "0 of at least 500 requests of the canary are there"),
        (FEW, {}, "undecided", "100 of at least 500"),
        (GOOD, {}, "accept", "no worse than allowed: 1 % of 2,000 requests, 1 % of the primary's 18,000: +0 points"),
        ((499, 0, 90000, 0), {}, "undecided", "499 of at least 500"),
        ((600, 14, 5400, 54), {}, "undecided", "the interval is still too wide: 2.33 % of 600 requests"),
        ((600, 14, 5400, 54), {"elapsed": 1.2}, "undecided", "too wide"),
        (BAD, {}, "reject", "the canary has more bad requests: 10 % of "),
        ((100, 40, 900, 9), {}, "reject", ", the margin is +2 points"),
        (
            (600, 6, 0, 0),
            {},
            "undecided",
            "there is too little to compare: 600 requests of the canary, 0 of the primary",
        ),
        # what is away
        (BAD, {"unreachable": "gone"}, "reject", "more bad requests"),
        (GOOD, {"unreachable": "gone"}, "hold", "the metrics cannot be read: gone"),
        (FEW, {"silent": 61.0}, "hold", "no request has reached the canary for 61 s; seen: 1 % of 100 requests"),
        (FEW, {"silent": 59.0}, "undecided", "100 of at least 500"),
        (GOOD, {"silent": 61.0}, "accept", "no worse than allowed"),
        (FEW, {"elapsed": 1.0}, "hold", "the horizon is over, and 100 of at least 500"),
        # a person who asks to go back does not ask whether the old model is better
        (BAD, {"rollback": True}, "accept", "a person asked to go back to this version; seen: 10 % of "),
        (BAD, {"rollback": True, "unreachable": "gone", "silent": 99.0}, "accept", "a person asked"),
    ],
)
def test_a_margin_is_shown_to_hold_or_not(
    counts: tuple[int, int, int, int], changes: dict[str, Any], verdict: str, says: str
) -> None:
    found = check(0.02).evaluate(window(*counts, **changes))
    assert found.verdict == verdict and says in found.reason


@pytest.mark.parametrize(
    ("counts", "changes", "verdict", "says"),
    [
        (GOOD, {}, "undecided", "was not found to have more bad requests so far: 1 % of 2,000 requests"),
        (GOOD, {}, "undecided", "; accepted if that stays so, 50 % of the horizon has passed"),
        (GOOD, {"elapsed": 1.0}, "accept", "would have been found in 8 of 10 rollouts"),
        (GOOD, {"elapsed": 1.0, "silent": 61.0}, "hold", "no request has reached the canary"),
        (GOOD, {"elapsed": 1.0, "unreachable": "gone"}, "hold", "gone"),
        (FEW, {"elapsed": 1.0}, "hold", "the horizon is over"),
        (BAD, {}, "reject", "more bad requests"),
        (BAD, {"elapsed": 1.5}, "reject", "more bad requests"),
    ],
)
def test_without_a_margin_the_whole_horizon_is_watched(
    counts: tuple[int, int, int, int], changes: dict[str, Any], verdict: str, says: str
) -> None:
    found = check(0.0).evaluate(window(*counts, **changes))
    assert found.verdict == verdict and says in found.reason


@pytest.mark.parametrize(
    ("without", "changes", "verdict"),
    [
        ("wait", {"silent": 61.0}, "hold"),
        ("pass", {"silent": 61.0}, "undecided"),
        ("fail", {"silent": 61.0}, "hold"),
        ("wait", {"elapsed": 1.0}, "hold"),
        ("pass", {"elapsed": 1.0}, "accept"),
        ("fail", {"elapsed": 1.0}, "reject"),
        ("pass", {"elapsed": 1.0, "unreachable": "gone"}, "hold"),
        ("fail", {"elapsed": 1.0, "unreachable": "gone"}, "hold"),
    ],
)
@pytest.mark.parametrize("margin", [0.0, 0.02])
def test_without_data(margin: float, without: str, changes: dict[str, Any], verdict: str) -> None:
    found = check(margin, without_data=without).evaluate(window(*FEW, **changes))
    assert found.verdict == verdict
    assert (f"gate.yaml says without_data: {without}" in found.reason) == (verdict in ("accept", "reject"))


def test_a_slice_that_still_grows_does_not_count() -> None:
    growing = Slice(1, 10.0, 0.6, {"total": 500, "bad": 400}, {"total": 4500, "bad": 45}, whole=False)
    seen = window(*GOOD)
    found = check(0.0).evaluate(replace(seen, slices={"": (*seen.all, growing)}))
    assert (found.verdict, found.n) == ("undecided", 2000)


def test_a_bad_request_that_is_known_before_it_is_counted_waits_for_the_next_slice() -> None:
    late = [(10, 20), (20, 10), (0, 5), (5, 0)]
    slices = [
        Slice(1, 10.0, 0.1 * k, {"total": total, "bad": bad}, {"total": 100, "bad": 0})
        for k, (total, bad) in enumerate(late, 1)
    ]
    found = check(0.02).evaluate(Window(slices={"": tuple(slices)}, elapsed=0.5))
    assert found.verdict == "reject" and found.canary == 1.0 and found.high == 1.0


def test_the_evidence_carries_estimate_interval_and_of_how_many() -> None:
    found = check(0.02).evaluate(window(600, 14, 5400, 54))
    assert (found.canary, found.primary) == pytest.approx((0.0233, 0.01), abs=1e-4)
    assert found.estimate == pytest.approx(0.0133, abs=1e-4) and (found.n, found.n_primary) == (600, 5400)
    assert found.low is not None and found.high is not None and found.low < 0.0133 < found.high


def test_one_point_is_one() -> None:
    assert check(0.01).evaluate(window(*FEW)).reason.endswith(", the margin is +1 point")


def test_numbers_of_a_rejection_are_of_the_requests_that_gave_it() -> None:
    until = window(*BAD)
    more = replace(until, slices={"": (*until.all, *window(6000, 60, 54000, 540, elapsed=0.9).all)})
    before, after = (check(0.02).evaluate(each) for each in (until, more))
    assert (after.verdict, after.n, after.canary, after.reason) == ("reject", before.n, before.canary, before.reason)


def test_what_it_needs_and_how_it_is_described() -> None:
    one = check(0.02)
    assert one.needs == (Need("total", Selector("requests")), Need("bad", Selector("requests", (("code", "5"),))))
    assert (one.name, one.alpha, one.overdispersion) == ("errors", None, 1.0)
    assert {key: one.description()[key] for key in ("statistic", "share", "limit", "margin", "min_sample")} == {
        "statistic": "errors",
        "share": True,
        "limit": None,
        "margin": 0.02,
        "min_sample": 500,
    }


def test_overdispersion_widens_the_interval() -> None:
    one, many = (replace(check(0.02), overdispersion=factor).evaluate(window(*GOOD)) for factor in (1.0, 20.0))
    assert one.high is not None and many.high is not None and one.high < many.high


@pytest.mark.parametrize(
    ("more", "overdispersion"), [("", 1.0), ("overdispersion: auto", None), ("overdispersion: 3", 3.0)]
)
def test_overdispersion_is_seen_or_given(more: str, overdispersion: float | None) -> None:
    assert parsed(Proportion, LINES.replace("MARGIN", "0") + more).overdispersion == overdispersion


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("MARGIN", "1.5", "4: margin: 1.5 is not between 0 and 1"),
        ("MARGIN", "-0.1", "4: margin: -0.1 is not between"),
        ("total: requests", "total: 'a b'", "2: total: 'a b' is not a selector"),
        ("bad:", "bed:", "3: bed: is not a known key; did you mean 'bad'"),
        ("min_sample: 500", "min_sample: 0", "5: min_sample: 0 is not between"),
        (
            "min_sample: 500",
            "min_sample: 500\nwithout_data: ignore",
            "6: without_data: 'ignore' is not one of wait, pass, fail",
        ),
        ("min_sample: 500", "min_sample: 500\noverdispersion: 0.5", "6: overdispersion: 0.5 is not between"),
        ("min_sample: 500", "min_sample: 500\nalpha: 0.7", "6: alpha: 0.7 is not between"),
        ("min_sample: 500", "min_sample: 500\nthreshold: 5", "6: threshold: is not a known key"),
    ],
)
def test_mistakes_name_the_line(old: str, new: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        parsed(Proportion, LINES.replace(old, new).replace("MARGIN", "0.02"))
    assert str(caught.value).startswith(f"gate.yaml:{problem}")
