"""A gate whose answers are a table: remembers what it was asked, and shows one rollout."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str, dict[str, Any]], bool]


@dataclass
class ScriptedGate:
    """`answer(hook, body)` says whether a webhook passes; `calls` are the hooks asked, with their bodies.

    `wrong` is what it finds wrong in a model's files, `token` what it asks for before it tells anything.
    """

    answer: Answer
    url: str = ""
    final: bool = False
    wrong: str = ""
    token: str = ""
    checks: tuple[dict[str, str], ...] = ()
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def asked(self, *without: str) -> list[str]:
        return [hook for hook, _ in self.calls if hook not in without]

    def rollout(self) -> dict[str, Any]:
        body = self.calls[-1][1] if self.calls else {}
        names = {key: body.get(key, "") for key in ("namespace", "name", "checksum", "phase")}
        said = {"final": self.final, "verdict": "hold", "reason": "scripted", "state": "active"}
        return {"id": "r1", **names, **said, "checks": self.checks}


@contextmanager
def scripted_gate(answer: Answer = lambda hook, body: hook != "rollback") -> Iterator[ScriptedGate]:
    """Serves until left. By default everything passes and no rollback is asked for."""
    gate = ScriptedGate(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.startswith("/api/"):  # labels
                return self._say(200, b"{}")
            hook = self.path.rpartition("/")[2]
            gate.calls.append((hook, body))
            return self._say(*((200, b"ok") if gate.answer(hook, body) else (403, b"not yet")))

        def do_GET(self) -> None:
            if gate.token and self.headers.get("Authorization") != f"Bearer {gate.token}":
                self._say(401, b"this needs a token")
            elif self.path.endswith("report.html"):
                self._say(200, b"<!doctype html><title>r1</title>")
            elif self.path.startswith("/api/v1/models/") and gate.wrong:
                self._say(422, gate.wrong.encode())
            elif self.path == "/api/v1/rollouts":
                self._say(200, json.dumps({"rollouts": [gate.rollout()]}).encode())
            else:
                self._say(200, json.dumps(gate.rollout()).encode())

        def _say(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    gate.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield gate
    finally:
        server.shutdown()
        server.server_close()
