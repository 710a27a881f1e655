"""An absolute bound, whatever the primary does: on a share of requests, on a quantile, or on any metric's value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from modelpack.fields import Fields
from modelpack.gate import verdict
from modelpack.gate.checks import histogram as buckets
from modelpack.gate.checks import traffic
from modelpack.gate.checks.check import FAIL, GAUGE, HISTOGRAM, PASS, QUERY, WAIT, Cells, Evidence, Need, Slice, Window
from modelpack.gate.checks.deciding import Question, Seen, Terms, Words
from modelpack.gate.selectors import Selector
from modelpack.gate.statistics.counts import Bounds
from modelpack.gate.statistics.quantile import interval
from modelpack.gate.statistics.share import share

FORMS = ("total", "histogram", "gauge", "query")


@dataclass(frozen=True)
class Slo:
    """Rejects a canary that is shown to be above `most`, accepts one that is shown to be within it.

    `most` is a share of the requests of `total`, or of the answers of `histogram` above `threshold`, one of its bounds;
    with `quantile` it is a time in the histogram's unit.
    """

    type: ClassVar[str] = "slo"
    compares: ClassVar[bool] = True
    terms: Terms
    most: float
    total: Selector | None = None
    bad: Selector | None = None
    histogram: Selector | None = None
    threshold: float | None = None
    quantile: float | None = None
    unit: str = ""

    @classmethod
    def parse(cls, fields: Fields) -> Slo | Level:
        given = [each for each in FORMS if each in fields]
        if len(given) != 1:
            raise fields.error(given[-1] if given else "type", f"exactly one of {', '.join(FORMS)} is needed")
        if given[0] in ("gauge", "query"):
            return Level.parse(fields)
        terms = Terms.parse(fields, compares=False)
        if given[0] == "total":
            total, bad = traffic.selector(fields, "total"), traffic.selector(fields, "bad")
            return cls(terms, fields.number("max", low=0, high=1), total, bad)
        if "quantile" not in fields and "threshold" not in fields:
            raise fields.error("histogram", "one of quantile and threshold is missing beside it")
        if "quantile" in fields and "threshold" in fields:
            raise fields.error("histogram", "either quantile or threshold is needed beside it, not both")
        slower = "threshold" in fields
        return cls(
            terms,
            fields.number("max", low=0, high=1 if slower else None),
            histogram=traffic.selector(fields, "histogram"),
            threshold=fields.number("threshold", low=0) if slower else None,
            quantile=None if slower else fields.number("quantile", low=0.01, high=0.9999),
            unit=fields.text("unit", ""),
        )

    @property
    def name(self) -> str:
        return self.terms.name

    @property
    def alpha(self) -> float | None:
        return self.terms.alpha

    @property
    def needs(self) -> tuple[Need, ...]:
        by = self.terms.label
        if self.total and self.bad:
            return Need("total", self.total, by=by), Need("bad", self.bad, by=by)
        return (Need("histogram", self.histogram, HISTOGRAM, by=by),)

    def evaluate(self, window: Window) -> Evidence:
        words = Words(
            worse=f"the canary's {self._what} is above the bound",
            within=f"the canary's {self._what} is within the bound",
            nothing="",
            say=self._say,
            difference=self._show,
        )
        return traffic.judge(self.terms, words, window, self._measure)

    def description(self) -> dict[str, Any]:
        statistic = "errors" if self.total else "slower-than" if self.quantile is None else f"p{100 * self.quantile:g}"
        measures = {"statistic": statistic, "measures": self._what, "share": self.quantile is None}
        return {**measures, "unit": self.unit, "limit": self.most, **self.terms.description()}

    @property
    def _what(self) -> str:
        if self.total:
            return "share of bad requests"
        if self.quantile is not None:
            return f"time within which {100 * self.quantile:g} % of answers come"
        return f"share of answers slower than {self.threshold:g} {self.unit}".rstrip()

    def _measure(self, slices: Sequence[Slice], question: Question) -> Seen:
        n = traffic.sample(slices, self._all)
        problem = buckets.problem(slices, self.histogram, self.threshold) if self.histogram else ""
        if problem or not n[0]:
            return Seen(None, *n, problem)
        canary, low, high, primary = (self._time if self.quantile is not None else self._share)(slices, question)
        return Seen(Bounds(canary, low, high, canary, primary, low > self.most, high <= self.most, None), *n)

    def _share(self, slices: Sequence[Slice], question: Question) -> tuple[float, float, float, float]:
        rows = traffic.counts(slices, self._all, self._bad)
        total, bad = sum(each.canary for each in rows), sum(each.canary_bad for each in rows)
        others = sum(each.primary for each in rows)
        primary = sum(each.primary_bad for each in rows) / others if others else math.nan
        return bad / total, *share(bad, total, question.alpha), primary

    def _time(self, slices: Sequence[Slice], question: Question) -> tuple[float, float, float, float]:
        found = [
            interval(buckets.buckets(many), self.quantile or 0.0, question.alpha, min_sample=question.min_sample)
            for many in ([each.canary for each in slices], [each.primary for each in slices])
        ]
        canary, low, high = found[0] or (math.nan, -math.inf, math.inf)
        return canary, low, high, found[1][0] if found[1] else math.nan

    def _all(self, cells: Cells) -> float:
        return cells.get("total", 0.0) if self.total else buckets.total(cells)

    def _bad(self, cells: Cells) -> float:
        return cells.get("bad", 0.0) if self.total else buckets.slower(cells, self.threshold or 0.0)

    def _say(self, bounds: Bounds, seen: Seen, question: Question) -> str:
        primary = f" (the primary's is {self._show(bounds.primary)})" if math.isfinite(bounds.primary) else ""
        span = traffic.between(bounds.low, bounds.high, self._show)
        return f"{self._show(bounds.canary)} of {seen.n:,} requests, {span}{primary}; at most {self._show(self.most)}"

    def _show(self, value: float) -> str:
        return traffic.percent(value) if self.quantile is None else f"{value:.4g} {self.unit}".rstrip()


@dataclass(frozen=True)
class Level:
    """A metric's value, of a gauge or a query: rejects what is beyond a bound for all of `lasting` seconds.

    There is no chance to account for: what counts is the value as it is read.
    """

    type: ClassVar[str] = "slo"
    compares: ClassVar[bool] = False
    name: str
    least: float | None
    most: float | None
    lasting: float
    gauge: Selector | None = None
    query: str = ""
    unit: str = ""
    without_data: str = WAIT
    alpha: None = None

    @classmethod
    def parse(cls, fields: Fields) -> Level:
        key = "gauge" if "gauge" in fields else "query"
        if "max" not in fields and "min" not in fields:
            raise fields.error(key, "has no bound", "write max: or min: beside it")
        found = cls(
            name=fields.text("name"),
            least=fields.number("min") if "min" in fields else None,
            most=fields.number("max") if "max" in fields else None,
            lasting=fields.duration("for", "60s"),
            gauge=traffic.selector(fields, "gauge") if key == "gauge" else None,
            query=traffic.query(fields) if key == "query" else "",
            unit=fields.text("unit", ""),
            without_data=fields.choice("without_data", (WAIT, PASS, FAIL), WAIT),
        )
        if found.least is not None and found.most is not None and found.least > found.most:
            raise fields.error("min", f"{found.least:g} is above max, {found.most:g}")
        return found

    @property
    def needs(self) -> tuple[Need, ...]:
        return (Need("value", self.gauge, GAUGE) if self.gauge else Need("value", None, QUERY, query=self.query),)

    def evaluate(self, window: Window) -> Evidence:
        values = [(t, value) for t, value in window.values if not math.isnan(value)]
        given, reason = self._judge(values, window)
        if not values or not math.isfinite(values[-1][1]):
            return Evidence(given, reason, n=len(values))
        return Evidence(given, reason, estimate=values[-1][1], canary=values[-1][1], n=len(values))

    def description(self) -> dict[str, Any]:
        limit = self.most if self.most is not None else self.least
        return {
            "statistic": "value",
            "measures": self.gauge.metric if self.gauge else self.query,
            "share": False,
            "unit": self.unit,
            "better": "lower" if self.most is not None else "higher",
            "counts": "values",
            "limit": limit,
            "margin": None,
            "min_sample": None,
            "without_data": self.without_data,
        }

    def _judge(self, values: Sequence[tuple[float, float]], window: Window) -> tuple[str, str]:
        latest = f"{self._show(values[-1][1])} now, {self._allowed}" if values else "no value yet"
        if window.rollback:
            return verdict.ACCEPT, f"a person asked to go back to this version; seen: {latest}"
        beyond = self._run(values, window.patience, beyond=True)
        if beyond is not None and beyond >= self.lasting:
            return verdict.REJECT, f"beyond the bound for {beyond:.0f} s: {latest}"
        if window.unreachable:
            return verdict.HOLD, f"the metrics cannot be read: {window.unreachable}"
        gone = window.silent >= window.patience
        if gone or (not values and window.elapsed >= 1):
            return self._without_data(window, gone, latest)
        if beyond is not None:
            return verdict.UNDECIDED, f"beyond the bound for {beyond:.0f} s, {self.lasting:g} s are too long: {latest}"
        if values and window.elapsed <= 0:
            return verdict.UNDECIDED, f"no traffic yet: {latest}"
        within = self._run(values, window.patience, beyond=False)
        if within is None or within < self.lasting:
            said = f"within the bound for {within or 0:.0f} of {self.lasting:g} s: " if values else ""
            return verdict.UNDECIDED, f"{said}{latest}"
        return verdict.ACCEPT, f"within the bound for {within:.0f} s: {latest}"

    def _without_data(self, window: Window, gone: bool, latest: str) -> tuple[str, str]:
        silence = f"the metric has had no value for {window.silent:.0f} s" if gone else "the metric has had no value"
        if self.without_data == WAIT or window.elapsed < 1:
            waits = self.without_data == PASS
            return verdict.UNDECIDED if waits else verdict.HOLD, f"{silence}; {latest}"
        given = verdict.ACCEPT if self.without_data == PASS else verdict.REJECT
        return given, f"{silence}; gate.yaml says without_data: {self.without_data}; {latest}"

    def _run(self, values: Sequence[tuple[float, float]], patience: float, *, beyond: bool) -> float | None:
        """For how many seconds the newest values have all been on one side, None if the newest is not.

        A gap of `patience` ends it: nobody knows what was in between.
        """
        since: float | None = None
        later = values[-1][0] if values else 0.0
        for t, value in reversed(values):
            if self._beyond(value) != beyond or later - t >= patience:
                break
            since = later = t
        return None if since is None else values[-1][0] - since

    def _beyond(self, value: float) -> bool:
        return (self.most is not None and value > self.most) or (self.least is not None and value < self.least)

    @property
    def _allowed(self) -> str:
        bounds = [] if self.most is None else [f"at most {self._show(self.most)}"]
        bounds += [] if self.least is None else [f"at least {self._show(self.least)}"]
        return f"{' and '.join(bounds)} is allowed"

    def _show(self, value: float) -> str:
        return f"{value:.4g} {self.unit}".rstrip()
