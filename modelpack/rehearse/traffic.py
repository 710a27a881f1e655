"""Requests through the proxy, at a steady rate, for as long as a rehearsal lasts.

Recorded requests are JSON lines, `{"method": "POST", "path": "/v1/models/mpg:predict", "body": {…}, "headers": {…}}`,
sent in order and over again; without a recording they are made from the golden set. One whose `expected` answer is
known gets an id of its own (`x-request-id`), under which the truth is told later.
"""

from __future__ import annotations

import http.client
import json
import math
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import yaml

from modelpack.errors import InputError

_CONNECTIONS = 8
_OK = 200
_LONGEST = 128  # characters of a label
_TIMEOUT = 10.0  # seconds for one request
_CATCH_UP = 1.0  # seconds of requests that are sent late rather than never


@dataclass(frozen=True)
class Request:
    """One request, ready to be sent."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    expected: Any = None


@dataclass(frozen=True)
class Summary:
    """What became of the traffic. `by_status` counts answers; `unanswered` requests got none; `seconds` it lasted."""

    sent: int
    unanswered: int
    by_status: Mapping[int, int]
    seconds: float

    @property
    def failed(self) -> int:
        """Requests without an answer or with a 5xx."""
        return self.unanswered + sum(count for status, count in self.by_status.items() if status >= 500)

    def to_json(self) -> dict[str, Any]:
        return {
            "sent": self.sent,
            "failed": self.failed,
            "unanswered": self.unanswered,
            "byStatus": {str(status): count for status, count in sorted(self.by_status.items())},
            "seconds": round(self.seconds, 2),
        }


def read_traffic(data: bytes, name: str) -> tuple[Request, ...]:
    """Parse recorded requests; raises InputError with the line of what is none."""
    requests = []
    for number, line in enumerate(data.splitlines(), 1):
        if line.strip():
            requests.append(_request(_object(line, f"{name}:{number}"), f"{name}:{number}"))
    if not requests:
        raise InputError(name, "holds no request", "write one JSON object a line")
    return tuple(requests)


def golden_traffic(gate: bytes, golden: bytes, name: str) -> tuple[Request, ...]:
    """The golden set's requests, sent to where gate.yaml's golden check sends them; none if there is no such check."""
    path = next((str(each["path"]) for each in checks_of(gate, "golden") if "path" in each), "")
    if not path:
        return ()
    lines = ((f"{name}:{number}", line) for number, line in enumerate(golden.splitlines(), 1) if line.strip())
    return tuple(_golden_request(path, _object(line, where), where) for where, line in lines)


def checks_of(gate: bytes, kind: str) -> list[dict[str, Any]]:
    """The checks of a type as gate.yaml has them; none where it is wrong, which is the gate's to say."""
    try:
        return [each for each in yaml.safe_load(gate)["checks"] if isinstance(each, dict) and each.get("type") == kind]
    except (yaml.YAMLError, KeyError, TypeError):
        return []


class Traffic:
    """Sends requests at `rate` per second while used as a context; a slow server gets fewer, never a burst."""

    def __init__(
        self, address: str, requests: Sequence[Request], rate: float, learn: Callable[[str, Any], None] | None = None
    ) -> None:
        self._requests = requests
        self._learn = learn  # is told id and truth of each answered request whose truth is known
        self._rate = rate
        self._host, self._port = urlsplit(address).hostname or "", urlsplit(address).port
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._next = 0
        self._started = self._due = time.monotonic()
        self._by_status: Counter[int] = Counter()
        self._unanswered = 0
        count = _CONNECTIONS if requests and rate > 0 else 0
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(count)]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more; returns when the requests under way are answered."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(_TIMEOUT)

    def summary(self) -> Summary:
        with self._lock:
            sent = self._unanswered + self._by_status.total()
            return Summary(sent, self._unanswered, dict(self._by_status), time.monotonic() - self._started)

    def _take(self) -> tuple[Request, float]:
        """The next request and when it is due."""
        with self._lock:
            request = self._requests[self._next % len(self._requests)]
            self._next += 1
            self._due = max(self._due + 1 / self._rate, time.monotonic() - _CATCH_UP)
            return request, self._due

    def _send(self) -> None:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT)
        while not self._stopping.is_set():
            request, due = self._take()
            if self._stopping.wait(max(0.0, due - time.monotonic())):
                break
            status, headers = 0, dict(request.headers)
            number = uuid.uuid4().hex if self._learn and request.expected is not None else ""
            if number:
                headers["x-request-id"] = number
            try:
                connection.request(request.method, request.path, request.body or None, headers)
                response = connection.getresponse()
                response.read()
                status = response.status
            except (OSError, http.client.HTTPException):
                connection.close()
            if self._learn and number and status == _OK:
                self._learn(number, request.expected)
            with self._lock:
                if status:
                    self._by_status[status] += 1
                else:
                    self._unanswered += 1
        connection.close()


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise InputError(where, "is not JSON") from error
    if not isinstance(value, dict):
        raise InputError(where, "is not a JSON object")
    return value


def _request(value: dict[str, Any], where: str) -> Request:
    unknown = set(value) - {"method", "path", "body", "headers", "expected"}
    if unknown:
        raise InputError(
            where, f"{min(unknown)!r} is not a known key", "known here: method, path, body, headers, expected"
        )
    expected = value.get("expected")
    if expected is not None and not _is_truth(expected):
        raise InputError(where, f"expected is no number, true or false, nor a text of at most {_LONGEST} characters")
    path, headers = value.get("path"), value.get("headers", {})
    if not isinstance(path, str) or not path.startswith("/"):
        raise InputError(where, "needs a path that starts with /")
    if not isinstance(headers, dict):
        raise InputError(where, "headers is not an object")
    body = _body(value.get("body"))
    kind = {"Content-Type": "application/json"} if body else {}
    method = str(value.get("method", "POST" if body else "GET")).upper()
    headers = {**kind, **{str(key): str(text) for key, text in headers.items()}}
    return Request(method, path, body, headers, expected)


def _golden_request(path: str, example: dict[str, Any], where: str) -> Request:
    expected = example.get("expected")  # of a metric of one's own it may be anything
    return replace(
        _request({"path": path, "body": example.get("request")}, where),
        expected=expected if _is_truth(expected) else None,
    )


def _is_truth(value: Any) -> bool:
    """Whether the gate takes it as a label."""
    if isinstance(value, str):
        return len(value) <= _LONGEST and value.isprintable()
    return isinstance(value, int | float) and math.isfinite(value)


def _body(value: Any) -> bytes:
    """A body as it was recorded: a text as it is, anything else as JSON."""
    if value is None:
        return b""
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()
