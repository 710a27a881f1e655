from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from modelpack.errors import InputError, RemoteError
from modelpack.gate.prometheus import Prometheus, from_zero
from modelpack.gate.samples import Point, Series
from modelpack.gate.selectors import Selector
from tests.fakes.rehearsal import serve

TOTAL = Selector.parse('rq{role="${role}",odd="a\\"\\\\b"}', lambda problem: InputError("gate.yaml", problem))


def answer(*series: tuple[dict[str, str], list[tuple[float, str]]]) -> bytes:
    result = [{"metric": labels, "values": values} for labels, values in series]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()


def test_raw_points_are_asked_for_with_a_range_selector_and_nothing_else() -> None:
    asked: list[dict[str, list[str]]] = []

    def api(path: str, body: bytes) -> tuple[int, bytes]:
        asked.append(parse_qs(urlsplit(path).query))
        labels = {"__name__": "rq", "role": "canary", "instance": "a"}
        return 200, answer((labels, [(9.0, "1"), (12.5, "3"), (17.5, "NaN"), (22.5, "8")]))

    with serve(api) as url:
        source = Prometheus(url + "/", [TOTAL.fill({"role": "canary"})])
        (found,) = source.samples(TOTAL, "canary", 10.0, 20.5)
        assert source.samples(TOTAL, "canary", 10.0, 20.5) == [found]  # not asked twice
    assert found == Series("rq", {"role": "canary", "instance": "a"}, ((12.5, 3.0),))
    assert asked == [{"query": ['rq{odd="a\\"\\\\b",role="canary"}[11s]'], "time": ["20.500"]}]


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (400, b'{"status":"error","errorType":"bad_data","error":"parse error"}', r"refused the query rq.*parse error"),
        (422, b'{"status":"error","error":"query timed\\nout"}', "query timed out"),
        (503, b"Service Unavailable", "answered 503"),
        (200, b"<html>", "did not answer as Prometheus does"),
        (200, b'{"status":"success","data":{"result":[{}]}}', "did not answer as Prometheus does"),
        (200, b"[]", "did not answer as Prometheus does"),
    ],
)
def test_whatever_else_it_answers_is_an_error(status: int, body: bytes, problem: str) -> None:
    with serve(lambda path, _: (status, body)) as url, pytest.raises(RemoteError, match=problem):
        Prometheus(url, [TOTAL.fill({"role": "canary"})]).samples(TOTAL, "canary", 0, 10)


def test_a_prometheus_that_is_not_there_is_an_error() -> None:
    with pytest.raises(RemoteError, match=r"^http://127\.0\.0\.1:9: cannot be read"):  # and nobody sees the login
        Prometheus("http://ada:secret@127.0.0.1:9", [TOTAL.fill({"role": "canary"})]).samples(TOTAL, "canary", 0, 10)


@pytest.mark.parametrize("silent_at", ["headers", "body", "bytes"])
def test_one_that_answers_a_bit_at_a_time_is_given_up(silent_at: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        over = threading.Event()

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection:
                head = b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n"
                connection.sendall(head[:10] if silent_at == "headers" else head)
                while not over.wait(0.05):
                    if silent_at != "headers":
                        connection.sendall(b" " * (1 << 16 if silent_at == "body" else 1))

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        source = Prometheus(f"http://127.0.0.1:{listener.getsockname()[1]}", [TOTAL.fill({"role": "canary"})], 0.5)
        begun = time.monotonic()
        with pytest.raises(RemoteError, match=r"took more than 0\.5 s|cannot be read"):
            source.samples(TOTAL, "canary", 0, 10)
        assert time.monotonic() - begun < 2
        over.set()
        thread.join(5)


def series(name: str, *points: Point, **labels: str) -> Series:
    return Series("rq", {"job": "envoy", "instance": "a", "name": name, **labels}, points)


@pytest.mark.parametrize(
    ("other", "new", "filled"),
    [
        # first used between two scrapes
        (series("x", (5, 1), (10, 2), (15, 3)), series("y", (15, 7)), ((10, 0), (15, 7))),
        # gone for a scrape, as after a restart: from zero again
        (series("x", (5, 1), (10, 2), (15, 3)), series("y", (5, 3), (15, 7)), ((5, 3), (10, 0), (15, 7))),
        # there as often as the other
        (series("x", (5, 1), (10, 2)), series("y", (5, 3), (10, 7)), ((5, 3), (10, 7))),
        # the whole target was not scraped: nobody knows
        (series("x", (5, 1), (15, 3)), series("y", (5, 3), (15, 7)), ((5, 3), (15, 7))),
        (series("x", (15, 3)), series("y", (15, 7)), ((15, 7),)),
        # of another target, by its name or by the times of its scrapes
        (series("x", (10, 2), (15, 3), instance="b"), series("y", (15, 7)), ((15, 7),)),
        (series("x", (10, 2), (14, 3)), series("y", (15, 7)), ((15, 7),)),
    ],
)
def test_a_counter_is_zero_where_its_target_was_scraped_without_it(other: Series, new: Series, filled: Any) -> None:
    one, two = Selector("rq", (("name", "x"),)), Selector("rq", (("name", "y"),))
    assert from_zero({one: [other], two: [new]}) == {one: [other], two: [Series("rq", new.labels, filled)]}
