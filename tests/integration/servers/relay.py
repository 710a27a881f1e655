"""TCP relays in front of a server, with its faults: too busy at first, or hanging up in the middle of answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@contextmanager
def busy(port: int, times: int) -> Iterator[int]:
    """Relay to `port` on loopback, after `times` requests were answered 503. Gives the port to connect to."""
    left = threading.Semaphore(times)

    def take(client: socket.socket) -> None:
        if left.acquire(blocking=False):
            with client:
                client.recv(65536)
                client.sendall(_BUSY)
        else:
            _relay(client, port, None, 0)

    with _listening(take) as found:
        yield found


@contextmanager
def cutting(port: int, times: int, after: int) -> Iterator[int]:
    """Relay to `port` on loopback; the first `times` connections on which the server sends `after` bytes are cut there.

    Gives the port to connect to.
    """
    left = threading.Semaphore(times)
    with _listening(lambda client: _relay(client, port, left, after)) as found:
        yield found


@contextmanager
def pausing(port: int) -> Iterator[tuple[int, threading.Event]]:
    """Relay to `port` on loopback while the event is set; else nothing comes through, and nothing is closed."""
    flows = threading.Event()
    flows.set()
    with _listening(lambda client: _relay(client, port, None, 0, flows)) as found:
        yield found, flows
        flows.set()


@contextmanager
def _listening(take: Callable[[socket.socket], None]) -> Iterator[int]:
    """Give every connection to a port of loopback to `take`, one after another."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):  # the listener is shut down at the end
            while True:
                take(listener.accept()[0])

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # ends accept: it would take the next socket with this number
        thread.join(10)
        listener.close()


_Flows = threading.Event | None


def _relay(
    client: socket.socket, port: int, left: threading.Semaphore | None, after: int, flows: _Flows = None
) -> None:
    server = socket.create_connection(("127.0.0.1", port))
    threading.Thread(target=_copy, args=(client, server, None, after, flows), daemon=True).start()
    threading.Thread(target=_copy, args=(server, client, left, after, flows), daemon=True).start()


def _copy(
    source: socket.socket, target: socket.socket, left: threading.Semaphore | None, after: int, flows: _Flows
) -> None:
    sent = 0
    with suppress(OSError):
        while data := source.recv(65536):
            if flows:
                flows.wait()
            if left and sent + len(data) > after and left.acquire(blocking=False):
                target.sendall(data[: max(0, after - sent)])
                break
            target.sendall(data)
            sent += len(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
