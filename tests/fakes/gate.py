"""A gate that answers over HTTP from a list of rollouts, for those who poll it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class FakeGate:
    """`rollouts` and `signals` are what the API tells, `lineage` what was put there by digest; `status` other than 200
    is answered to everything."""

    url: str = ""
    rollouts: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    signals: list[dict[str, Any]] = field(default_factory=list)
    lineage: dict[str, Any] = field(default_factory=dict)

    def add(self, **fields: Any) -> dict[str, Any]:
        """One more rollout, failed unless the fields say otherwise."""
        number = len(self.rollouts) + 1
        rollout = {
            "id": f"r{number}",
            "namespace": "default",
            "name": "mpg",
            "model": "mpg",
            "started": float(number),
            "phase": "Failed",
            "state": "failed",
            "verdict": "reject",
            "reason": "errors rose to 20 %",
            "settled": False,
            "settled_note": "",
            **fields,
        }
        self.rollouts.append(rollout)
        return rollout

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if self.status != 200:
            return self.status, {"detail": "the gate is not well"}
        if method == "GET" and path == "/api/v1/rollouts":
            found = [each for each in self.rollouts if each["state"] in query.get("state", [each["state"]])]
            found = [each for each in found if each["model"] in query.get("model", [each["model"]])]
            wanted = query.get("settled", [None])[0]
            return 200, {"rollouts": [each for each in found if wanted in (None, str(each["settled"]).lower())][::-1]}
        if method == "GET" and path.endswith("/signals"):
            return 200, {"model": path.split("/")[-2], "signals": self.signals}
        if method == "PUT" and path.startswith("/api/v1/lineage/"):
            self.lineage[path.rpartition("/")[2]] = body
            return 200, {}
        for each in self.rollouts:
            if method == "GET" and path == f"/api/v1/rollouts/{each['id']}":
                return 200, each
            if method == "POST" and path == f"/api/v1/rollouts/{each['id']}/settled":
                each |= {"settled": True, "settled_note": body["note"]}
                return 200, each
        return 404, {"detail": "no such rollout"}


@contextmanager
def fake_gate() -> Iterator[FakeGate]:
    """Serve a gate on loopback."""
    gate = FakeGate()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET")

        def do_PUT(self) -> None:
            self._answer("PUT")

        def do_POST(self) -> None:
            self._answer("POST")

        def _answer(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            url = urlsplit(self.path)
            status, value = gate.answer(method, url.path, parse_qs(url.query), json.loads(body or b"null"))
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    gate.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield gate
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
