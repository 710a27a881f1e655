"""Starts a server process, waits until it is ready, and stops it whatever happens to the test."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


class MissingError(Exception):
    """This machine lacks a program; says which one and how to install it."""

    def __init__(self, what: str, install: str) -> None:
        super().__init__(f"{what} is not here; install it: {install}")


class ServerError(Exception):
    """A server did not start; carries the end of its log."""


def program(name: str, install: str) -> str:
    """Where a program is; /usr/sbin counts too, which is not on everybody's PATH. Raises MissingError."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin")
    if not found:
        raise MissingError(name, install)
    return found


def free_port() -> int:
    """A loopback port nobody listens on now. Somebody else may take it: for servers that cannot bind port 0 only."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


@contextmanager
def running(
    argv: Sequence[str],
    log: Path,
    ready: Callable[[str], bool],
    *,
    env: Mapping[str, str] | None = None,
    within: float = 60,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for the length of the block. `ready` is asked with the log's text, up to `within` seconds.

    The server gets a process group of its own, and SIGTERM if the test process dies without coming back here.
    """
    die_with_parent = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*die_with_parent, *argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, start_new_session=True
        )
    try:
        _wait(process, log, ready, within)
        yield process
    finally:
        stop(process)


def _wait(process: subprocess.Popen[bytes], log: Path, ready: Callable[[str], bool], within: float) -> None:
    deadline = time.monotonic() + within
    while not ready(log.read_text(errors="replace")):
        code = process.poll()
        if code is not None or time.monotonic() > deadline:
            what = f"ended with {code}" if code is not None else f"was not ready within {within:.0f} s"
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
            raise ServerError(f"{process.args!r} {what}; its log {log} ends:\n{tail}")
        time.sleep(0.05)


def stop(process: subprocess.Popen[bytes], within: float = 15) -> None:
    """SIGTERM, and SIGKILL for the group if that is not enough."""
    process.terminate()
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(within)
