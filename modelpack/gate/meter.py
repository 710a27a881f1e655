"""Counts a rollout's requests from the points of counters, as far as weight and versions stayed the same.

Two clocks tick here: the gate looks at the target every few seconds, and a Prometheus scrapes whenever it likes, each
of its targets at another time. So the two are kept apart. Looks give spans of time in which everything was steady, from
the end of the first look that said so to the beginning of the last. Counters give points. What a counter went up
between one point and the next is credited if both lie in one span, and is dropped otherwise; a point is used once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from modelpack.errors import InputError, ModelpackError
from modelpack.gate.checks import Comparison
from modelpack.gate.samples import BUCKET, Key, MetricSource, Point, Series, bound, increase, slower
from modelpack.gate.selectors import Selector
from modelpack.gate.sequential import Stratum
from modelpack.gate.target import Endpoint, Target

ROLES = ("canary", "primary")
WINDOW = 180.0  # seconds that are read back: some scrapes of a Prometheus that scrapes once a minute
LATE = 90.0  # seconds after which points that do not come are a silence, and not just a slow Prometheus
REMEMBERED = 600.0  # seconds for which a span can still get requests

Counts = dict[int, float]  # step -> requests


@dataclass(frozen=True)
class Steady:
    """What has to stay as it is for requests to be comparable. `step` numbers such times in a rollout."""

    step: int
    weight: float
    canary: Endpoint
    primary: Endpoint


@dataclass
class _Span:
    """Unix seconds between which looks have found everything steady."""

    steady: Steady
    start: float
    end: float


@dataclass
class _Wanted:
    """The selectors of a check and what they have named; `heard` is when the canary last answered a request."""

    check: Comparison
    total: Selector
    bad: Selector | None
    heard: float
    seen: float = -math.inf
    gains: dict[tuple[str, Selector], list[_Gain]] = field(default_factory=dict)

    @property
    def selectors(self) -> tuple[Selector, ...]:
        return (self.total, self.bad) if self.bad else (self.total,)


@dataclass
class _Gain:
    """What became of one series since the last look: requests by step, and when it last went up at all."""

    bound: float | None
    counts: Counts = field(default_factory=dict)
    rose: float = -math.inf


class Meter:
    """Counts for the comparisons of one rollout. `unreachable` and `wrong` say what could not be read and why."""

    def __init__(
        self,
        rollout: str,
        target: Target,
        checks: Sequence[Comparison],
        source: Callable[[Target, Sequence[Selector]], MetricSource],
        now: float,
    ) -> None:
        self.rollout = rollout
        self.address = target.metrics
        values = {"namespace": target.namespace, "name": target.name}
        self._wanted = {each.name: _wanted(each, values, now) for each in checks}
        selectors = [one for each in self._wanted.values() for one in each.selectors]
        self._source = source(target, [each.fill({"role": role}) for each in selectors for role in ROLES])
        self._spans: list[_Span] = []
        self._steady: Steady | None = None
        self._last: dict[Key, Point] = {}
        self.unreachable = ""
        self.wrong: dict[str, str] = {}

    def measure(
        self, steady: Steady, now: float, reread: Callable[[], tuple[float, Steady | None]]
    ) -> dict[str, tuple[Stratum, ...]]:
        """Each check's requests that no earlier call gave. `now` is after the look that found `steady`.

        `reread` looks again, and says what it found and when it began to look.
        """
        self._begin(steady, now)
        try:
            found = self._read(now)
            at, after = reread()
        except ModelpackError as error:
            self.unreachable = str(error)
            return {}
        self.unreachable = ""
        if after == steady:
            self._spans[-1].end = at
        else:
            self._steady = None
        gains = {key: self._consume(series) for key, series in _longest(found).items()}
        for (name, role, selector), series in found.items():
            self._wanted[name].gains[role, selector] = [gains[each.key] for each in series]
        return {name: strata for name in self._wanted if (strata := self._strata(name, found))}

    def silent(self, check: Comparison, now: float) -> float:
        """Seconds of counters since the canary last answered a request, or since the counting began."""
        wanted = self._wanted[check.name]
        until = wanted.seen if now - wanted.seen < LATE else now
        return max(0.0, until - wanted.heard)

    def _begin(self, steady: Steady, now: float) -> None:
        if steady != self._steady:
            self._spans = [each for each in self._spans if each.end > now - REMEMBERED]
            self._spans.append(_Span(steady, now, now))
            self._steady = steady

    def _read(self, now: float) -> dict[tuple[str, str, Selector], list[Series]]:
        return {
            (name, role, selector): self._source.samples(selector, role, now - WINDOW, now)
            for name, wanted in self._wanted.items()
            for role in ROLES
            for selector in wanted.selectors
        }

    def _consume(self, series: Series) -> _Gain:
        """Use the points that no look could doubt any more; later ones wait for the next look."""
        gain, last, until = _Gain(bound(series.labels)), self._last.get(series.key), self._spans[-1].end
        for point in series.points:
            if point[0] > until:
                break
            if last is not None:
                if point[0] <= last[0]:
                    continue
                up = increase(last[1], point[1])
                span = next((each for each in self._spans if each.start <= last[0] and point[0] <= each.end), None)
                if span:
                    gain.counts[span.steady.step] = gain.counts.get(span.steady.step, 0.0) + up
                if up > 0:
                    gain.rose = point[0]
            last = point
        if last is not None:
            self._last[series.key] = last
        return gain

    def _strata(self, name: str, found: dict[tuple[str, str, Selector], list[Series]]) -> tuple[Stratum, ...]:
        wanted = self._wanted[name]
        points = [each.points[-1][0] for key, many in found.items() if key[0] == name for each in many if each.points]
        wanted.seen = max([wanted.seen, *points])
        heard = [each.rose for each in wanted.gains[ROLES[0], wanted.total]]
        wanted.heard = max([wanted.heard, *heard])
        try:
            counts = {role: _count(wanted, role) for role in ROLES}
            self.wrong.pop(name, None)
        except InputError as error:
            self.wrong[name] = str(error)
            return ()
        steps = sorted({step for total, bad in counts.values() for step in (*total, *bad)})
        weights = {each.steady.step: each.steady.weight for each in self._spans}
        return tuple(
            Stratum(
                step,
                weights[step],
                **{f"{role}_total": total.get(step, 0.0) for role, (total, _) in counts.items()},
                **{f"{role}_bad": bad.get(step, 0.0) for role, (_, bad) in counts.items()},
            )
            for step in steps
        )


def _wanted(check: Comparison, values: dict[str, str], now: float) -> _Wanted:
    total = check.total if check.threshold is None else Selector(check.total.metric + BUCKET, check.total.labels)
    return _Wanted(check, total.fill(values), check.bad.fill(values) if check.bad else None, now)


def _longest(found: dict[tuple[str, str, Selector], list[Series]]) -> dict[Key, Series]:
    """Each series once. Selectors overlap, and are read one after the other: the later answer may know a point more."""
    longest: dict[Key, Series] = {}
    for each in (each for series in found.values() for each in series):
        known = longest.get(each.key)
        if known is None or len(each.points) > len(known.points):
            longest[each.key] = each
    return longest


def _count(wanted: _Wanted, role: str) -> tuple[Counts, Counts]:
    """(all requests, bad ones) by step."""
    total = wanted.gains[role, wanted.total]
    if wanted.bad is not None:
        return _sum(total), _sum(wanted.gains[role, wanted.bad])
    return _slower(wanted.check, total)


def _sum(gains: Iterable[_Gain]) -> Counts:
    found: Counts = {}
    for gain in gains:
        for step, value in gain.counts.items():
            found[step] = found.get(step, 0.0) + value
    return found


def _slower(check: Comparison, gains: Sequence[_Gain]) -> tuple[Counts, Counts]:
    threshold = check.threshold or 0.0
    bounds = {each.bound for each in gains if each.bound is not None}
    if not bounds:
        return {}, {}
    if threshold not in bounds or math.inf not in bounds:
        near = sorted(sorted(bounds, key=lambda each: abs(each - threshold))[:4])
        nearest = ", ".join(f"{each:g}" for each in near)
        raise InputError(
            check.name, f"{threshold:g} is not a bound of {check.total.metric}", f"the nearest are {nearest}"
        )
    by_bound = {each: _sum(gain for gain in gains if gain.bound == each) for each in bounds}
    steps = by_bound[math.inf]
    found = {step: slower({each: by_bound[each].get(step, 0.0) for each in bounds}, threshold) for step in steps}
    return {step: pair[0] for step, pair in found.items()}, {step: pair[1] for step, pair in found.items()}
