"""A TCP relay in front of a server that is too busy at first: its first connections are answered 503."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_ANSWER = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@contextmanager
def busy(port: int, times: int) -> Iterator[int]:
    """Relay to `port` on loopback, after `times` requests were answered 503. Gives the port to connect to."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        left = times
        with suppress(OSError):  # the listener is closed at the end
            while True:
                client, _ = listener.accept()
                if left:
                    left -= 1
                    with client:
                        client.recv(65536)
                        client.sendall(_ANSWER)
                    continue
                server = socket.create_connection(("127.0.0.1", port))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=_copy, args=pair, daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # ends accept: it would take the next socket with this number
        thread.join(10)
        listener.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
