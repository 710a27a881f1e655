"""A server of a forge's API on loopback that holds every request and answer against that API's description.

The descriptions (schemas/*.json) name each operation's page in the forge's documentation. A request or answer that is
not as described is answered 599 and kept in `complaints`, which `serve` asserts to be empty at its end.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).parent / "schemas"


@dataclass(frozen=True)
class Request:
    """One request: `operation` as the description calls it, `names` what stood for its {names}, `user` whose token."""

    operation: str
    names: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    user: str
    origin: str


@dataclass(frozen=True)
class Reply:
    status: int
    data: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Described(Protocol):
    """What is served: `name` of its description, `prefix` of its paths, whose tokens, and the answers."""

    name: str
    prefix: str
    tokens: Mapping[str, str]

    def answer(self, request: Request) -> Reply: ...


def paged(request: Request, items: list[Any], path: str) -> Reply:
    """One page of a list, with a Link to the next."""
    size, page = int(request.query.get("per_page", 30)), int(request.query.get("page", 1))
    shown, rest = items[(page - 1) * size : page * size], items[page * size :]
    following = urlencode({**request.query, "page": page + 1})
    link = (
        {"Link": f'<{request.origin}{path}?{following}>; rel="next", <{request.origin}>; rel="first"'} if rest else {}
    )
    return Reply(200, shown, link)


@contextmanager
def serve(forge: Described) -> Iterator[str]:
    """Gives the server's origin."""
    description = json.loads((SCHEMAS / f"{forge.name}.json").read_text())
    complaints: list[str] = []

    class Handler(_Handler):
        served, described, found = forge, description, complaints

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
    assert not complaints, "\n".join(complaints)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Described
    described: Mapping[str, Any]
    found: list[str]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _serve(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        asked = self._operation(url.path)
        if asked is None:
            return self._reply(Reply(404, {"message": "Not Found"}))
        operation, names = asked
        described = self.described["operations"][operation]
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.served.tokens:
            return self._reply(Reply(401, {"message": "Bad credentials"}))
        body = json.loads(text) if text else None
        query = dict(parse_qsl(url.query))
        rule = {"type": "object", "properties": described.get("query", {}), "additionalProperties": False}
        good = self._holds(f"{operation} query", rule, query)
        good &= "body" not in described or self._holds(f"{operation} body", described["body"], body)
        if not good:
            return self._reply(Reply(599))
        origin = f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]
        reply = self.served.answer(Request(operation, names, query, body, self.served.tokens[token], origin))
        rule = described["answers"].get(str(reply.status), False)
        if reply.status < 500 and not self._holds(f"{operation} {reply.status}", rule, reply.data):
            reply = Reply(599)
        return self._reply(reply)

    def _operation(self, path: str) -> tuple[str, dict[str, str]] | None:
        for operation in self.described["operations"]:
            method, template = operation.split(" ")
            prefix = "/api" if template == "/graphql" else self.served.prefix
            pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(prefix + template))
            found = re.fullmatch(pattern, path)
            if method == self.command and found:
                return operation, {key: unquote(value) for key, value in found.groupdict().items()}
        return None

    def _holds(self, what: str, rule: Any, value: Any) -> bool:
        whole = {"$defs": self.described["$defs"], "allOf": [rule]}
        wrong = [
            f"{what}: {each.json_path} {each.message[:300]}" for each in Draft202012Validator(whole).iter_errors(value)
        ]
        self.found.extend(wrong)
        return not wrong

    def _reply(self, reply: Reply) -> None:
        data = b"" if reply.data is None else json.dumps(reply.data).encode()
        self.send_response(reply.status)
        for key, value in {
            "Content-Type": "application/json",
            **reply.headers,
            "Content-Length": str(len(data)),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815
