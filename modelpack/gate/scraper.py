"""The gate's own scraper, for where no Prometheus is: reads Envoy's counters and keeps those that selectors name.

Memory is bounded: only series that match are kept, each with the points of the last `KEEP` scrapes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import requests
from prometheus_client.parser import text_string_to_metric_families

from modelpack.errors import InputError, RemoteError
from modelpack.gate.samples import Point, Series
from modelpack.gate.selectors import Selector

KEEP = 16
MAX_BYTES = 64 << 20
MAX_SERIES = 10_000
TIMEOUT = 2.0

_Key = tuple[str, tuple[tuple[str, str], ...]]


class Scraper:
    """A `MetricSource` over one metrics address. Not for several threads at once."""

    def __init__(self, url: str, selectors: Iterable[Selector]) -> None:
        """`selectors` are filled ones."""
        self.url = url
        self._selectors = tuple(selectors)
        self._names = {each.metric for each in self._selectors}
        self._points: dict[_Key, deque[Point]] = {}
        self._last: float | None = None
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy of the environment is not between the gate and its Envoy

    def samples(self, selector: Selector, role: str, start: float, end: float) -> list[Series]:
        """As `MetricSource`; the first question about an `end` reads all counters, as of then."""
        if end != self._last:
            self._scrape(end)
        wanted = selector.fill({"role": role})
        found = []
        for (metric, labels), points in self._points.items():
            if metric == wanted.metric and wanted.matches(dict(labels)):
                inside = tuple(point for point in points if start <= point[0] <= end)
                found.append(Series(metric, dict(labels), inside))
        return found

    def query(self, text: str, at: float) -> float | None:
        remedy = "a check may have gauge: with a selector, a signal is watched in a cluster alone"
        raise InputError(text, "is PromQL, and there is no Prometheus here", remedy)

    def _scrape(self, now: float) -> None:
        """Read all counters; if that fails, what was known is left as it is."""
        found = self._parse(self._fetch())
        for key, value in found.items():
            points = self._points.get(key)
            if points is None:
                if len(self._points) >= MAX_SERIES:
                    raise RemoteError(self.url, f"has more than {MAX_SERIES} series that match")
                points = self._points[key] = deque(maxlen=KEEP)
            if self._last is not None and (not points or points[-1][0] < self._last):
                points.append((self._last, 0.0))
            points.append((now, value))
        self._last = now

    def _fetch(self) -> str:
        try:
            with self._session.get(self.url, timeout=TIMEOUT, stream=True) as answer:
                if answer.status_code != 200:
                    raise RemoteError(self.url, f"answered {answer.status_code}")
                body = bytearray()
                for chunk in answer.iter_content(1 << 16):
                    body += chunk
                    if len(body) > MAX_BYTES:
                        raise RemoteError(self.url, f"answered more than {MAX_BYTES} bytes")
        except (requests.RequestException, OSError) as error:
            raise RemoteError(self.url, f"cannot be read ({type(error).__name__})") from error
        return body.decode("utf-8", "replace")

    def _parse(self, text: str) -> dict[_Key, float]:
        # Envoy has thousands of series and the parser takes its time: only lines of wanted metrics reach it
        lines = [line for line in text.split("\n") if line.partition("{")[0].partition(" ")[0] in self._names]
        found: dict[_Key, float] = {}
        try:
            for family in text_string_to_metric_families("\n".join(lines) + "\n"):
                for sample in family.samples:
                    if any(each.metric == sample.name and each.matches(sample.labels) for each in self._selectors):
                        found[sample.name, tuple(sorted(sample.labels.items()))] = float(sample.value)
        except (ValueError, IndexError, KeyError) as error:
            raise RemoteError(self.url, f"is not in Prometheus' text format: {error}") from error
        return found
