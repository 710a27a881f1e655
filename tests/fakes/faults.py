"""An HTTP proxy in front of a server, with the faults that a test lays on it: what a forge on a bad day does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import requests


@dataclass(frozen=True)
class Fault:
    """Meets the next request of `method` whose path ends with `path`; `times` of them.

    With `after`, the server gets the request and does it, and only its answer is lost. `status` 0 hangs up.
    """

    method: str
    path: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    times: int = 1
    after: bool = False


@dataclass
class Faults:
    """`url` is the proxy's; `seen` are all requests that came, as "METHOD /path"."""

    url: str = ""
    seen: list[str] = field(default_factory=list)
    _waiting: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, *faults: Fault) -> None:
        self._waiting += [fault for fault in faults for _ in range(fault.times)]

    def clear(self) -> None:
        self._waiting.clear()
        self.seen.clear()

    def take(self, method: str, path: str) -> Fault | None:
        with self._lock:
            self.seen.append(f"{method} {path}")
            found = next((each for each in self._waiting if each.method == method and path.endswith(each.path)), None)
            if found:
                self._waiting.remove(found)
            return found


@contextmanager
def faults(origin: str, answer: Callable[[str, str], str] | None = None) -> Iterator[Faults]:
    """A proxy in front of `origin`, on loopback. `answer` may rewrite a body, given itself and the Authorization."""
    laid = Faults()

    class Handler(_Handler):
        state, target = laid, origin

    Handler.rewrite = staticmethod(answer or (lambda text, _: text))  # type: ignore[assignment]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    laid.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield laid
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Faults
    target: str
    rewrite: Callable[[str, str], str]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.state.take(self.command, urlsplit(self.path).path)
        if fault and not fault.after:
            return self._fail(fault)
        kept = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "accept-encoding")}
        answer = requests.request(
            self.command, self.target + self.path, data=body, headers=kept, timeout=60, allow_redirects=False
        )
        if fault:
            return self._fail(fault)
        text = self.rewrite(answer.text, self.headers.get("Authorization", ""))
        known = ("Content-Type", "Link", "Location", "WWW-Authenticate")
        return self._answer(
            answer.status_code, {key: answer.headers[key] for key in known if key in answer.headers}, text
        )

    def _fail(self, fault: Fault) -> None:
        if not fault.status:
            self.close_connection = True
            return
        self._answer(fault.status, fault.headers, fault.body)

    def _answer(self, status: int, headers: Mapping[str, str], text: str) -> None:
        data = text.encode()
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815
