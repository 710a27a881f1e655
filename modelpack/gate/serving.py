"""What a Prometheus knows of a model's server while it serves: errors, slow answers, CPU, memory, anything.

Pure: PromQL out, numbers in. A share of requests is beyond its limit once that is sure, with so many false alarms a
month; a level has no chance in it, and is beyond its limit once it was for all of `lasting` seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelpack.fields import Fields
from modelpack.gate.checks.traffic import percent, query, selector
from modelpack.gate.selectors import Selector
from modelpack.gate.statistics.alarms import level

ALARMS = 0.1  # a month, where gate.yaml does not say
KINDS = ("proportion", "latency", "level")
OK, STALE, WAITING, UNKNOWN = "ok", "stale", "waiting", "unknown"

Ask = Callable[[str], float | None]
"""PromQL -> its one number, None if there is none. Raises ModelpackError."""


@dataclass(frozen=True)
class Signal:
    """`value` is the metric or index, None without enough data; `n` how many it rests on. `beyond`: the value is on the
    wrong side of the limit, sure or not. `unreadable`: nobody knows."""

    name: str
    kind: str
    stale: bool
    reason: str
    version: str = ""
    value: float | None = None
    limit: float | None = None
    n: int = 0
    beyond: bool = False
    unreadable: bool = False

    @property
    def status(self) -> str:
        if self.stale:
            return STALE
        return UNKNOWN if self.unreadable else WAITING if self.value is None else OK


@dataclass(frozen=True)
class Share:
    """The share of bad answers in the last `window` seconds: of `total` those of `bad`, or of a histogram's those that
    took longer than `threshold`, one of its bounds."""

    name: str
    kind: str
    limit: float
    min_sample: int
    window: float
    alarms: float
    total: Selector
    bad: Selector
    threshold: float | None = None
    unit: str = ""

    def judge(self, ask: Ask, values: Mapping[str, str]) -> Signal:
        """`values` fill in the selectors' placeholders."""
        total = ask(self._increase(self.total, values)) or 0.0
        known = ask(self._increase(self.bad, values))
        n = round(total)
        if n < self.min_sample:
            reason = f"{n:,} of {self.min_sample:,} requests are there"
            return Signal(self.name, self.kind, False, reason, limit=self.limit, n=n)
        if known is None and self.threshold is not None:  # a counter of errors may be missing, a bucket may not
            reason = f"{self.threshold:g} is no bound of {self.bad.metric}"
            return Signal(self.name, self.kind, False, reason, limit=self.limit, n=n, unreadable=True)
        found = known or 0.0
        # read one after the other: there may be more bad ones than there were requests
        bad = max(0.0, total - found) if self.threshold is not None else found
        share = min(1.0, bad / total)
        low = surely_above(share, n, level(self.alarms, self.window))
        what = "bad" if self.threshold is None else f"slower than {self.threshold:g} {self.unit}".rstrip()
        reason = (
            f"{percent(share)} of {n:,} answers are {what}, surely at least {percent(low)}, the limit is "
            f"{percent(self.limit)} ({self.alarms:g} false alarms a month)"
        )
        beyond = share > self.limit
        return Signal(self.name, self.kind, low > self.limit, reason, "", share, self.limit, n, beyond)

    def _increase(self, wanted: Selector, values: Mapping[str, str]) -> str:
        text = wanted.fill(values).promql()
        if self.threshold is not None and wanted == self.bad:
            bound = re.escape(f"{self.threshold:g}").replace("\\", "\\\\")
            exactly = f'le=~"{bound}(\\\\.0+)?"'
            text = f"{text[:-1]}{',' if wanted.labels else ''}{exactly}}}"
        return f"sum(increase({text}[{math.ceil(self.window)}s]))"


@dataclass(frozen=True)
class Level:
    """The one number of a query: above `most`, or below `least`, for all of `lasting` seconds."""

    name: str
    query: str
    most: float | None
    least: float | None
    lasting: float
    unit: str = ""

    def judge(self, ask: Ask, values: Mapping[str, str]) -> Signal:
        filled = Selector.fill_text(self.query, values)
        now = ask(filled)
        limit = self.most if self.most is not None else self.least
        if now is None:
            return Signal(self.name, "level", False, "the query has no value", limit=limit)
        allowed = f"{'at most' if self.most is not None else 'at least'} {self._show(limit or 0.0)} is allowed"
        nearest = ask(self._nearest(filled)) if self._beyond(now) else None
        stale = nearest is not None and self._beyond(nearest)
        lasting = f", and it was beyond that for {self.lasting:g} s" if stale else ""
        return Signal(self.name, "level", stale, f"{self._show(now)} now, {allowed}{lasting}", "", now, limit, 1)

    def _nearest(self, filled: str) -> str:
        """Of the last `lasting` seconds the value that is nearest to what is allowed, if most of them had one."""
        step = max(1, math.ceil(self.lasting / 30))
        span = f"(({filled})[{math.ceil(self.lasting)}s:{step}s])"
        best = "min" if self.most is not None else "max"
        return f"{best}_over_time{span} and count_over_time{span} >= {math.floor(0.8 * self.lasting / step)}"

    def _beyond(self, value: float) -> bool:
        return (self.most is not None and value > self.most) or (self.least is not None and value < self.least)

    def _show(self, value: float) -> str:
        return f"{value:.4g} {self.unit}".rstrip()


def read_metric(fields: Fields, name: str, kind: str) -> Share | Level:
    """One entry of `signals` that a Prometheus answers; raises InputError with file and line."""
    if kind == "level":
        return _read_level(fields, name)
    limit, sample = fields.number("limit", low=1e-6, high=0.999), fields.integer("min_sample", 500, low=20)
    window, alarms = fields.duration("window", "1h"), fields.number("alarms", ALARMS, low=1e-6, high=100)
    if kind == "proportion":
        total, bad = selector(fields, "total"), selector(fields, "bad")
        return Share(name, kind, limit, sample, window, alarms, total, bad)
    histogram = selector(fields, "histogram")
    total, good = (Selector(f"{histogram.metric}_{part}", histogram.labels) for part in ("count", "bucket"))
    threshold, unit = fields.number("threshold", low=0), fields.text("unit", "")
    return Share(name, kind, limit, sample, window, alarms, total, good, threshold, unit)


def _read_level(fields: Fields, name: str) -> Level:
    read = query(fields)
    if ("max" in fields) == ("min" in fields):
        raise fields.error("query", "either max or min is needed beside it, not both")
    most = fields.number("max") if "max" in fields else None
    least = fields.number("min") if "min" in fields else None
    return Level(name, read, most, least, fields.duration("for", "10m"), fields.text("unit", ""))


def surely_above(share: float, n: int, chance: float) -> float:
    """What a share is at least, wrong with that probability at most: the exact bound of Clopper and Pearson (1934).

    So far out in the tail, bounds that take a count as normal are wrong many times as often as they say.
    """
    from scipy.special import betaincinv

    bad = share * n
    return float(betaincinv(bad, n - bad + 1.0, chance)) if bad > 0 else 0.0
