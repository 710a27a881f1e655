"""`build --push` holds no model: neither in memory nor in a file, however large it is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.command import environ, write_model

MIB = 1 << 20
LIMIT = 64 * MIB
LARGEST_FILE = 1 * MIB  # that the command may write: a record of what was built is far smaller
SIZE = 4 << 30

# the peak that rusage tells would begin with that of the process that starts this one
MEASURED = """
import re, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from modelpack.cli import main
try:
    main(sys.argv[2:])
finally:
    print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


class Sink(BaseHTTPRequestHandler):
    """A registry that takes everything and keeps nothing."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(404)

    def do_POST(self) -> None:
        self._answer(202)

    def do_PATCH(self) -> None:
        self._swallow()
        self._answer(202)

    def do_PUT(self) -> None:
        self._swallow()
        self._answer(201)

    def _swallow(self) -> None:
        left, buffer = int(self.headers["Content-Length"]), memoryview(bytearray(MIB))
        self.server.taken.append(left)  # type: ignore[attr-defined]
        while left:
            left -= self.rfile.readinto(buffer[:left])  # type: ignore[attr-defined]

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Location", "/v2/upload?x=1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def sink() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    server.taken = []  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


def peak(folder: Path, sizes: list[int], sink: ThreadingHTTPServer) -> int:
    """Peak resident bytes of a push of sparse files of these sizes, in a process that can write no large file."""
    write_model(folder, f"127.0.0.1:{sink.server_port}/models/mpg")
    for number, size in enumerate(sizes):
        with (folder / f"artifacts/v1/shard-{number}.bin").open("wb") as file:
            file.truncate(size)
    words = [sys.executable, "-c", MEASURED, str(LARGEST_FILE), "build", "--version", "v1", "--push"]
    done = subprocess.run(words, cwd=folder, env=environ(folder, {}), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1]) << 10


def test_a_push_of_4_gib_grows_by_64_mib_at_most_and_writes_no_temporary_file(
    sink: ThreadingHTTPServer, tmp_path: Path
) -> None:
    least = peak(tmp_path / "least", [1], sink)
    most = peak(tmp_path / "most", [SIZE // 4] * 4, sink)
    assert sum(sink.taken) > SIZE  # type: ignore[attr-defined]
    assert most - least <= LIMIT, f"{(most - least) / MIB:.0f} MiB"
