"""Serve the digit classifier: KServe's v1 predict protocol, readiness, Prometheus metrics.

A request is `{"instances": [{"pixels": [64 numbers from 0 to 16]}]}`. Beside the predictions the answer has the
`scores`, and which of them the model is `sure` of: those that reach their digit's threshold of thresholds.json.
Each prediction has an id, and is told to the gate at `$MODEL_FEEDBACK` by it, if there is one.
"""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import sys
import threading
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest

PIXELS = 64
DARKEST = 16  # of a pixel
LARGEST = 1 << 20  # bytes of a request
WAITING = 10_000  # predictions that wait to be told; more are counted and dropped

REQUESTS = Counter("digits_requests", "Predict requests by status code.", ["code"])
SECONDS = Histogram("digits_request_seconds", "Time to answer.", buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1))
PREDICTIONS = Histogram("digits_prediction", "Predicted digits.", buckets=range(10))
UNTOLD = Counter("digits_untold_predictions", "Predictions that the gate was not told of.")


class BadRequest(Exception):
    """The request is wrong; the text says how."""


class Model:
    """Multinomial logistic regression, and a threshold for each digit."""

    def __init__(self, document: dict[str, Any], thresholds: dict[str, Any]) -> None:
        self.classes: list[int] = document["classes"]
        self.intercepts: list[float] = document["intercepts"]
        self.weights: list[list[float]] = document["weights"]
        self.thresholds: dict[str, float | None] = {name: each["score"] for name, each in thresholds["classes"].items()}

    def predict(self, pixels: list[float]) -> tuple[int, float]:
        """The likeliest digit and its probability."""
        shares = [value / DARKEST for value in pixels]
        sums = [
            intercept + sum(weight * share for weight, share in zip(row, shares, strict=True))
            for intercept, row in zip(self.intercepts, self.weights, strict=True)
        ]
        best = max(sums)
        return self.classes[sums.index(best)], 1 / sum(math.exp(value - best) for value in sums)

    def sure(self, digit: int, score: float) -> bool:
        threshold = self.thresholds.get(str(digit))
        return threshold is not None and score >= threshold


def load(folder: Path) -> Model:
    return Model(*(json.loads((folder / f"{name}.json").read_bytes()) for name in ("model", "thresholds")))


def read_instances(body: bytes) -> list[list[float]]:
    """The images of a predict request; raises BadRequest."""
    try:
        document = json.loads(body)
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    instances = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(instances, list) or not instances:
        raise BadRequest('the body is not {"instances": [...]} with at least one image')
    images = [each.get("pixels") if isinstance(each, dict) else None for each in instances]
    for number, pixels in enumerate(images):
        if not isinstance(pixels, list) or len(pixels) != PIXELS or not all(map(_is_pixel, pixels)):
            raise BadRequest(f"instances[{number}].pixels is not {PIXELS} numbers from 0 to {DARKEST}")
    return images


def _is_pixel(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= DARKEST


def version_of(folder: Path) -> str:
    """What the copy into this volume says it is, "" where nothing was copied."""
    try:
        return str(json.loads((folder / ".modelpack.json").read_bytes())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


class Gate:
    """Tells the gate what was predicted, beside the requests: one that is away costs them nothing."""

    def __init__(self, address: str, version: str) -> None:
        self.url = f"{address.rstrip('/')}/api/v1/models/digits/predictions" if address else ""
        self.version = version
        self.waiting: queue.Queue[dict[str, Any]] = queue.Queue(WAITING)
        if address:
            threading.Thread(target=self.tell, daemon=True).start()

    def predicted(self, digits: list[int]) -> list[str]:
        """Give each prediction an id, and note it for the gate."""
        ids = [uuid.uuid4().hex for _ in digits]
        for number, digit in zip(ids, digits, strict=True) if self.url else ():
            try:
                self.waiting.put_nowait({"id": number, "prediction": digit, "version": self.version})
            except queue.Full:
                UNTOLD.inc()
        return ids

    def tell(self) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the gate is a neighbour
        while True:
            batch = [self.waiting.get()]
            while len(batch) < 500 and not self.waiting.empty():
                batch.append(self.waiting.get())
            body = json.dumps({"predictions": batch}).encode()
            try:
                opener.open(urllib.request.Request(self.url, body, {"Content-Type": "application/json"}), timeout=3)
            except (OSError, ValueError):
                UNTOLD.inc(len(batch))


class Server(ThreadingHTTPServer):
    daemon_threads = False  # closing waits for the requests in flight

    def __init__(self, address: tuple[str, int], folder: Path) -> None:
        self.model = load(folder)
        self.gate = Gate(os.environ.get("MODEL_FEEDBACK", ""), version_of(folder))
        super().__init__(address, Handler)


class Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = 30  # seconds without a byte: a stop waits no longer

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self.send(200, CONTENT_TYPE_LATEST, generate_latest())
        elif self.path in ("/healthz", "/v1/models/digits"):
            self.answer(200, {"name": "digits", "ready": True})
        else:
            self.answer(404, {"error": f"{self.path} is not served here"})

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self.path != "/v1/models/digits:predict":
            self.answer(404, {"error": f"{self.path} is not served here"})
        elif not length.isdecimal() or int(length) > LARGEST:
            self.answer(413, {"error": f"send Content-Length, at most {LARGEST} bytes"})
        else:
            with SECONDS.time():
                code, document = self.predict(self.rfile.read(int(length)))
            REQUESTS.labels(code).inc()
            self.answer(code, document)

    def predict(self, body: bytes) -> tuple[int, dict[str, Any]]:
        model, gate = self.server.model, self.server.gate
        try:
            answers = [model.predict(pixels) for pixels in read_instances(body)]
        except BadRequest as error:
            return 400, {"error": str(error)}
        except Exception as error:  # whatever the model trips over is the model's fault, and the server lives on
            return 500, {"error": f"the model failed: {error!r}"}
        digits = [digit for digit, _ in answers]
        for digit in digits:
            PREDICTIONS.observe(digit)
        return 200, {
            "predictions": digits,
            "scores": [round(score, 6) for _, score in answers],
            "sure": [model.sure(digit, score) for digit, score in answers],
            "ids": gate.predicted(digits),
            "version": gate.version,
        }

    def answer(self, code: int, document: dict[str, Any]) -> None:
        self.send(code, "application/json", json.dumps(document).encode())

    def send(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing a request: the metrics count them."""


def main() -> None:
    folder = Path(os.environ.get("MODEL_DIR", "/mnt/models"))
    host, port = os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "8080"))
    try:
        server = Server((host, port), folder)
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"cannot serve {folder} on {host}:{port}: {error!r}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"serving {folder} on {host}:{server.server_address[1]}", flush=True)
    with server:
        server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
