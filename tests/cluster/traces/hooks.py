"""Webhooks that answer from a table, over real HTTP on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.cluster.traces.lines import call_line
from tests.cluster.traces.specs import CLOSED, HOOKS, Spec
from tests.integration.servers.process import free_port

_LATE = 3.5  # seconds; webhooks that are to time out give up after 3


@contextmanager
def scripted_hooks(
    specs: Mapping[str, Spec], heard: Callable[[str, str], None], speed: float = 1
) -> Iterator[dict[str, str]]:
    """Serves the webhooks of several specs by name; `heard` gets spec and line before the answer is sent.

    `speed` divides how late an answer is that is to be too late. Gives what to replace in Canaries: addresses by what
    stands for them.
    """
    answers = {
        f"/{spec.name}/{kind}": said.split()
        for spec in specs.values()
        for kind, said in {"event": "200", **spec.answers}.items()
    }
    lock, left = threading.Lock(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                script = answers[self.path]
                answer = script.pop(0) if len(script) > 1 else script[0]
            heard(self.path.split("/")[1], call_line(self.path, body, answer))
            if answer == "timeout":
                left.wait(_LATE / speed)
            elif answer != "hangup":
                self.send_response(int(answer))
                self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield {HOOKS: f"http://127.0.0.1:{server.server_port}", CLOSED: f"http://127.0.0.1:{free_port()}"}
    finally:
        left.set()
        server.shutdown()
        server.server_close()


def addressed(canary: str, addresses: Mapping[str, str]) -> str:
    """A Canary's text with the addresses that `scripted_hooks` gives."""
    for name, address in addresses.items():
        canary = canary.replace(f"{name}/", f"{address}/")
    return canary
