"""Counters from a Prometheus server: the raw points that it scraped, by instant queries `selector[Ns]`.

PromQL's functions are not used. `increase()` guesses what happened between the points and the window's ends, and one
call cannot tell requests before a weight change from those after it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3

from modelpack.errors import InputError, RemoteError
from modelpack.gate.samples import Point, Series
from modelpack.gate.selectors import Selector
from modelpack.text import blanked

TIMEOUT = 5.0  # seconds for one query
WITHIN = 8.0  # seconds for all queries of one look
MAX_BYTES = 32 << 20
_Read = TypeVar("_Read")
_Scrape = tuple[str, str, float]  # job, instance, time


class Prometheus:
    """A `MetricSource` over Prometheus' HTTP API at `url`. Not for several threads at once."""

    def __init__(self, url: str, selectors: Iterable[Selector], within: float = WITHIN) -> None:
        """`selectors` are filled ones; `within` is how many seconds all questions about one time may take together."""
        self._within = within
        self._look, self._until = math.nan, 0.0
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        self._place = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # reasons are shown to anybody
        self._selectors = tuple(dict.fromkeys(selectors))
        self._window: tuple[float, float] | None = None
        self._found: dict[Selector, list[Series]] = {}
        self._session = requests.Session()
        self._session.trust_env = False  # both are in the cluster, a proxy of the environment is not between them

    def samples(self, selector: Selector, role: str, start: float, end: float) -> list[Series]:
        """As `MetricSource`; the first question about a window reads all selectors in it."""
        if self._window != (start, end):
            found = {each: self._query(each, start, end) for each in self._selectors}
            self._found, self._window = from_zero(found), (start, end)
        return self._found[selector.fill({"role": role})]

    def _query(self, selector: Selector, start: float, end: float) -> list[Series]:
        window = f"{selector.promql()}[{max(1, math.ceil(end - start))}s]"
        return self._ask(window, end, lambda data: [_series(each, start, end) for each in data["result"]])

    def query(self, text: str, at: float) -> float | None:
        """As `MetricSource`; raises InputError for a query that gives more than one number."""
        return self._ask(text, at, lambda data: _number(text, data))

    def _ask(self, query: str, at: float, read: Callable[[Any], _Read]) -> _Read:
        if at != self._look:
            self._look, self._until = at, time.monotonic() + self._within
        body = self._get({"query": query, "time": f"{at:.3f}"})
        try:
            answer = json.loads(body)
            if answer["status"] != "success":
                raise RemoteError(self._place, f"refused the query {query}: {_printable(answer.get('error'))}")
            return read(answer["data"])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise RemoteError(self._place, "did not answer as Prometheus does") from error

    def _get(self, query: dict[str, str]) -> bytes:
        body, left = bytearray(), self._left()
        try:
            with self._session.get(
                f"{self.url}/api/v1/query", params=query, timeout=min(TIMEOUT, left), stream=True
            ) as answer:
                # iter_content waits until a chunk is full, however slowly its bytes come
                while chunk := answer.raw.read1(1 << 16, decode_content=True):
                    self._left()
                    body += chunk
                    if len(body) > MAX_BYTES:
                        raise RemoteError(self._place, f"answered more than {MAX_BYTES} bytes")
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise RemoteError(self._place, f"cannot be read ({type(error).__name__})") from error
        if answer.status_code != 200 and not body.lstrip().startswith(b"{"):  # refusals come in JSON too
            raise RemoteError(self._place, f"answered {answer.status_code}")
        return bytes(body)

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise RemoteError(self._place, f"took more than {self._within:g} s to answer")
        return left


def from_zero(found: dict[Selector, list[Series]]) -> dict[Selector, list[Series]]:
    """The same series with a point of zero where a scrape of their target did not have them yet, or any more.

    That a target was scraped at some time shows in its other series. Series are taken to be of one target if they have
    job and instance in common and the very time of a point: a scrape has one time, in milliseconds.
    """
    before: dict[_Scrape, float] = {}
    for each in {each.key: each for series in found.values() for each in series}.values():
        for (earlier, _), (t, _) in pairwise(each.points):
            scrape = _scrape(each, t)
            before[scrape] = max(earlier, before.get(scrape, earlier))
    return {
        selector: [Series(each.metric, each.labels, tuple(_filled(each, before))) for each in series]
        for selector, series in found.items()
    }


def _filled(series: Series, before: Mapping[_Scrape, float]) -> Iterable[Point]:
    last = -math.inf
    for t, value in series.points:
        scraped = before.get(_scrape(series, t), -math.inf)
        if scraped > last:
            yield scraped, 0.0
        yield t, value
        last = t


def _scrape(series: Series, t: float) -> _Scrape:
    return series.labels.get("job", ""), series.labels.get("instance", ""), t


def _series(entry: Any, start: float, end: float) -> Series:
    labels = {str(name): str(value) for name, value in entry["metric"].items()}
    points = [(float(t), float(value)) for t, value in entry["values"]]
    inside = tuple((t, value) for t, value in points if start <= t <= end and math.isfinite(value))
    return Series(labels.pop("__name__", ""), labels, inside)


def _number(query: str, data: Any) -> float | None:
    if data["resultType"] == "scalar":
        number = float(data["result"][1])
    elif data["resultType"] != "vector":
        raise InputError(query, f"gives a {_printable(data['resultType'])}", "write a query that gives one number")
    elif len(data["result"]) > 1:
        raise InputError(query, f"gives {len(data['result'])} numbers", "add them up, as by sum(…)")
    else:
        number = float(data["result"][0]["value"][1]) if data["result"] else math.nan
    return number if math.isfinite(number) else None


def _printable(text: object) -> str:
    return blanked(str(text))[:300]
