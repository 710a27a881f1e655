"""A TCP relay in front of a server that hangs up in the middle of answers: what a bad network does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def cutting(port: int, times: int, after: int) -> Iterator[int]:
    """Relay to `port` on loopback; the first `times` connections on which the server sends `after` bytes are cut there.

    Gives the port to connect to.
    """
    left = threading.Semaphore(times)
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):  # the listener is closed at the end
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", port))
                threading.Thread(target=_copy, args=(client, server, None, after), daemon=True).start()
                threading.Thread(target=_copy, args=(server, client, left, after), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # ends accept: it would take the next socket with this number
        thread.join(10)
        listener.close()


def _copy(source: socket.socket, target: socket.socket, left: threading.Semaphore | None, after: int) -> None:
    sent = 0
    with suppress(OSError):
        while data := source.recv(65536):
            if left and sent + len(data) > after and left.acquire(blocking=False):
                target.sendall(data[: max(0, after - sent)])
                break
            target.sendall(data)
            sent += len(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
