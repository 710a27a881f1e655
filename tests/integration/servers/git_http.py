"""Git over HTTP: `git http-backend` as a CGI program behind a small threaded server in this process."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from tests.integration.servers.process import program

USER, PASSWORD = "alice", "open-sesame"
_BACKEND_SECONDS = 60


@dataclass(frozen=True)
class GitServer:
    """`url` is the address all repositories are below, `root` the folder with them; no user means no login is asked."""

    url: str
    root: Path
    user: str = ""
    password: str = ""

    def create(self, name: str) -> str:
        """A new bare repository with the branch main; gives its URL."""
        bare = self.root / f"{name}.git"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(bare)], check=True)
        subprocess.run(["git", "-C", str(bare), "config", "http.receivepack", "true"], check=True)
        return f"{self.url}/{name}.git"

    def with_login(self, url: str) -> str:
        """The URL with user and password in it."""
        return url.replace("http://", f"http://{self.user}:{self.password}@", 1)


@contextmanager
def git_http(
    root: Path, *, login: bool = False, address: str = "127.0.0.1", port: int = 0, every: bool = False
) -> Iterator[GitServer]:
    """Serve the bare repositories below `root`, for fetch and push; with `every`, one is made when it is asked for."""
    program("git", "apt-get install git")
    root.mkdir(parents=True, exist_ok=True)
    expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode() if login else ""

    class Handler(_Handler):
        folder, basic, creates = root, expected, every

    server = ThreadingHTTPServer((address, port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        who = (USER, PASSWORD) if login else ("", "")
        yield GitServer(f"http://{address}:{server.server_port}", root, *who)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path
    basic: str
    creates: bool

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _serve(self) -> None:
        body = self._body()
        if self.basic and self.headers.get("Authorization") != f"Basic {self.basic}":
            return self._answer(401, {"WWW-Authenticate": 'Basic realm="tests"'}, b"")
        url = urlsplit(self.path)
        asked = re.match(r"/+([\w.-]+)\.git/", url.path)
        if self.creates and asked and not (self.folder / f"{asked[1]}.git").exists():
            GitServer("", self.folder).create(asked[1])
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REQUEST_METHOD": self.command,
            "PATH_INFO": url.path,
            "QUERY_STRING": url.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_USER": USER if self.basic else "",
            "REMOTE_ADDR": "127.0.0.1",
        }
        done = subprocess.run(
            ["git", "http-backend"], input=body, env=env, capture_output=True, timeout=_BACKEND_SECONDS, check=False
        )
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        status = int(headers.pop("Status", "200" if headers else "500").split()[0])
        return self._answer(status, headers, answer)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)
