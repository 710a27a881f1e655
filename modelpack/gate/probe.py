"""Sends the golden set to a version that runs, a few requests at a time, and never waits longer than it was told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

import requests

from modelpack.gate.checks.check import Pair, Reply
from modelpack.gate.checks.golden import Golden
from modelpack.gate.target import Target

WORKERS = 8
TIMEOUT = 5.0  # seconds for one request
DEADLINE = 60.0  # seconds for the whole set
PATIENCE = 10.0  # seconds in which a server that just became ready may still refuse connections
MAX_ANSWER = 1 << 20

Task = tuple[str, str, Any]  # example id, address, request


def ask(check: Golden, target: Target, stopped: Callable[[], bool]) -> tuple[Pair, ...]:
    """Each example as both versions answer it. Threads are daemons: a stop does not wait for a slow server."""
    tasks: SimpleQueue[Task] = SimpleQueue()
    for example in check.examples:
        for endpoint in (target.canary, target.primary):
            tasks.put((example.id, endpoint.url + check.path, example.request))
    replies: dict[tuple[str, str], Reply] = {}
    deadline = time.monotonic() + DEADLINE
    patience = time.monotonic() + PATIENCE

    def work() -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not stopped():
                try:
                    name, address, request = tasks.get_nowait()
                except Empty:
                    return
                replies[name, address] = (
                    _reply(session, check, address, request, patience)
                    if time.monotonic() < deadline
                    else Reply(error=f"not asked: the set took more than {DEADLINE:g} s")
                )

    threads = [threading.Thread(target=work, daemon=True, name="golden") for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline + PATIENCE + TIMEOUT - time.monotonic()))
    none = Reply(error="did not answer in time")
    canary, primary = target.canary.url + check.path, target.primary.url + check.path
    return tuple(
        Pair(example.id, replies.get((example.id, canary), none), replies.get((example.id, primary), none))
        for example in check.examples
    )


def _reply(session: requests.Session, check: Golden, address: str, request: Any, patience: float) -> Reply:
    while True:
        try:
            with session.post(address, json=request, timeout=TIMEOUT, stream=True, allow_redirects=False) as answer:
                if answer.status_code != 200:
                    return Reply(error=f"POST {check.path} was answered {answer.status_code}")
                body = _read(answer)
                return Reply(check.read_prediction(json.loads(body)))
        except requests.ConnectionError as error:
            if time.monotonic() >= patience:
                return Reply(error=f"cannot be reached ({type(error).__name__})")
            time.sleep(0.2)
        except (requests.RequestException, OSError) as error:
            return Reply(error=f"did not answer ({type(error).__name__})")
        except (ValueError, RecursionError) as error:
            return Reply(error=str(error)[:200])


def _read(answer: requests.Response) -> bytes:
    body = bytearray()
    for chunk in answer.iter_content(1 << 16):
        body += chunk
        if len(body) > MAX_ANSWER:
            raise ValueError(f"the answer is longer than {MAX_ANSWER} bytes")
    return bytes(body)
