"""Requests through the cluster's Envoy: each answer is traced to the model version that gave it, and its truth told."""

from __future__ import annotations

import http.client
import json
import runpy
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import requests

EXAMPLE = Path(__file__).parents[2] / "model-images" / "mpg"
PATH = "/v1/models/mpg:predict"
FEEDBACK = "/v1/models/mpg:feedback"
CONNECTIONS = 4
TIMEOUT = 10.0  # seconds for one request
ERROR, LOST, UNKNOWN = "error", "lost", "unknown"


@dataclass(frozen=True)
class Question:
    """A request body, what is true, and the prediction by which each version gives itself away; None where it fails."""

    body: bytes
    truth: float
    answers: Mapping[str, float | None]

    def who(self, predicted: float) -> str:
        """The version that predicts this."""
        return next((version for version, known in self.answers.items() if known == predicted), UNKNOWN)


def questions(artifacts: Path, versions: Sequence[str]) -> tuple[Question, ...]:
    """The example's traffic, with what each trained version answers."""
    models = {version: _server()["load"](artifacts / version) for version in versions}
    found = []
    for line in (EXAMPLE / "traffic.jsonl").read_text().splitlines():
        body, truth = (json.loads(line)[key] for key in ("body", "expected"))
        answers = {version: _predict(model, body["instances"][0]) for version, model in models.items()}
        found.append(Question(json.dumps(body).encode(), truth, answers))
    return tuple(found)


@cache
def _server() -> dict[str, Any]:
    """The example's server, once: its metrics are registered in this process."""
    return runpy.run_path(str(EXAMPLE / "serve.py"))


def _predict(model: Any, car: dict[str, Any]) -> float | None:
    try:
        return float(model.predict(car))
    except KeyError:
        return None


@dataclass
class Load:
    """Sends questions at `rate` a second to `host` by way of `ingress` while used as a context.

    `seen` counts, by `(unix second, who)`, the version that answered, or `error`, `lost`, `unknown`. With `tells` the
    server is posted what was true, every second.
    """

    ingress: str
    host: str
    questions: Sequence[Question]
    rate: float
    tells: bool = False
    seen: Counter[tuple[int, str]] = field(default_factory=Counter)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)
    _truths: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._send, args=(each,), daemon=True) for each in range(CONNECTIONS)]
        self._threads += [threading.Thread(target=self._tell, daemon=True)] if self.tells else []
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(TIMEOUT + 1)

    def answered(self, who: str) -> int:
        with self._lock:
            return sum(count for (_, each), count in self.seen.items() if each == who)

    @property
    def total(self) -> int:
        with self._lock:
            return self.seen.total()

    def _send(self, number: int) -> None:
        place = urlsplit(self.ingress)
        connection = http.client.HTTPConnection(place.hostname or "", place.port or 80, timeout=TIMEOUT)
        due = time.monotonic() + number / self.rate
        step = number
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            due = max(due + CONNECTIONS / self.rate, time.monotonic() - 1.0)
            question = self.questions[step % len(self.questions)]
            step += CONNECTIONS
            who = self._ask(connection, question)
            with self._lock:
                self.seen[int(time.time()), who] += 1

    def _ask(self, connection: http.client.HTTPConnection, question: Question) -> str:
        headers = {"Host": self.host, "Content-Type": "application/json"}
        try:
            connection.request("POST", PATH, question.body, headers)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return LOST
        if answer.status != 200:
            return ERROR
        found = json.loads(body)
        if self.tells:
            with self._lock:
                self._truths.append({"id": found["ids"][0], "truth": question.truth})
        return question.who(found["predictions"][0])

    def _tell(self) -> None:
        while not self._stopping.wait(1):
            with self._lock:
                batch, self._truths = self._truths, []
            with suppress(requests.RequestException):  # what is lost stays unknown
                told = {"json": {"labels": batch}, "headers": {"Host": self.host}}
                requests.post(f"{self.ingress}{FEEDBACK}", **told, timeout=TIMEOUT)
