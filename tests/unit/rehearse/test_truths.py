"""Truths reach the gate some time after the answers; a gate that does not take them stops nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from modelpack.rehearse.gate import Gate
from modelpack.rehearse.truths import Truths
from tests.fakes.http import serve


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    assert condition()


def test_labels_are_posted_by_id_after_their_time() -> None:
    with serve(lambda request: (200, b"{}")) as server, Truths(Gate(server.url), "mpg", 1.0) as truths:
        started = time.monotonic()
        truths.learn("r1", 18.0)
        truths.learn("r2", "car")
        wait_for(lambda: server.seen)
        assert time.monotonic() - started >= 1.0
    told = [each for request in server.seen for each in json.loads(request.body)["labels"]]
    assert server.seen[0].path == "/api/v1/models/mpg/labels"
    assert told == [{"id": "r1", "truth": 18.0}, {"id": "r2", "truth": "car"}]


def test_what_a_gate_refuses_is_lost_and_the_next_is_told() -> None:
    with serve(lambda request: (500, b"")) as server, Truths(Gate(server.url), "mpg", 0.0) as truths:
        truths.learn("r1", 1)
        wait_for(lambda: server.seen)
        server.answer = lambda request: (200, b"{}")
        truths.learn("r2", 2)
        wait_for(lambda: len(server.seen) > 1)
    assert [json.loads(each.body)["labels"][0]["id"] for each in server.seen] == ["r1", "r2"]
