"""One request whose body is streamed over a socket, with exact framing and an eye on early answers.

A registry may answer before it has the whole body (401, 413, 429) and hang up; that answer is worth more than the
broken pipe it causes. So the socket is looked at before each piece and after a failed send, and an early answer ends
the sending.
"""

from __future__ import annotations

import base64
import io
import select
import socket
import ssl
from collections.abc import Iterable, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.structures import CaseInsensitiveDict

from modelpack.registry.content import MANIFEST_LIMIT
from modelpack.registry.wire import ANSWER_TIMEOUT, CONNECT_TIMEOUT, Answer, reason

_LINGER = 5.0
"""Seconds to wait for the answer of somebody who has stopped to take bytes."""


class CutError(Exception):
    """The connection broke and nobody said why; the text is the system's word for it."""


def send(
    method: str, url: str, headers: Mapping[str, str], size: int, pieces: Iterable[memoryview], tls: ssl.SSLContext
) -> Answer:
    """Send `size` bytes as one body and give the answer; raises CutError, and whatever `pieces` raises.

    No piece is asked for before there is a connection, nor after the registry has answered.
    """
    connection = _connection(url, tls)
    try:
        try:
            sock = _begin(connection, method, url, headers, size)
        except (OSError, HTTPException) as error:
            raise CutError(reason(error)) from error
        early = b""
        broken: OSError | None = None
        complete = False
        for piece in pieces:
            try:
                early = _arrived(sock)
                if early:
                    break
                sock.sendall(piece)
            except OSError as error:
                broken = error
                sock.settimeout(_LINGER)
                break
        else:
            complete = True
        try:
            answer = _answer(sock, early, method, url)
        except (OSError, HTTPException) as error:
            raise CutError(reason(broken or error)) from (broken or error)
        if answer.ok and not complete:
            raise CutError("it stopped taking bytes half-way")
        return answer
    finally:
        connection.close()


def _connection(url: str, tls: ssl.SSLContext) -> HTTPConnection:
    """A connection that is not open yet; for https through the proxy that the environment asks for, if any."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "http":
        return HTTPConnection(host, port, timeout=CONNECT_TIMEOUT)
    proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    if not proxy:
        return HTTPSConnection(host, port, timeout=CONNECT_TIMEOUT, context=tls)
    through = urlsplit(proxy if "://" in proxy else f"//{proxy}")
    login = f"{unquote(through.username or '')}:{unquote(through.password or '')}".encode()
    told = {"Proxy-Authorization": "Basic " + base64.b64encode(login).decode()} if through.username else {}
    connection = HTTPSConnection(through.hostname or "", through.port, timeout=CONNECT_TIMEOUT, context=tls)
    connection.set_tunnel(host, port, told)
    return connection


def _begin(connection: HTTPConnection, method: str, url: str, headers: Mapping[str, str], size: int) -> socket.socket:
    parts = urlsplit(url)
    connection.connect()
    sock: socket.socket = connection.sock
    sock.settimeout(ANSWER_TIMEOUT)
    connection.putrequest(method, parts.path + (f"?{parts.query}" if parts.query else ""), skip_accept_encoding=True)
    fixed = {"Content-Type": "application/octet-stream", "Content-Length": str(size), "Connection": "close"}
    for name, value in {**fixed, **headers}.items():
        connection.putheader(name, value)
    connection.endheaders()
    return sock


def _arrived(sock: socket.socket) -> bytes:
    """What the other side has said so far, b"" for nothing; raises OSError when it hung up.

    Reads instead of peeking because TLS can only be read: its session tickets make a socket readable without any data.
    """
    if not select.select([sock], [], [], 0)[0]:
        return b""
    timeout = sock.gettimeout()
    sock.setblocking(False)
    try:
        data = sock.recv(64 << 10)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return b""
    finally:
        sock.settimeout(timeout)
    if not data:
        raise ConnectionResetError("the connection was closed")
    return data


def _answer(sock: socket.socket, early: bytes, method: str, url: str) -> Answer:
    source: Any = _Replayed(early, sock)  # http.client asks a socket only for makefile
    response = HTTPResponse(source, method=method)
    response.begin()
    body = response.read(MANIFEST_LIMIT)
    return Answer(url, response.status, CaseInsensitiveDict(response.getheaders()), body)


class _Replayed(io.RawIOBase):
    """A socket to read from, of which some bytes were read before."""

    def __init__(self, early: bytes, sock: socket.socket) -> None:
        self._early = early
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._early:
            return self._sock.recv_into(buffer)
        count = min(len(buffer), len(self._early))
        buffer[:count] = self._early[:count]
        self._early = self._early[count:]
        return count

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)
