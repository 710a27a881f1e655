"""A stand-in for the gate's service in front of its page: what a test puts into `rollouts` is what it tells."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from modelpack.gate.report import ASSETS_DIR, page_html
from tests.fakes import rollouts

TYPES = {".css": "text/css", ".js": "text/javascript"}


class Gate(ThreadingHTTPServer):
    """Answers what the page asks, from `rollouts`; `down` makes it refuse."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.rollouts: dict[str, rollouts.Rollout] = dict(rollouts.SAMPLES)
        self.down = False
        self.streams = True  # whether it gives server-sent events to who wants them
        self.streamed: list[str] = []
        self.asked: list[str] = []
        self.told: list[tuple[str, Any]] = []
        self.over = False
        self.silent = False  # a stream that begins and says nothing
        self.token = ""
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Gate

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        status, kind, body = 200, "text/html", b""
        match path.strip("/").split("/"):
            case [""]:
                body = page_html(None)
            case ["rollouts", name]:
                body = page_html(name)
            case ["assets", name]:
                kind, body = TYPES[Path(name).suffix], (ASSETS_DIR / name).read_bytes()
            case ["api", "v1", "rollouts", *name]:
                wanted = dict(parse_qsl(urlsplit(self.path).query))
                found = self._told(name, wanted)
                if found and self.server.streams and not self.server.down and "event-stream" in self.headers["accept"]:
                    self.server.streamed.append(path)
                    self._stream(name, wanted)
                    return
                status, kind, body = (200 if found else 404), "application/json", json.dumps(found).encode()
        self.send_response(503 if self.server.down and kind == "application/json" else status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _told(self, name: list[str], wanted: dict[str, str]) -> Any:
        if name:
            return self.server.rollouts.get(name[0])
        return rollouts.page([*self.server.rollouts.values()], **{**wanted, "limit": int(wanted["limit"])})

    def _stream(self, name: list[str], wanted: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.end_headers()
        sent = None
        with suppress(ConnectionError):
            while not self.server.down and not self.server.over:
                if (found := self._told(name, wanted)) != sent and not self.server.silent:
                    self.wfile.write(b"data: " + json.dumps(found).encode() + b"\n\n")
                    sent = found
                time.sleep(0.05)

    def do_POST(self) -> None:
        value = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.token and self.headers["authorization"] != f"Bearer {self.server.token}":
            self.send_error(401)
            return
        self.server.told.append((unquote(self.path), value))
        status, body = (409, b"it is not held") if value["note"] == "late" else (200, b"{}")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def standing_in() -> Iterator[Gate]:
    server = Gate()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.over = True
        server.shutdown()
        thread.join()
        server.server_close()


def text(page: Any, selector: str) -> str:
    return str(page.inner_text(selector)).strip()


def state(name: str, **changes: Any) -> rollouts.Rollout:
    return {**rollouts.SAMPLES[name], **changes}
