"""The meter against counters whose every request is known, scraped at times of their own."""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from modelpack.errors import InputError, RemoteError
from modelpack.gate.checks import Need
from modelpack.gate.checks.check import GAUGE, HISTOGRAM, QUERY
from modelpack.gate.meter import LATE, MOST_SEGMENTS, OTHERS, Meter, Steady
from modelpack.gate.prometheus import from_zero
from modelpack.gate.samples import Point, Series, increase
from modelpack.gate.selectors import Selector
from modelpack.gate.target import Endpoint, Target
from tests.fakes.counted import Reads

ENDPOINT = Endpoint("http://x", "r/m:v@sha256:1")
TARGET = Target("default", "mpg", "Progressing", 10, "1", ENDPOINT, ENDPOINT, "http://metrics", 10, 1)


def selector(text: str) -> Selector:
    return Selector.parse(text, lambda problem: InputError("gate.yaml", problem))


ERRORS: Any = Reads(
    "errors", (Need("total", selector('rq{role="${role}"}')), Need("bad", selector('rq{role="${role}",code="5"}')))
)
SLOW: Any = Reads("slow", (Need("", selector('rt{role="${role}"}'), HISTOGRAM),))


@dataclass
class Counter:
    """One counter of one Envoy: when it went up, when it was reset, when it was scraped and how late that was known."""

    metric: str
    labels: dict[str, str]
    ups: list[float]
    resets: list[float] = field(default_factory=list)
    scrapes: list[float] = field(default_factory=list)
    delay: float = 0.0

    def value(self, t: float) -> int:
        since = max((each for each in self.resets if each <= t), default=-math.inf)
        return bisect.bisect_right(self.ups, t) - bisect.bisect_left(self.ups, since)

    def points(self, until: float = math.inf) -> list[Point]:
        """What a scrape showed; a counter that is zero is not there."""
        seen = ((t, self.value(t)) for t in self.scrapes if t + self.delay <= until)
        return [(t, float(value)) for t, value in seen if value]


class Source:
    """A Prometheus as the meter sees it at `now`; if it `reads` it scrapes when asked, as the gate's scraper does."""

    def __init__(self, counters: list[Counter], selectors: list[Selector], reads: bool = False) -> None:
        self.counters, self.selectors, self.reads = counters, selectors, reads
        self.now = 0.0
        self.fails = False
        self.asked = ""

    def query(self, text: str, at: float) -> float | None:
        self.asked = text
        return 42.0

    def samples(self, selector: Selector, role: str, start: float, end: float) -> list[Series]:
        if self.fails:
            raise RemoteError("http://metrics", "cannot be read")
        for each in self.counters:
            if self.reads and (not each.scrapes or each.scrapes[-1] < end):
                each.scrapes.append(end)
        found = {each: [self._series(one, start, end) for one in self._of(each)] for each in self.selectors}
        return from_zero(found)[selector.fill({"role": role})]

    def _of(self, selector: Selector) -> list[Counter]:
        return [each for each in self.counters if each.metric == selector.metric and selector.matches(each.labels)]

    def _series(self, counter: Counter, start: float, end: float) -> Series:
        points = tuple(point for point in counter.points(self.now) if start <= point[0] <= end)
        return Series(counter.metric, counter.labels, points)


class Rollout:
    """A meter that looks at `weights`, pairs of (from, weight), every few seconds."""

    def __init__(
        self, counters: list[Counter], weights: list[tuple[float, float]], *checks: Any, reads: bool = False
    ) -> None:
        self.counters, self.weights = counters, weights

        def source(_: Target, selectors: object) -> Source:
            self.source = Source(counters, list(selectors), reads)  # type: ignore[call-overload]
            return self.source

        self.restart = lambda now: setattr(self, "meter", Meter("r", TARGET, checks or (ERRORS,), source, now))
        self.meter: Meter
        self.restart(0.0)
        self.counted: dict[tuple[str, int], list[float]] = {}
        self.cells: dict[tuple[str, str], dict[str, float]] = {}  # (check, segment) -> the canary's
        self.values: dict[str, float] = {}
        self.seen: dict[int, list[float]] = {}  # step -> ends of the looks that saw it

    def steady(self, t: float) -> Steady:
        step = bisect.bisect_right([start for start, _ in self.weights], t)
        return Steady(step, self.weights[step - 1][1], ENDPOINT, ENDPOINT)

    def look(self, t: float, takes: float = 0.0) -> None:
        steady = self.steady(t)
        self.source.now = t + takes / 2
        found = self.meter.measure(steady, t, lambda: (t + takes, self.steady(t + takes)))
        self.seen.setdefault(steady.step, [t])
        if not self.source.fails and self.steady(t + takes) == steady:
            self.seen[steady.step].append(t + takes)
        self.values |= found.values
        for name, gains in found.gains.items():
            for each in gains:
                cells = self.cells.setdefault((name, each.segment), {})
                for cell, count in each.canary.items():
                    cells[cell] = cells.get(cell, 0.0) + count
                if each.segment:
                    continue
                counts = self.counted.setdefault((name, each.step), [0.0] * 4)
                numbers = [arm.get(cell, 0.0) for arm in (each.canary, each.primary) for cell in ("total", "bad")]
                self.counted[name, each.step] = [a + b for a, b in zip(counts, numbers, strict=True)]


def requests(chance: random.Random, start: float, end: float, rate: float) -> list[float]:
    return sorted(chance.uniform(start, end) for _ in range(int((end - start) * rate)))


def pods(chance: random.Random, interval: float, end: float, reads: bool) -> list[Counter]:
    """Some Envoys with their counters: scraped at offsets of their own, restarted, out of reach for a while."""
    found = []
    for pod in range(1 if reads else 3):
        offset, gap, delay = chance.uniform(0, interval), chance.uniform(0, end), chance.uniform(0, 1)
        scrapes = [offset + n * interval for n in range(int(end / interval))]
        if chance.random() < 0.3:
            scrapes = [t for t in scrapes if not gap <= t <= gap + 3 * interval]
        resets = [chance.uniform(0, end)] if chance.random() < 0.5 else []
        for role in ("canary", "primary"):
            for code, rate in (("2", 5.0), ("5", 0.3)):
                begin = chance.choice([-300.0, chance.uniform(0, end)])  # some are first used in mid-rollout
                ups = requests(chance, begin, end, rate)
                labels = {"job": "envoy", "instance": f"pod-{pod}", "role": role, "code": code}
                scraped = [] if reads else list(scrapes)
                found.append(Counter("rq", labels, ups, resets, scraped, 0.0 if reads else delay))
    return found


def expected(rollout: Rollout, step: int, role: str, code: str | None) -> float:
    """All that went up between points in a row that both lie between the first and the last look at this step."""
    first, last = rollout.seen[step][0], rollout.seen[step][-1]
    counters = [
        each for each in rollout.counters if each.labels["role"] == role and code in (None, each.labels["code"])
    ]
    total = 0.0
    for each in counters:
        siblings = [other for other in rollout.counters if other.labels["instance"] == each.labels["instance"]]
        scraped = sorted({t for other in siblings for t, _ in other.points()})
        known = [(t, float(each.value(t))) for t in scraped if first <= t <= last]
        total += sum(increase(before, after) for (_, before), (_, after) in pairwise(known))
    return total


@pytest.mark.parametrize("seed", range(12))
def test_no_request_is_credited_that_was_not_there_and_only_the_edges_of_a_step_are_lost(seed: int) -> None:
    chance = random.Random(seed)
    reads = seed % 4 == 0
    interval = chance.choice([5.0, 10.0, 15.0, 30.0])
    changes = [0.0, *(n * 60 + chance.uniform(-10, 10) for n in range(1, 4)), 1e9]
    weights = [(t, weight) for t, weight in zip(changes, (10, 25, 50, 10), strict=False)]
    end = 260.0
    rollout = Rollout(pods(chance, interval, end, reads), weights, reads=reads)
    t = 0.0
    while t < end + 5:
        rollout.source.fails = chance.random() < 0.1
        rollout.look(t, 0.0 if reads else chance.uniform(0, 0.4))
        t += chance.uniform(2, 3)
    for (_, step), counts in rollout.counted.items():
        starts, ends = weights[step - 1][0], changes[step] if step < len(weights) else 1e9
        for index, (role, code) in enumerate([("canary", None), ("canary", "5"), ("primary", None), ("primary", "5")]):
            of = [
                each for each in rollout.counters if each.labels["role"] == role and code in (None, each.labels["code"])
            ]
            truth = sum(starts <= up <= ends for each in of for up in each.ups)
            assert counts[index] <= truth
            if reads:
                continue  # what it sees depends on when it looks, as looks are its scrapes
            assert counts[index] == expected(rollout, step, role, code)
    assert len(rollout.counted) >= 3


def counter(values: Callable[[float], float], scrapes: list[float], **labels: str) -> Counter:
    """A counter that went up by `values` a second at a time."""
    ups = [float(second) for second in range(int(scrapes[-1]) + 1) for _ in range(int(values(second)))]
    return Counter("rq", {"job": "envoy", "instance": "a", "role": "canary", "code": "2", **labels}, ups, [], scrapes)


EVERY = [float(t) for t in range(5, 400, 10)]


def run(rollout: Rollout, start: int, end: int) -> None:
    for t in range(start, end, 2):
        rollout.look(float(t))


def test_a_restart_goes_on_and_counts_nothing_twice() -> None:
    rollout = Rollout([counter(lambda _: 1, EVERY)], [(0, 10)])
    run(rollout, 0, 100)
    before = rollout.counted["errors", 1][0]
    rollout.restart(100.0)
    run(rollout, 100, 200)
    assert (before, rollout.counted["errors", 1][0]) == (90, 180)  # what was between 95 and 105 crosses the restart


def test_a_weight_seen_while_the_counters_were_read_ends_the_span() -> None:
    rollout = Rollout([counter(lambda _: 1, EVERY)], [(0, 10), (50.5, 10)])
    for t in (0.0, 10.0, 20.0, 30.0, 40.0):
        rollout.look(t)
    rollout.look(50.0, takes=1.0)
    rollout.look(60.0)
    rollout.look(80.0)
    assert {step: counts[0] for (_, step), counts in rollout.counted.items()} == {1: 30, 2: 10}  # 5 to 35, and 65 to 75


def test_metrics_that_were_away_lose_nothing() -> None:
    rollout = Rollout([counter(lambda _: 1, EVERY)], [(0, 10)])
    run(rollout, 0, 40)
    rollout.source.fails = True
    run(rollout, 40, 160)
    assert "cannot be read" in rollout.meter.unreachable
    rollout.source.fails = False
    run(rollout, 160, 200)
    assert rollout.meter.unreachable == "" and rollout.counted["errors", 1][0] == 190


def test_a_slow_prometheus_is_no_silence_but_one_that_stopped_is() -> None:
    busy, idle = [float(t) for t in range(0, 61, 30)], [float(t) for t in range(0, 301, 30)]
    stopped = Rollout([counter(lambda _: 1, busy)], [(0, 10)])
    silent = Rollout([counter(lambda t: t < 60, idle), counter(lambda _: 1, idle, role="primary")], [(0, 10)])
    none = Rollout([], [(0, 10)])
    for rollout in (stopped, silent, none):
        run(rollout, 0, 90)
    assert [each.meter.silent(ERRORS.name, 88.0) for each in (stopped, silent, none)] == [0, 0, 88]
    for rollout in (stopped, silent, none):
        run(rollout, 90, 300)
    assert stopped.meter.silent(ERRORS.name, 298.0) == 298 - 60 > LATE
    assert silent.meter.silent(ERRORS.name, 298.0) == 270 - 60
    assert none.meter.silent(ERRORS.name, 298.0) == 298


def buckets(*bounds: str) -> list[Counter]:
    scrapes = list(EVERY)
    labels = [
        {"job": "envoy", "instance": "a", "role": role, "le": bound}
        for role in ("canary", "primary")
        for bound in bounds
    ]
    rates = {"50": 1, "100": 3, "+Inf": 4}
    return [
        Counter("rt_bucket", each, [float(s) for s in range(400) for _ in range(rates[each["le"]])], [], scrapes)
        for each in labels
    ]


def test_a_histogram_is_counted_by_its_buckets() -> None:
    rollout = Rollout(buckets("50", "100", "+Inf"), [(0, 10)], SLOW, ERRORS)
    run(rollout, 0, 60)
    assert rollout.cells == {("slow", ""): {"50": 50, "100": 150, "+Inf": 200}}


def test_segments_are_counted_beside_all_traffic_and_are_bounded() -> None:
    by_region: Any = Reads("errors", (Need("total", selector('rq{role="${role}"}'), by="region"),))
    regions = [f"r{number}" for number in range(MOST_SEGMENTS + 2)]
    rollout = Rollout([counter(lambda _: 1, EVERY, region=each) for each in regions], [(0, 10)], by_region)
    run(rollout, 0, 60)
    found = {segment: cells["total"] for (_, segment), cells in rollout.cells.items()}
    assert found.pop("") == 50 * len(regions)
    assert found.pop(OTHERS) == 100
    assert set(found.values()) == {50} and len(found) == MOST_SEGMENTS


def test_a_metric_that_is_no_counter_gives_its_latest_value() -> None:
    gauge: Any = Reads("gauge", (Need("", selector('rq{role="${role}"}'), GAUGE),))
    query: Any = Reads("query", (Need("", None, QUERY, query='up{role="${role}",name="${name}"}'),))
    rollout = Rollout([counter(lambda _: 1, EVERY), counter(lambda _: 2, EVERY, code="5")], [(0, 10)], gauge, query)
    run(rollout, 0, 60)
    assert rollout.values == {"gauge": 112, "query": 42}
    assert (rollout.source.asked, rollout.counted) == ('up{role="canary",name="mpg"}', {})
    assert (rollout.meter.silent("gauge", 60.0), rollout.meter.silent("none", 60.0)) == (2, 0)
