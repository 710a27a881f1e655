from __future__ import annotations

from typing import Any

import pytest

from modelpack.errors import InputError
from modelpack.gate.checks.check import GAUGE, HISTOGRAM, QUERY, Need, Window
from modelpack.gate.checks.slo import Level, Slo
from modelpack.gate.selectors import Selector
from tests.fakes.live import parsed, traffic

SHARE = """name: errors
total: requests
bad: errors
max: 0.05
min_sample: 500
"""
SLOWER = """name: latency
histogram: request_time
threshold: 100
max: 0.05
min_sample: 500
unit: ms
"""
P95 = SLOWER.replace("threshold: 100", "quantile: 0.95").replace("max: 0.05", "max: 150")
GAUGED = """name: memory
gauge: 'memory{pod="${name}-${role}"}'
max: 100
unit: MiB
"""
QUERIED = """name: rate
query: rate(errors{role="${role}"}[1m])
max: 0.5
min: 0.1
for: 30s
"""
FAST, SLOW = {"50": 0.5, "100": 0.97, "200": 1.0, "+Inf": 1.0}, {"50": 0.1, "100": 0.5, "200": 0.8, "+Inf": 1.0}


def check(lines: str) -> Any:
    return parsed(Slo, lines)


def window(canary: dict[str, float], primary: dict[str, float], **changes: Any) -> Window:
    return Window(slices={"": traffic(canary, primary)}, **{"elapsed": 0.5, **changes})


def requests(canary: int, bad: int, primary: int = 9000, primary_bad: int = 900, **changes: Any) -> Window:
    return window({"total": canary, "bad": bad}, {"total": primary, "bad": primary_bad}, **changes)


def times(n: int, shares: dict[str, float], **changes: Any) -> Window:
    return window({bound: n * share for bound, share in shares.items()}, {}, **changes)


@pytest.mark.parametrize(
    ("lines", "seen", "verdict", "says"),
    [
        (SHARE, requests(2000, 20), "accept", "the canary's share of bad requests is within the bound: 1 % of 2,000"),
        (SHARE, requests(600, 120), "reject", "the canary's share of bad requests is above the bound: 20 % of 600"),
        (SHARE, requests(600, 120), "reject", "(the primary's is 10 %); at most 5 %"),
        (SHARE, requests(2000, 20, 0, 0), "accept", "within the bound: 1 % of 2,000 requests, between"),
        (SHARE, requests(600, 24), "undecided", "the interval is still too wide: 4 % of 600"),
        (SHARE, requests(600, 36), "undecided", "the interval is still too wide: 6 % of 600"),
        (SHARE, requests(600, 24, elapsed=1.0), "undecided", "the interval is still too wide"),
        (SHARE, requests(499, 0), "undecided", "499 of at least 500 requests"),
        (SHARE, requests(0, 0), "undecided", "0 of at least 500 requests"),
        (SHARE, requests(0, 0, silent=80.0), "hold", "no request has reached the canary for 80 s"),
        (SHARE, requests(0, 0, elapsed=1.0), "hold", "the horizon is over, and 0 of at least 500"),
        (SHARE + "without_data: fail\n", requests(0, 0, elapsed=1.0), "reject", "; gate.yaml says without_data: fail"),
        (SHARE + "without_data: pass\n", requests(0, 0, elapsed=1.0), "accept", "; gate.yaml says without_data: pass"),
        (SHARE, requests(2000, 20, unreachable="gone"), "hold", "gone"),
        (SHARE, requests(600, 120, rollback=True), "accept", "a person asked to go back"),
        (SLOWER, times(2000, FAST), "accept", "share of answers slower than 100 ms is within the bound: 3 % of 2,000"),
        (SLOWER, times(600, SLOW), "reject", "share of answers slower than 100 ms is above the bound: 50 % of 600"),
        (SLOWER.replace("100", "99"), times(600, SLOW), "hold", "99 is not a bound of request_time of the canary"),
        (P95, times(2000, FAST), "accept", "the canary's time within which 95 % of answers come is within the bound"),
        (P95, times(2000, FAST), "accept", "97.87 ms of 2,000 requests, between "),
        (P95, times(600, SLOW), "reject", " ms and unknown; at most 150 ms"),
        (P95, times(0, SLOW), "undecided", "0 of at least 500"),
    ],
)
def test_a_bound_on_requests(lines: str, seen: Window, verdict: str, says: str) -> None:
    found = check(lines).evaluate(seen)
    assert found.verdict == verdict and says in found.reason


def test_the_interval_is_of_the_canarys_own_share() -> None:
    found = check(SHARE).evaluate(requests(2000, 20))
    assert (found.estimate, found.canary, found.primary) == (0.01, 0.01, 0.1)
    assert found.low is not None and found.high is not None and 0 < found.low < 0.01 < found.high < 0.05
    assert check(SHARE).evaluate(requests(2000, 20, 0, 0)).primary is None
    assert check(P95).evaluate(times(2000, FAST)).primary is None


def test_bounds_hold_in_each_segment() -> None:
    good, bad = traffic({"total": 2000, "bad": 20}, {}), traffic({"total": 600, "bad": 120}, {})
    whole = traffic({"total": 2600, "bad": 140}, {})
    found = check(SHARE + "segments: {label: region, most: 3}\n").evaluate(
        Window(slices={"": whole, "eu": good, "us": bad}, elapsed=0.5)
    )
    assert found.verdict == "reject" and " where region is us: 20 % of 600 requests" in found.reason
    assert [(each.name, each.verdict) for each in found.parts] == [("eu", "accept"), ("us", "reject")]


def values(*seen: float, step: float = 10.0, **changes: Any) -> Window:
    changes = {"elapsed": 0.5, **changes}
    return Window(values=tuple((1e9 + step * k, value) for k, value in enumerate(seen)), **changes)


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("seen", "verdict", "says"),
    [
        (values(*[90.0] * 7), "accept", "within the bound for 60 s: 90 MiB now, at most 100 MiB is allowed"),
        (values(*[90.0] * 7, elapsed=0.0), "undecided", "no traffic yet: 90 MiB now"),
        (values(*[90.0] * 6), "undecided", "within the bound for 50 of 60 s"),
        (values(*[90.0] * 7, 101.0), "undecided", "beyond the bound for 0 s, 60 s are too long: 101 MiB now"),
        (values(*[90.0] * 7, *[101.0] * 6), "undecided", "beyond the bound for 50 s"),
        (values(*[90.0] * 7, *[101.0] * 7), "reject", "beyond the bound for 60 s: 101 MiB now"),
        (values(*[101.0] * 6, 100.0, *[101.0] * 6), "undecided", "beyond the bound for 50 s"),
        (values(*[INF] * 7), "reject", "beyond the bound for 60 s: inf MiB now"),
        (values(*[90.0] * 7, NAN), "accept", "within the bound for 60 s: 90 MiB now"),
        (values(*[90.0] * 7, elapsed=1.0), "accept", "within the bound"),
        (values(*[101.0] * 7, rollback=True), "accept", "a person asked to go back to this version; seen: 101 MiB now"),
        (values(*[101.0] * 7, unreachable="gone"), "reject", "beyond the bound"),
        (values(*[90.0] * 7, unreachable="gone"), "hold", "the metrics cannot be read: gone"),
        (values(*[90.0] * 7, silent=61.0), "hold", "the metric has had no value for 61 s"),
        (values(), "undecided", "no value yet"),
        (values(NAN, NAN), "undecided", "no value yet"),
        (values(silent=61.0), "hold", "the metric has had no value for 61 s"),
        (values(elapsed=1.0), "hold", "the metric has had no value; no value yet"),
        # nobody knows what was in between
        (values(*[101.0] * 3, step=60.0), "undecided", "beyond the bound for 0 s"),
        (values(*[101.0] * 3, step=59.0), "reject", "beyond the bound for 118 s"),
    ],
)
def test_a_level_may_not_be_beyond_its_bound_for_long(seen: Window, verdict: str, says: str) -> None:
    found = check(GAUGED).evaluate(seen)
    assert found.verdict == verdict and says in found.reason


@pytest.mark.parametrize(
    ("without", "seen", "verdict"),
    [
        ("pass", values(silent=61.0), "undecided"),
        ("fail", values(silent=61.0), "hold"),
        ("pass", values(elapsed=1.0), "accept"),
        ("fail", values(elapsed=1.0), "reject"),
    ],
)
def test_a_level_without_values(without: str, seen: Window, verdict: str) -> None:
    assert check(GAUGED + f"without_data: {without}\n").evaluate(seen).verdict == verdict


def test_a_level_may_have_two_bounds() -> None:
    low, high, inside = (check(QUERIED).evaluate(values(*[value] * 4)) for value in (0.05, 0.6, 0.3))
    assert (low.verdict, high.verdict, inside.verdict) == ("reject", "reject", "accept")
    assert "0.3 now, at most 0.5 and at least 0.1 is allowed" in inside.reason
    assert (inside.canary, inside.n) == (0.3, 4)


def test_evidence_holds_no_number_that_json_has_not() -> None:
    assert check(GAUGED).evaluate(values(INF)).canary is None


def test_what_they_need_and_whether_chance_has_a_part() -> None:
    share, slower, gauge, query = map(check, (SHARE, SLOWER, GAUGED, QUERIED))
    assert [each.compares for each in (share, slower, gauge, query)] == [True, True, False, False]
    assert {each.type for each in (share, slower, gauge, query)} == {"slo"}
    assert share.needs == (Need("total", Selector("requests")), Need("bad", Selector("errors")))
    assert slower.needs == (Need("histogram", Selector("request_time"), HISTOGRAM),)
    assert gauge.needs == (Need("value", Selector("memory", (("pod", "${name}-${role}"),)), GAUGE),)
    assert query.needs == (Need("value", None, QUERY, query='rate(errors{role="${role}"}[1m])'),)
    assert isinstance(gauge, Level) and gauge.lasting == 60.0 and isinstance(query, Level) and query.lasting == 30.0


@pytest.mark.parametrize(
    ("lines", "statistic", "limit", "share"),
    [
        (SHARE, "errors", 0.05, True),
        (SLOWER, "slower-than", 0.05, True),
        (P95, "p95", 150.0, False),
        (GAUGED, "value", 100.0, False),
        (QUERIED, "value", 0.5, False),
    ],
)
def test_how_they_are_described(lines: str, statistic: str, limit: float, share: bool) -> None:
    said = check(lines).description()
    assert (said["statistic"], said["limit"], said["share"], said["margin"]) == (statistic, limit, share, None)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("name: x\nmax: 1\n", "1: type: exactly one of total, histogram, gauge, query is needed"),
        (SHARE + "gauge: up\n", "6: gauge: exactly one of"),
        (SHARE.replace("max: 0.05", "max: 5"), "4: max: 5 is not between 0 and 1"),
        (SHARE.replace("bad: errors\n", ""), "1: bad: is missing"),
        (SHARE + "margin: 0.1\n", "6: margin: is not a known key"),
        (SHARE + "segments: {label: region, most: 3, margin: 0.1}\n", "6: segments.margin: is not a known key"),
        (SLOWER + "quantile: 0.5\n", "2: histogram: either quantile or threshold is needed beside it, not both"),
        (SLOWER.replace("threshold: 100\n", ""), "2: histogram: one of quantile and threshold is missing"),
        (SLOWER.replace("0.05", "5"), "4: max: 5 is not between 0 and 1"),
        (GAUGED.replace("max: 100\n", ""), "2: gauge: has no bound; write max: or min: beside it"),
        (GAUGED.replace("max: 100", "max: 1\nmin: 2"), "4: min: 2 is above max, 1"),
        (GAUGED + "min_sample: 5\n", "5: min_sample: is not a known key"),
        (GAUGED + "for: soon\n", "5: for: 'soon' is not a duration"),
        (GAUGED.replace("${role}", "${rolle}"), "2: gauge: ${rolle} is not one of"),
        (QUERIED.replace("${role}", "${rolle}"), "2: query: ${rolle} is not one of ${namespace}, ${name}, ${role}"),
        (QUERIED.replace('rate(errors{role="${role}"}[1m])', "''"), "2: query: is empty"),
        (QUERIED.replace("[1m]", "[1m]" + " " * 5000 + "+ 1"), "2: query: is empty or longer than 4096"),
    ],
)
def test_mistakes_name_the_line(lines: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        check(lines)
    assert str(caught.value).startswith(f"gate.yaml:{problem}")
