"""Serve a fuel economy model: KServe's v1 predict protocol, readiness, Prometheus metrics.

Reads `$MODEL_DIR/model.json` once, when it starts (in a Pod: after the init container that copied it), and listens on
`$HOST:$PORT`. A request that is wrong is answered with 400 and a sentence; a model that cannot answer, with 500.
Each prediction has an id: the request's (`x-request-id`, which a mirrored request has too), `ID-2` for a second car.
Where `$MODEL_FEEDBACK` is the gate's address, predictions are told to it with the car's origin, and what later turns
out to be true can be posted here: `{"labels": [{"id": …, "truth": …}]}` to `/v1/models/mpg:feedback`. To the gate the
model is `$MODEL_NAME`, mpg if that is not set.
The standard library's HTTP server is enough here: it starts at once, and keeps up with far more than a canary needs.
"""

from __future__ import annotations

import json
import math
import os
import queue
import re
import signal
import socketserver
import statistics
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest

NAME = "mpg"
NUMBERS = (
    "cylinders",
    "displacement",
    "horsepower",
    "weight",
    "acceleration",
    "year",
)  # cubic inches, hp, lbs, s to 60 mph
ORIGINS = ("europe", "japan", "usa")
MAX_BODY = 1 << 20  # bytes
REQUEST_ID = re.compile(r"[A-Za-z0-9-]{8,100}")
DRAIN = 5.0  # seconds that requests in flight have after SIGTERM
BATCH = 250  # predictions told at once: the gate takes 64 KiB
WAITING = 10_000  # predictions that wait to be told: what is more is counted and dropped
MOST_LABELS = 500

REQUESTS = Counter(f"{NAME}_requests", "Predict requests by status code.", ["code"])
SECONDS = Histogram(
    f"{NAME}_request_seconds", "Time to answer a predict request.", buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1)
)
UNTOLD = Counter(f"{NAME}_untold_predictions", "Predictions that the gate was not told of.")
PREDICTIONS = Histogram(f"{NAME}_prediction", "Predicted miles per gallon.", buckets=range(5, 55, 5))


class Model:
    """A sum of products of standardised columns: what train.py exports, whatever it was fitted with.

    Columns are the numbers in the document's order, then one that is 1 or 0 for each origin the model has seen. For an
    origin with a committee it is the median of as many sums, each with an intercept and coefficients of its own.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.numbers: list[str] = document["numbers"]
        self.origins = {origin: len(self.numbers) + place for place, origin in enumerate(document["origins"])}
        self.means: list[float] = document["means"]
        self.scales: list[float] = document["scales"]
        self.terms: list[list[int]] = [term["columns"] for term in document["terms"]]
        self.own: list[float] = [document["intercept"], *(term["coefficient"] for term in document["terms"])]
        self.committee: dict[str, list[list[float]]] = document.get("committee", {})

    def predict(self, car: dict[str, Any]) -> float:
        """Miles per gallon of one car."""
        columns = [float(car[name]) for name in self.numbers] + [0.0] * len(self.origins)
        columns[self.origins[car["origin"]]] = 1.0
        z = [(value - mean) / scale for value, mean, scale in zip(columns, self.means, self.scales, strict=True)]
        members = self.committee.get(car["origin"]) or [self.own]
        return statistics.median(
            intercept
            + sum(each * math.prod(z[i] for i in chosen) for each, chosen in zip(own, self.terms, strict=True))
            for intercept, *own in members
        )


def load(folder: Path) -> Model:
    return Model(json.loads((folder / "model.json").read_bytes()))


def version_of(folder: Path) -> str:
    """What the copy into this volume says it is, "" where nothing was copied."""
    try:
        return str(json.loads((folder / ".modelpack.json").read_bytes())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


class Feedback:
    """Tells the gate what was predicted, in batches and beside the requests: one that is away costs them nothing."""

    def __init__(self, gate: str, version: str, model: str = NAME) -> None:
        self.gate = gate.rstrip("/")
        self.model = model
        self.version = version
        self.waiting: queue.Queue[dict[str, Any]] = queue.Queue(WAITING)
        # no proxy: the gate is a neighbour
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        if gate:
            threading.Thread(target=self.tell_all, daemon=True).start()

    def predicted(self, request: str, cars: list[dict[str, Any]], predictions: list[float]) -> list[str]:
        """Give each prediction an id, and note it for the gate."""
        ids = [f"{request}-{number}" if number > 1 else request for number in range(1, len(cars) + 1)]
        for each, car, value in zip(ids, cars, predictions, strict=True) if self.gate else ():
            said = {"id": each, "prediction": value, "version": self.version, "segment": car["origin"]}
            try:
                self.waiting.put_nowait(said)
            except queue.Full:
                UNTOLD.inc()
        return ids

    def tell_all(self) -> None:
        while True:
            batch = [self.waiting.get()]
            time.sleep(0.5)
            while len(batch) < BATCH and not self.waiting.empty():
                batch.append(self.waiting.get())
            try:
                self.post("predictions", batch)
            except (OSError, ValueError):
                UNTOLD.inc(len(batch))

    def post(self, kind: str, found: list[Any]) -> int:
        """Post predictions or labels; gives the gate's status, raises OSError without an answer."""
        body = json.dumps({kind: found}).encode()
        request = urllib.request.Request(
            f"{self.gate}/api/v1/models/{self.model}/{kind}", body, {"Content-Type": "application/json"}
        )
        try:
            with self.opener.open(request, timeout=3) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


class BadRequest(Exception):
    """The request is wrong; the text says how."""


def read_instances(body: bytes) -> list[dict[str, Any]]:
    """The cars of a predict request; raises BadRequest."""
    try:
        document = json.loads(body)
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    instances = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(instances, list) or not instances:
        raise BadRequest('the body is not {"instances": [...]} with at least one car')
    for number, car in enumerate(instances):
        if not isinstance(car, dict):
            raise BadRequest(f"instances[{number}] is not an object")
        for name in NUMBERS:
            value = car.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise BadRequest(f"instances[{number}].{name} is not a number")
        if car.get("origin") not in ORIGINS:
            raise BadRequest(f"instances[{number}].origin is not one of {', '.join(ORIGINS)}")
    return instances


def request_id(given: str) -> str:
    """The request's id as the proxy gave it, or one of its own."""
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave in one packet: two small writes would wait for the peer's delayed ACK
    server: Server

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self.answer(200, {"ready": True})
        elif self.path == f"/v1/models/{NAME}":
            self.answer(200, {"name": NAME, "ready": True})
        elif self.path == "/metrics":
            self.send(200, CONTENT_TYPE_LATEST, generate_latest())
        else:
            self.answer(404, {"error": f"{self.path} is not served here"})

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            self.close_connection = True  # the body stays unread, so the connection cannot be used again
            self.answer(413 if length.isdecimal() else 411, {"error": f"send Content-Length, at most {MAX_BODY} bytes"})
            return
        body = self.rfile.read(int(length))
        if self.path == f"/v1/models/{NAME}:feedback":
            self.answer(*self.feedback(body))
            return
        if self.path != f"/v1/models/{NAME}:predict":
            self.answer(404, {"error": f"{self.path} is not served here"})
            return
        with self.server.busy, SECONDS.time():
            code, document = self.predict(body, request_id(self.headers.get("X-Request-Id", "")))
            REQUESTS.labels(code).inc()
            self.answer(code, document)

    def predict(self, body: bytes, request: str) -> tuple[int, dict[str, Any]]:
        try:
            cars = read_instances(body)
            predictions = [self.server.model.predict(car) for car in cars]
        except BadRequest as error:
            return 400, {"error": str(error)}
        except Exception as error:  # whatever the model trips over is the model's fault, and the server lives on
            print(f"the model failed: {error!r}", file=sys.stderr, flush=True)
            return 500, {"error": f"the model failed: {error!r}"}
        for value in predictions:
            PREDICTIONS.observe(value)
        feedback = self.server.feedback
        ids = feedback.predicted(request, cars, predictions)
        return 200, {"predictions": predictions, "ids": ids, "version": feedback.version}

    def feedback(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Pass on what was true; the gate says whether it is well formed."""
        try:
            found = json.loads(body)["labels"]
            if not isinstance(found, list) or not 0 < len(found) <= MOST_LABELS:
                raise ValueError
        except (ValueError, KeyError, TypeError):
            return 400, {"error": f'the body is not {{"labels": [{{"id": …, "truth": …}}]}} with 1 to {MOST_LABELS}'}
        if not self.server.feedback.gate:
            return 404, {"error": "no gate is known here (MODEL_FEEDBACK)"}
        try:
            status = self.server.feedback.post("labels", found)
        except OSError:
            return 503, {"error": "the gate does not answer, try again"}
        if status == 200:
            return 200, {"kept": len(found)}
        return (400, {"error": "the gate refused it"}) if status == 422 else (503, {"error": f"the gate said {status}"})

    def answer(self, code: int, document: dict[str, Any]) -> None:
        self.send(code, "application/json", json.dumps(document).encode())

    def send(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.server.draining or self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing a request: the metrics count them."""


class Busy:
    """Counts the requests in flight, so that a stop can wait for them."""

    def __init__(self) -> None:
        self.count = 0
        self.changed = threading.Condition()

    def __enter__(self) -> None:
        with self.changed:
            self.count += 1

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self.count -= 1
            self.changed.notify_all()

    def wait_until_idle(self, seconds: float) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.count == 0, seconds)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], model: Model, feedback: Feedback) -> None:
        self.model = model
        self.feedback = feedback
        self.busy = Busy()
        self.draining = False
        super().__init__(address, Handler)

    def stop(self) -> None:
        """Accept nothing new; `serve_forever` returns. Connections that are open are told to close."""
        self.draining = True
        threading.Thread(target=self.shutdown).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that went away is not news."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main() -> None:
    folder = Path(os.environ.get("MODEL_DIR", "/mnt/models"))
    host, port = os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "8080"))
    started = time.monotonic()
    try:
        model = load(folder)
        names = os.environ.get("MODEL_FEEDBACK", ""), version_of(folder), os.environ.get("MODEL_NAME", NAME)
        server = Server((host, port), model, Feedback(*names))
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"cannot serve {folder} on {host}:{port}: {error!r}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    print(f"serving {folder} on {host}:{server.server_address[1]} after {time.monotonic() - started:.2f} s", flush=True)
    with server:
        server.serve_forever(poll_interval=0.05)
    server.busy.wait_until_idle(DRAIN)


if __name__ == "__main__":
    main()
