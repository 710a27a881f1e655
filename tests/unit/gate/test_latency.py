from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelpack.errors import InputError
from modelpack.gate.checks.check import HISTOGRAM, Need, Window
from modelpack.gate.checks.latency import Latency
from modelpack.gate.selectors import Selector
from tests.fakes.live import parsed, traffic

LINES = """name: latency
histogram: request_time
unit: ms
min_sample: 500
"""
SLOWER = LINES + "threshold: 100\nmargin: 0.05\n"
P99 = LINES + "quantile: 0.99\nmargin: 40\n"
BOUNDS = (10, 50, 100, 150, 200, 500)
FAST = (0.5, 0.9, 0.97, 0.995, 1.0, 1.0)
SLOW = (0.1, 0.3, 0.5, 0.7, 0.8, 0.999)
STUCK = (0.5, 0.8, 0.9, 0.9, 0.9, 0.9)  # one in ten takes longer than any bound


def cells(n: int, shares: tuple[float, ...], bounds: tuple[float, ...] = BOUNDS) -> dict[str, float]:
    return {**{f"{bound:g}": round(n * share) for bound, share in zip(bounds, shares, strict=True)}, "+Inf": n}


def window(canary: dict[str, float], primary: dict[str, float], **changes: Any) -> Window:
    changes = {"elapsed": 0.5, **changes}
    return Window(slices={"": traffic(canary, primary, until=changes["elapsed"])}, **changes)


def check(lines: str) -> Latency:
    found: Latency = parsed(Latency, lines)
    return found


@pytest.mark.parametrize(
    ("lines", "seen", "verdict", "says"),
    [
        (
            SLOWER,
            window(cells(4000, FAST), cells(36000, FAST)),
            "accept",
            "the share of answers slower than 100 ms is no",
        ),
        (
            SLOWER,
            window(cells(4000, SLOW), cells(36000, FAST)),
            "reject",
            "the canary has more answers slower than 100",
        ),
        (
            SLOWER,
            window(cells(4000, SLOW), cells(36000, SLOW)),
            "accept",
            "50 % of 4,000 requests, 50 % of the primary's",
        ),
        (SLOWER, window(cells(400, FAST), cells(3600, FAST)), "undecided", "400 of at least 500"),
        (P99, window(cells(20000, FAST), cells(180000, FAST)), "accept", "99 % of 20,000 answers took at most 140 ms"),
        (P99, window(cells(4000, SLOW), cells(36000, FAST)), "reject", "the canary is slower: 99 % of 4,000 answers"),
        (P99, window(cells(400, FAST), cells(3600, FAST)), "undecided", "400 of at least 500"),
        (P99, window(cells(4000, FAST), cells(36000, FAST), unreachable="gone"), "hold", "gone"),
        (P99, window(cells(0, FAST), cells(3600, FAST), silent=90.0), "hold", "no request has reached the canary"),
        (
            P99.replace("40", "0"),
            window(cells(9000, FAST), cells(9000, FAST)),
            "undecided",
            "not found to be slower so",
        ),
        (
            P99.replace("40", "0"),
            window(cells(9000, FAST), cells(9000, FAST), elapsed=1.0),
            "accept",
            "not found to be",
        ),
        (P99.replace("40", "0"), window(cells(4000, SLOW), cells(36000, FAST)), "reject", "the canary is slower"),
    ],
)
def test_how_long_answers_take(lines: str, seen: Window, verdict: str, says: str) -> None:
    found = check(lines).evaluate(seen)
    assert found.verdict == verdict and says in found.reason


def test_a_quantile_is_given_in_the_unit_with_its_interval() -> None:
    found = check(P99).evaluate(window(cells(4000, SLOW), cells(36000, FAST)))
    assert "at most 486.4 ms, of the primary's 36,000 at most 140 ms: +346 ms, between +" in found.reason
    assert found.reason.endswith(", the margin is +40 ms")
    assert found.low is not None and found.estimate is not None and 40 < found.low < found.estimate


def test_what_no_bucket_bounds_has_no_upper_end() -> None:
    found = check(P99).evaluate(window(cells(4000, STUCK), cells(36000, FAST)))
    assert found.verdict == "reject" and found.high is None
    assert " and unknown, the margin is" in found.reason and "inf" not in found.reason


@pytest.mark.parametrize(
    ("canary", "primary", "says"),
    [
        (
            cells(600, (1.0,) * 6, (10, 50, 90, 120, 200, 500)),
            cells(600, FAST),
            "100 is not a bound of request_time of the canary, the nearest are 10, 50, 90, 120: write one of them",
        ),
        (cells(600, FAST), cells(600, (1.0,), (25,)), "of the primary, the nearest are 25"),
        (cells(0, (), ()) | {"+Inf": 600}, cells(600, FAST), "of the canary, the nearest are none"),
    ],
)
def test_a_threshold_that_no_bucket_has_asks_for_another(
    canary: dict[str, float], primary: dict[str, float], says: str
) -> None:
    found = check(SLOWER).evaluate(window(canary, primary, elapsed=2.0))
    assert found.verdict == "hold" and says in found.reason and found.n == 600


@pytest.mark.parametrize("lines", [SLOWER, P99])
def test_a_histogram_has_a_bucket_for_all(lines: str) -> None:
    found = check(lines).evaluate(window({"100": 600.0}, {"100": 600.0}))
    assert (
        found.verdict == "hold" and "request_time of the canary has no bucket +Inf: is it a histogram?" in found.reason
    )


@pytest.mark.parametrize(("threshold", "scale"), [("100.0", 1), ("0.100", 1000)])
def test_a_threshold_is_found_however_it_is_written(threshold: str, scale: int) -> None:
    bounds = tuple(each / scale for each in BOUNDS)
    seen = window(cells(4000, FAST, bounds), cells(36000, FAST, bounds))
    assert check(SLOWER.replace("threshold: 100", f"threshold: {threshold}")).evaluate(seen).verdict == "accept"


@pytest.mark.parametrize("lines", [SLOWER, P99])
def test_a_bucket_that_did_not_go_up_is_not_missing(lines: str) -> None:
    seen = window(cells(600, SLOW), cells(5400, FAST))
    first, *rest = seen.all
    only_slow = replace(first, canary={"+Inf": 60.0})
    found = check(lines).evaluate(replace(seen, slices={"": (only_slow, *rest)}))
    assert found.verdict == "reject"


def test_overdispersion_widens_the_interval_of_a_share() -> None:
    seen = window(cells(4000, FAST), cells(36000, FAST))
    one, many = (check(f"{SLOWER}overdispersion: {factor}\n").evaluate(seen) for factor in (1, 20))
    assert one.high is not None and many.high is not None and one.high < many.high


def test_a_bucket_that_is_read_late_makes_no_negative_counts() -> None:
    late = {"10": 50.0, "50": 50.0, "100": 80.0, "+Inf": 60.0}
    found = check(SLOWER).evaluate(window(late, cells(600, FAST)))
    assert found.verdict == "undecided" and found.canary == 0.0


def test_rows_by_segment() -> None:
    lines = P99 + "segments: {label: kind, values: [short, long]}\n"
    short, long = (cells(4000, FAST), cells(36000, FAST)), (cells(4000, SLOW), cells(36000, FAST))
    whole = [{bound: one[bound] + other[bound] for bound in one} for one, other in zip(short, long, strict=True)]
    slices = {name: traffic(*each) for name, each in (("", whole), ("short", short), ("long", long))}
    found = check(lines).evaluate(Window(slices=slices, elapsed=0.5))
    assert found.verdict == "reject" and "where kind is long: 99 % of 4,000 answers" in found.reason
    assert [each.verdict for each in found.parts][1] == "reject" and found.parts[0].low is not None
    assert check(lines).needs == (Need("histogram", Selector("request_time"), HISTOGRAM, by="kind"),)


@pytest.mark.parametrize(
    ("lines", "statistic", "measures", "share", "limit"),
    [
        (SLOWER, "slower-than", "share of answers slower than 100 ms", True, 100.0),
        (P99, "p99", "time within which 99 % of answers come", False, None),
    ],
)
def test_how_it_is_described(lines: str, statistic: str, measures: str, share: bool, limit: float | None) -> None:
    said = check(lines).description()
    assert (said["statistic"], said["measures"], said["share"], said["limit"]) == (statistic, measures, share, limit)
    assert said["unit"] == "ms"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (LINES + "margin: 1\n", "1: type: one of quantile and threshold is missing"),
        (SLOWER + "quantile: 0.5\n", "7: quantile: either quantile or threshold"),
        (P99.replace("0.99", "99"), "5: quantile: 99 is not between"),
        (SLOWER.replace("0.05", "5"), "6: margin: 5 is not between 0 and 1"),
        (P99.replace("40", "-4"), "6: margin: -4 is not between"),
        (P99 + "overdispersion: 2\n", "7: overdispersion: is not a known key"),
        (P99.replace("histogram: r", "histogram: 5"), "2: histogram: "),
    ],
)
def test_mistakes_name_the_line(lines: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        check(lines)
    assert str(caught.value).startswith(f"gate.yaml:{problem}")
