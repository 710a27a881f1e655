"""Requests are read line by line, sent in order at their rate, and counted."""

from __future__ import annotations

import time

import pytest

from modelpack.errors import InputError
from modelpack.rehearse.traffic import Request, Traffic, golden_traffic, read_traffic
from tests.fakes import http
from tests.fakes.rehearsal import serve
from tests.fakes.serving import GATE, GOLDEN

JSON = {"Content-Type": "application/json"}


def test_recorded_requests_are_read() -> None:
    put = b'{"method": "put", "path": "/b", "body": {"x": 1}, "headers": {"X": "y"}, "expected": 18.5}'
    assert read_traffic(b'{"path": "/a"}\n\n%s\n{"path": "/c", "body": "raw"}' % put, "t") == (
        Request("GET", "/a"),
        Request("PUT", "/b", b'{"x": 1}', {**JSON, "X": "y"}, 18.5),
        Request("POST", "/c", b"raw", JSON),
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"path": "a"}', "path"),
        ('{"url": "/"}', "'url'"),
        ('{"path": "/", "expected": [1]}', "expected is no number"),
        ('{"path": "/", "expected": NaN}', "expected is no number"),
        ("", "no request"),
    ],
)
def test_what_is_no_request_is_refused_with_its_line(line: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        read_traffic(f"\n{line}\n".encode(), "t.jsonl")
    assert caught.value.subject == ("t.jsonl:2" if line else "t.jsonl")


def test_the_golden_set_goes_where_its_check_goes() -> None:
    requests = golden_traffic(GATE.encode(), GOLDEN.encode(), "golden.jsonl")
    assert requests == tuple(Request("POST", "/predict", b'{"x": %d}' % x, JSON, expected=x) for x in (1, 2))
    assert golden_traffic(b"checks: []", GOLDEN.encode(), "golden.jsonl") == ()
    (own,) = golden_traffic(GATE.encode(), b'{"request": {}, "expected": [1, 2]}', "golden.jsonl")
    assert own.expected is None


def test_requests_are_cycled_at_their_rate_and_counted_by_answer() -> None:
    seen: list[str] = []

    def answer(path: str, body: bytes) -> tuple[int, bytes]:
        seen.append(path)
        return (500 if path == "/b" else 200), b""

    with serve(answer) as url, Traffic(url, [Request("GET", "/a"), Request("GET", "/b")], rate=100) as traffic:
        time.sleep(0.6)
        traffic.stop()
        summary = traffic.summary()
    assert 20 <= summary.sent <= 75
    assert summary.failed == summary.by_status[500]
    assert abs(summary.by_status[200] - summary.by_status[500]) <= 8
    assert summary.sent == len(seen)


def test_what_is_expected_is_learnt_by_the_id_that_the_server_was_sent() -> None:
    learnt: dict[str, float] = {}
    requests = [
        Request("POST", "/a", b"1", expected=7),
        Request("POST", "/bad", b"2", expected=8),
        Request("GET", "/c"),
    ]
    with (
        http.serve(lambda request: (500 if request.path == "/bad" else 200, b"")) as server,
        Traffic(server.url, requests, 100, learnt.__setitem__) as traffic,
    ):
        time.sleep(0.3)
        traffic.stop()
    sent = {each.path: {e.headers.get("x-request-id") for e in server.seen if e.path == each.path} for each in requests}
    assert learnt == dict.fromkeys(sent["/a"], 7)
    assert len(learnt) == sum(each.path == "/a" for each in server.seen) > 1
    assert sent["/c"] == {None}


def test_requests_without_an_answer_are_counted_and_no_traffic_is_none() -> None:
    with Traffic("http://127.0.0.1:9", [Request("GET", "/")], rate=50) as traffic:
        time.sleep(0.2)
        traffic.stop()
    assert traffic.summary().failed == traffic.summary().unanswered > 0
    with Traffic("http://127.0.0.1:9", [], rate=50) as none:
        assert none.summary().sent == 0
