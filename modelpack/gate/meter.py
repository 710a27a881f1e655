"""Counts a rollout's requests from the points of counters, as far as weight and versions stayed the same.

Two clocks tick here: the gate looks at the target every few seconds, and a Prometheus scrapes whenever it likes, each
of its targets at another time. So the two are kept apart. Looks give spans of time in which everything was steady, from
the end of the first look that said so to the beginning of the last. Counters give points. What a counter went up
between one point and the next is credited if both lie in one span, and is dropped otherwise; a point is used once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from modelpack.errors import ModelpackError
from modelpack.gate.checks import Check, Need
from modelpack.gate.checks.check import HISTOGRAM
from modelpack.gate.samples import BOUND, BUCKET, Key, MetricSource, Point, Series, increase
from modelpack.gate.selectors import Selector
from modelpack.gate.target import Endpoint, Target

ROLES = ("canary", "primary")
WINDOW = 180.0  # seconds that are read back: some scrapes of a Prometheus that scrapes once a minute
LATE = 90.0  # seconds after which points that do not come are a silence, and not just a slow Prometheus
PATIENCE = 10.0  # seconds that one look may wait for metrics
REMEMBERED = 600.0  # seconds for which a span can still get requests
MOST_SEGMENTS = 100  # of one check: a label's values come from anybody
OTHERS = "other"


@dataclass(frozen=True)
class Steady:
    """What has to stay as it is for requests to be comparable. `step` numbers such times in a rollout."""

    step: int
    weight: float
    canary: Endpoint
    primary: Endpoint


@dataclass(frozen=True)
class Gain:
    """What the counters of one check went up by in one step, by cell; `segment` is "" for all traffic together."""

    segment: str
    step: int
    weight: float
    canary: dict[str, float]
    primary: dict[str, float]


@dataclass(frozen=True)
class Measured:
    """What one look gave: each check's gains, and the latest value of each that has no counters."""

    gains: dict[str, tuple[Gain, ...]] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)


@dataclass
class _Span:
    """Unix seconds between which looks have found everything steady."""

    steady: Steady
    start: float
    end: float


@dataclass
class _Wanted:
    """A check's needs with their selectors filled; `heard` is when the canary last answered a request."""

    counters: tuple[Need, ...]
    values: tuple[Need, ...]
    heard: float
    seen: float = -math.inf
    segments: set[str] = field(default_factory=set)

    def segment(self, value: str) -> str:
        """The segment of a label's value: what is new beyond `MOST_SEGMENTS` is one segment together."""
        if value not in self.segments and len(self.segments) >= MOST_SEGMENTS:
            return OTHERS
        self.segments.add(value)
        return value


@dataclass
class _Rise:
    """What became of one series since the last look: requests by step, and when it last went up at all."""

    labels: dict[str, str]
    counts: dict[int, float] = field(default_factory=dict)
    rose: float = -math.inf


_Asked = tuple[str, Need]  # role, need


class Meter:
    """Counts for the checks of one rollout. `unreachable` and `wrong` say what could not be read and why."""

    def __init__(
        self,
        rollout: str,
        target: Target,
        checks: Sequence[Check],
        source: Callable[[Target, Sequence[Selector]], MetricSource],
        now: float,
    ) -> None:
        self.rollout = rollout
        self.address = target.metrics
        values = {"namespace": target.namespace, "name": target.name}
        self._wanted = {each.name: _wanted(each.needs, values, now) for each in checks if each.needs}
        selectors = [one.selector for each in self._wanted.values() for one in (*each.counters, *each.values)]
        filled = [each.fill({"role": role}) for each in selectors if each for role in ROLES]
        self._source = source(target, filled)
        self._spans: list[_Span] = []
        self._steady: Steady | None = None
        self._last: dict[Key, Point] = {}
        self.unreachable = ""
        self.wrong: dict[str, str] = {}
        self._asked: float | None = None

    def measure(self, steady: Steady, now: float, reread: Callable[[], tuple[float, Steady | None]]) -> Measured:
        """What no earlier call gave. `now` is after the look that found `steady`.

        `reread` looks again, and says what it found and when it began to look.
        """
        self._begin(steady, now)
        self._asked = now
        try:
            found = {name: self._read(wanted, now) for name, wanted in self._wanted.items()}
            values = {name: value for name in self._wanted if (value := self._value(name, now)) is not None}
            at, after = reread()
        except ModelpackError as error:
            self.unreachable = str(error)
            return Measured()
        finally:
            self._asked = None
        self.unreachable = ""
        for name in values:
            self._wanted[name].heard = now
        if after == steady:
            self._spans[-1].end = at
        else:
            self._steady = None
        rises = {key: self._consume(series) for key, series in _longest(found.values()).items()}
        return Measured({name: self._gains(name, asked, rises) for name, asked in found.items()}, values)

    def trouble(self, name: str, now: float) -> str:
        """Why a check's metrics cannot be read, "" if they can; also while they are waited for for too long."""
        if self._asked is not None and self.late(now):
            return f"the metrics: there is no answer for {now - self._asked:.0f} s"
        return self.unreachable or self.wrong.get(name, "")

    def late(self, now: float) -> bool:
        """Whether metrics are waited for for too long: what was judged before does not stand any more."""
        return self._asked is not None and now - self._asked >= PATIENCE

    def silent(self, name: str, now: float) -> float:
        """Seconds since the canary last answered a request of this check (by the counters' time), or since a metric
        that is none had a value, or since the counting began."""
        wanted = self._wanted.get(name)
        if wanted is None:
            return 0.0
        until = wanted.seen if now - wanted.seen < LATE and wanted.counters else now
        return max(0.0, until - wanted.heard)

    def _begin(self, steady: Steady, now: float) -> None:
        if steady != self._steady:
            self._spans = [each for each in self._spans if each.end > now - REMEMBERED]
            self._spans.append(_Span(steady, now, now))
            self._steady = steady

    def _read(self, wanted: _Wanted, now: float) -> dict[_Asked, list[Series]]:
        return {
            (role, need): self._source.samples(need.selector, role, now - WINDOW, now)
            for need in wanted.counters
            if need.selector
            for role in ROLES
        }

    def _value(self, name: str, now: float) -> float | None:
        """The canary's value now: of a gauge's series the largest. What a query cannot say is kept as wrong."""
        for need in self._wanted[name].values:
            if need.selector:
                series = self._source.samples(need.selector, ROLES[0], now - WINDOW, now)
                latest = [each.points[-1][1] for each in series if each.points]
                return max(latest, default=None)
            try:
                found = self._source.query(Selector.fill_text(need.query, {"role": ROLES[0]}), now)
                self.wrong.pop(name, None)
                return found
            except ModelpackError as error:
                self.wrong[name] = str(error)
        return None

    def _consume(self, series: Series) -> _Rise:
        """Use the points that no look could doubt any more; later ones wait for the next look."""
        rise, last, until = _Rise(dict(series.labels)), self._last.get(series.key), self._spans[-1].end
        for point in series.points:
            if point[0] > until:
                break
            if last is not None:
                if point[0] <= last[0]:
                    continue
                up = increase(last[1], point[1])
                span = next((each for each in self._spans if each.start <= last[0] and point[0] <= each.end), None)
                if span:
                    rise.counts[span.steady.step] = rise.counts.get(span.steady.step, 0.0) + up
                if up > 0:
                    rise.rose = point[0]
            last = point
        if last is not None:
            self._last[series.key] = last
        return rise

    def _gains(self, name: str, asked: dict[_Asked, list[Series]], rises: dict[Key, _Rise]) -> tuple[Gain, ...]:
        wanted = self._wanted[name]
        points = [each.points[-1][0] for series in asked.values() for each in series if each.points]
        wanted.seen = max([wanted.seen, *points])
        cells: dict[tuple[str, int], dict[str, dict[str, float]]] = {}
        for (role, need), series in asked.items():
            for each in series:
                rise = rises[each.key]
                if role == ROLES[0] and need == wanted.counters[0]:
                    wanted.heard = max(wanted.heard, rise.rose)
                cell = _cell(need, rise.labels)
                segments = {"", wanted.segment(rise.labels.get(need.by, ""))} if need.by else {""}
                for step, count in rise.counts.items() if cell else ():
                    for segment in segments:
                        tally = cells.setdefault((segment, step), {each: {} for each in ROLES})[role]
                        tally[cell] = tally.get(cell, 0.0) + count
        weights = {each.steady.step: each.steady.weight for each in self._spans}
        found = (Gain(segment, step, weights[step], **tallies) for (segment, step), tallies in sorted(cells.items()))
        return tuple(each for each in found if any(each.canary.values()) or any(each.primary.values()))


def _wanted(needs: Sequence[Need], values: dict[str, str], now: float) -> _Wanted:
    filled = tuple(_filled(each, values) for each in needs)
    counters = tuple(each for each in filled if each.counted)
    return _Wanted(counters, tuple(each for each in filled if not each.counted), now)


def _filled(need: Need, values: dict[str, str]) -> Need:
    if need.selector is None:
        return replace(need, query=Selector.fill_text(need.query, values))
    metric = need.selector.metric + (BUCKET if need.kind == HISTOGRAM else "")
    return replace(need, selector=Selector(metric, need.selector.labels).fill(values))


def _cell(need: Need, labels: dict[str, str]) -> str:
    """The cell that a series belongs to; "" for one without a bound where a histogram is wanted."""
    if need.kind != HISTOGRAM:
        return need.cell
    try:
        return cell_of(float(labels.get(BOUND, "").replace("+Inf", "inf")))
    except ValueError:
        return ""


def cell_of(bound: float) -> str:
    """A bucket bound as a cell's name: 0.1 is "0.1", however a server writes it."""
    return "+Inf" if bound == math.inf else f"{bound:g}"


def _longest(found: Iterable[dict[_Asked, list[Series]]]) -> dict[Key, Series]:
    """Each series once. Selectors overlap, and are read one after the other: the later answer may know a point more."""
    longest: dict[Key, Series] = {}
    for each in (each for asked in found for series in asked.values() for each in series):
        known = longest.get(each.key)
        if known is None or len(each.points) > len(known.points):
            longest[each.key] = each
    return longest
