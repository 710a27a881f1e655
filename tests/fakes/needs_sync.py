"""A needsSync service that answers what a test wants, as slowly or as badly as it wants."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class NeedsSync:
    """What is answered under each path; `asked` counts. `body` in place of a mapping: these very bytes."""

    url: str = ""
    answers: dict[str, Mapping[str, Any] | bytes] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    delay: dict[str, float] = field(default_factory=dict)
    drips: set[str] = field(default_factory=set)
    asked: Counter[str] = field(default_factory=Counter)
    at_once: int = 0
    most_at_once: int = 0

    def say(self, path: str, needed: bool, **parameters: str) -> str:
        """Gives the address to ask."""
        self.answers[path] = {"kind": "NeedsSync", "apiVersion": "v1alpha1", "metadata": {}, "needsSync": needed} | (
            {"parameters": parameters}
        )
        return self.url + path


@contextmanager
def needs_sync() -> Iterator[NeedsSync]:
    service, lock = NeedsSync(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with lock:
                service.asked[self.path] += 1
                service.at_once += 1
                service.most_at_once = max(service.most_at_once, service.at_once)
            try:
                time.sleep(service.delay.get(self.path, 0))
                answer = service.answers.get(self.path, {"errors": [{"message": "no such model"}]})
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(service.status.get(self.path, 200 if self.path in service.answers else 404))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                for each in range(len(body)) if self.path in service.drips else ():
                    self.wfile.write(body[each : each + 1])
                    self.wfile.flush()
                    time.sleep(0.5)
                if self.path not in service.drips:
                    self.wfile.write(body)
            finally:
                with lock:
                    service.at_once -= 1

        def handle(self) -> None:
            with suppress(OSError):
                super().handle()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
