"""Runs the service on a port until it is told to stop."""

from __future__ import annotations

import gc
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from modelpack.errors import InputError, NotFoundError, RemoteError
from modelpack.gate.access import OPEN, Access
from modelpack.gate.engine import Gate
from modelpack.gate.feedback import Feedback
from modelpack.gate.feedback_api import create_feedback_app
from modelpack.gate.service import create_app
from modelpack.gate.store import Store
from modelpack.gate.target import Surroundings
from modelpack.gate.watch import Tell, Watch

SWITCH = 0.001  # seconds; a call waits so long for each thread that computes
KEPT = 95  # seconds that a connection is kept without a call: longer than Go's clients keep it, 90 s, so none is lost
STOP_TIMEOUT = 5  # seconds for calls under way when it is told to stop
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """`database` is a URL, else gate.sqlite in the folder; `keep` as `Gate` has it. `feedback_port` takes predictions
    and labels alone: servers may reach it that may approve nothing."""

    database: str = field(default="", repr=False)
    keep: float | None = None
    access: Access = OPEN
    feedback_port: int | None = None


DEFAULT = Options()


def serve(
    folder: Path | None,
    surroundings: Surroundings,
    host: str,
    port: int,
    ready: Callable[[str], None],
    options: Options = DEFAULT,
    tell: Tell | None = None,
) -> None:
    """Serve the gate that remembers in `folder`; port 0 takes a free one. `ready` gets the address once it is served.

    `tell` hears when what serves calls for a new model. On SIGTERM or SIGINT it stops, then the signal is raised again.
    Raises NotFoundError if there is no such folder, RemoteError if a port is taken.
    """
    if folder is None and not options.database:
        raise InputError("the gate", "has nowhere to keep what it knows", "name a folder or a database")
    if folder is not None and not folder.is_dir():
        raise NotFoundError(folder, "there is no such folder", "name the --state of a rehearsal, or make it")
    tokens = options.access.tokens()
    listener = _listen(host, port)
    beside = None if options.feedback_port is None else _listen(host, options.feedback_port)
    store = Store(options.database) if options.database or folder is None else Store.in_file(folder / "gate.sqlite")
    gate = Gate(surroundings, store, keep=options.keep)
    if not tokens:
        _log.info("there are no tokens: whoever reaches this gate may approve")
    shown = f"[{host}]" if ":" in host else host
    watch = Watch(gate, tell)
    app = create_app(gate, store, watch, options.access)
    server = _server(app)
    server.when_stopping = app.state.close  # streams would keep it waiting
    sys.setswitchinterval(SWITCH)
    gc.freeze()  # what was imported stays: no collection has to look through it, while calls wait
    server.when_ready = lambda: ready(f"http://{shown}:{listener.getsockname()[1]}")
    gate.start()
    watch.start()
    try:
        with _beside(beside, store):
            server.run(sockets=[listener])
    finally:
        watch.stop()
        gate.stop()
        store.close()


@contextmanager
def _beside(listener: socket.socket | None, store: Store) -> Iterator[None]:
    """Feedback alone on a port of its own, in a thread."""
    if listener is None:
        yield
        return
    server = _server(create_feedback_app(Feedback(store)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(STOP_TIMEOUT)


def _server(app: Any) -> _Server:
    quiet: dict[str, Any] = {"log_config": None, "log_level": "warning", "access_log": False, "proxy_headers": False}
    times: dict[str, Any] = {"timeout_keep_alive": KEPT, "timeout_graceful_shutdown": STOP_TIMEOUT}
    return _Server(uvicorn.Config(app, **quiet, **times, lifespan="off"))


class _Server(uvicorn.Server):
    when_ready: Callable[[], None] = staticmethod(lambda: None)
    when_stopping: Callable[[], None] = staticmethod(lambda: None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.when_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.when_stopping()
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)  # asyncio sets TCP_NODELAY only where the protocol is named
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        raise RemoteError(
            f"{host}:{port}", f"cannot be listened on: {error.strerror}", "choose another --port"
        ) from error
    return listener
