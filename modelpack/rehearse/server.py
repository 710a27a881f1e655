"""One model server as a process: a revision, a port, and whether it is ready."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import requests

from modelpack.errors import RemoteError
from modelpack.rehearse.http import request
from modelpack.rehearse.processes import Process, Processes, free_port
from modelpack.rehearse.revision import Revision
from modelpack.rehearse.state import State
from modelpack.rehearse.workload import launch

_PROBE_SECONDS = 1.0  # Kubernetes' default timeout of a probe


class Server:
    """A running server. `deadline` is how many seconds it may stay unready."""

    def __init__(self, name: str, revision: Revision, process: Process, port: int, deadline: float) -> None:
        self.name = name
        self.revision = revision
        self.process = process
        self.port = port
        self._deadline = deadline
        self._unready_since: float | None = time.monotonic()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def why_unready(self) -> str:
        """Ask the readiness probe: "" if ready, else why not. Raises RemoteError when it has ended or is late."""
        self.process.check()
        why = self._probe()
        now = time.monotonic()
        if not why:
            self._unready_since = None
            return ""
        if self._unready_since is None:
            self._unready_since = now
        if now - self._unready_since > self._deadline:
            words = self.process.last_words()
            problem = f"is not ready after {self._deadline:g} s ({why}): {words}"
            raise RemoteError(self.name, problem, f"serve on $PORT; its log is {self.process.log}")
        return why

    def _probe(self) -> str:
        path = self.revision.workload.probe
        try:
            if path:
                answer = request("GET", f"{self.url}{path}", timeout=_PROBE_SECONDS, redirects=False)
                return "" if answer.status_code < 400 else f"GET {path} answers {answer.status_code}"
            with socket.create_connection(("127.0.0.1", self.port), _PROBE_SECONDS):
                return ""
        except (OSError, requests.RequestException):
            return f"nothing answers on port {self.port} yet"


def start_server(
    name: str, revision: Revision, processes: Processes, state: State, deadline: float, gate: str = ""
) -> Server:
    """Start a revision's server on a port of its own; it tells its predictions to `gate`.

    Raises NotFoundError for a program that is not there.
    """
    port = free_port()
    how = launch(revision.workload, revision.volumes, port, gate)
    log = state.logs / f"{name}.log"
    return Server(name, revision, processes.start(name, how.words, how.environ, revision.source, log), port, deadline)


def await_ready(server: Server, check: Callable[[], None]) -> None:
    """Return when it is ready. Raises RemoteError as `why_unready` does, or what `check` raises meanwhile."""
    while server.why_unready():
        check()
        time.sleep(0.05)
