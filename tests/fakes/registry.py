"""A registry in memory that misbehaves on demand, on a real socket of the loopback.

It speaks enough of the distribution specification to push and pull. Each `Fault` says which requests it spoils and how;
every request is recorded in `seen`. `login` makes it ask for one, by HTTP basic or with tokens from its own `/token`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import ssl
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

USER, PASSWORD = "alice", "open-sesame"
_BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@dataclass
class Fault:
    """Spoils requests of `method` whose path has a match of `path`, `times` of them after the first `skip`.

    With a status it answers that at once, without reading the request's body. Without one it does the right thing, but
    with these headers, this body, or only the first `cut` bytes of the body (of the request's, or of a GET's answer).
    """

    method: str
    path: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut: int | None = None
    times: int = 1 << 30
    skip: int = 0

    def takes(self, method: str, path: str) -> bool:
        if method != self.method or not re.search(self.path, path) or self.times <= 0:
            return False
        self.skip -= 1
        if self.skip >= 0:
            return False
        self.times -= 1
        return True


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    authorization: str
    length: int


@dataclass
class FakeRegistry:
    address: str = ""
    scheme: str = "http"
    login: Literal["", "basic", "bearer"] = ""
    faults: list[Fault] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    sessions: dict[str, bytes] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    tags: list[str] | None = None
    page: int = 1000
    lock: Any = field(default_factory=Lock)

    def methods(self, path: str = "") -> list[str]:
        """The methods of the requests whose path has a match."""
        return [each.method for each in self.seen if re.search(path, each.path)]

    def put(self, data: bytes) -> str:
        digest = _digest(data)
        self.blobs[digest] = data
        return digest


@contextmanager
def serving(certificate: str = "", key: str = "") -> Iterator[FakeRegistry]:
    """A fresh registry on a free port of 127.0.0.1, over TLS if there is a certificate file."""
    fake = FakeRegistry()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": fake}))
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        fake.scheme = "https"
        server.socket = context.wrap_socket(server.socket, server_side=True)
    fake.address = f"127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    fake: FakeRegistry
    protocol_version = "HTTP/1.1"
    fault: Fault | None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._handle
        raise AttributeError(name)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def _handle(self) -> None:
        fake, length = self.fake, int(self.headers.get("Content-Length", 0))
        authorization = self.headers.get("Authorization", "")
        with fake.lock:
            fake.seen.append(Seen(self.command, self.path, authorization, length))
            self.fault = next((each for each in fake.faults if each.takes(self.command, self.path)), None)
        if self.fault and self.fault.status:
            self.close_connection = True
            return self._answer(self.fault.status, self.fault.body or b"")
        if self.fault and self.fault.cut is not None and length:
            self.rfile.read(self.fault.cut)
            return self._reset()
        if urlsplit(self.path).path == "/token":
            return self._token(authorization)
        if self._unknown(authorization):
            self.close_connection = True
            return self._answer(401, _error("UNAUTHORIZED", "authentication required"), self._challenge())
        return self._serve(self.rfile.read(length))

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _serve(self, body: bytes) -> None:
        fake, url = self.fake, urlsplit(self.path)
        _, _, rest = url.path.removeprefix("/v2/").partition("/blobs/")
        if rest == "uploads/":
            session = f"s{len(fake.seen)}"
            fake.sessions[session] = b""
            return self._answer(202, b"", {"Location": f"{url.path}{session}?_state=a%2Fb"})
        if rest.startswith("uploads/"):
            return self._upload(rest.removeprefix("uploads/"), body, parse_qs(url.query))
        if rest:
            return self._content(fake.blobs.get(rest), "application/octet-stream", rest)
        if url.path.endswith("/tags/list"):
            return self._tags(parse_qs(url.query).get("last", [""])[0])
        _, _, locator = url.path.removeprefix("/v2/").partition("/manifests/")
        if self.command == "PUT":
            for key in (locator, _digest(body)):
                fake.manifests[key] = (self.headers["Content-Type"], body)
            return self._answer(201, b"", {"Docker-Content-Digest": _digest(body)})
        kind, data = fake.manifests.get(locator, ("", None))
        return self._content(data, kind, _digest(data or b""))

    def _tags(self, last: str) -> None:
        tags = self.fake.tags
        start = tags.index(last) + 1 if tags and last else 0
        shown = tags and tags[start : start + self.fake.page]
        more = tags and len(tags) > start + self.fake.page
        link = {"Link": f'<{urlsplit(self.path).path}?last={shown[-1]}>; rel="next"'} if shown and more else {}
        self._answer(200, json.dumps({"tags": shown}).encode(), {"Content-Type": "application/json", **link})

    def _upload(self, session: str, body: bytes, query: Mapping[str, list[str]]) -> None:
        fake = self.fake
        if session not in fake.sessions or query.get("_state") != ["a/b"]:
            return self._answer(404, _error("BLOB_UPLOAD_UNKNOWN", "upload unknown"))
        if self.command == "DELETE":
            del fake.sessions[session]
            return self._answer(204, b"")
        fake.sessions[session] += body
        if self.command == "PATCH":
            return self._answer(202, b"", {"Location": f"{fake.scheme}://{fake.address}{self.path}"})
        data, digest = fake.sessions.pop(session), query["digest"][0]
        if _digest(data) != digest:
            return self._answer(400, _error("DIGEST_INVALID", "provided digest did not match uploaded content"))
        fake.blobs[digest] = data
        return self._answer(201, b"", {"Docker-Content-Digest": digest})

    def _content(self, data: bytes | None, kind: str, digest: str) -> None:
        if data is None:
            return self._answer(404, _error("UNKNOWN", "not here"))
        return self._answer(200, data, {"Content-Type": kind, "Docker-Content-Digest": digest})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        fault = self.fault
        body = fault.body if fault and fault.body is not None else body
        self.send_response(status)
        for key, value in {**(headers or {}), **(fault.headers if fault else {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: fault.cut] if fault else body)
            self.close_connection |= bool(fault and fault.cut is not None)

    def _unknown(self, authorization: str) -> bool:
        if self.fake.login == "basic":
            return authorization != _BASIC
        need = "pull" if self.command in ("GET", "HEAD") else "pull,push"
        return bool(self.fake.login) and need not in self.fake.tokens.get(authorization, "")

    def _challenge(self) -> Mapping[str, str]:
        if self.fake.login == "basic":
            return {"WWW-Authenticate": 'Basic realm="tests"'}
        return {"WWW-Authenticate": f'Bearer realm="http://{self.fake.address}/token",service="tests",scope="ignored"'}

    def _token(self, authorization: str) -> None:
        if authorization != _BASIC:
            return self._answer(401, b"")
        token = hashlib.sha256(f"{len(self.fake.seen)}".encode()).hexdigest()
        self.fake.tokens[f"Bearer {token}"] = parse_qs(urlsplit(self.path).query)["scope"][0]
        return self._answer(200, json.dumps({"token": token}).encode())


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _error(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()
