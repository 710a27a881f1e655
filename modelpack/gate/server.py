"""Runs the service on a port until it is told to stop."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from modelpack.errors import NotFoundError, RemoteError
from modelpack.gate.engine import Gate
from modelpack.gate.service import create_app
from modelpack.gate.store import Store
from modelpack.gate.target import Surroundings

STOP_TIMEOUT = 5  # seconds for calls under way when it is told to stop


def serve(folder: Path, surroundings: Surroundings, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve the gate that remembers in `folder`; port 0 takes a free one. `ready` gets the address once it is served.

    On SIGTERM or SIGINT it stops, then the signal is raised again. Raises NotFoundError if there is no such folder,
    RemoteError if the port is taken.
    """
    if not folder.is_dir():
        raise NotFoundError(folder, "there is no such folder", "name the --state of a rehearsal, or make it")
    listener = _listen(host, port)
    store = Store.in_file(folder / "gate.sqlite")
    gate = Gate(surroundings, store)
    shown = f"[{host}]" if ":" in host else host
    server = _Server(
        uvicorn.Config(
            create_app(gate, store),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=STOP_TIMEOUT,
            lifespan="off",
        )
    )
    server.when_ready = lambda: ready(f"http://{shown}:{listener.getsockname()[1]}")
    gate.start()
    try:
        server.run(sockets=[listener])
    finally:
        gate.stop()
        store.close()


class _Server(uvicorn.Server):
    when_ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.when_ready()


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
