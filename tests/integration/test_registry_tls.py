"""TLS: trusted by the system's store alone. 0.0.0.0 is this machine too, but no loopback address, so it wants TLS."""

from __future__ import annotations

import socket
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import pytest

from modelpack import oci
from modelpack.errors import RemoteError
from modelpack.reference import Reference
from modelpack.registry.remote import RemoteRepository
from modelpack.registry.wire import Patience
from tests.fakes.artifacts import artifact, push
from tests.fakes.registry import FakeRegistry, Fault, serving
from tests.integration.conftest import available
from tests.integration.servers.process import program


class Streamed(oci.Blob):
    """A layer whose digest nobody knows yet."""

    digest = ""


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeRegistry]:
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    with available(lambda: nullcontext(program("openssl", "apt-get install openssl"))) as openssl:
        argv = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=tests", "-days", "2"]
    argv += ["-addext", "subjectAltName=IP:0.0.0.0", "-keyout", key, "-out", certificate]
    subprocess.run(argv, check=True, capture_output=True)
    with serving(certificate, key) as registry:
        registry.address = registry.address.replace("127.0.0.1", "0.0.0.0")
        yield registry


def repository(fake: FakeRegistry) -> RemoteRepository:
    return RemoteRepository(Reference.parse(f"{fake.address}/m"), Patience(tries=2, first=0.01))


def test_a_trusted_registry(fake: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    trusting, big = repository(fake), oci.Blob(bytes(8 << 20), oci.IMAGE_LAYER)
    push(artifact(), trusting, "v1")
    trusting.push_layer(Streamed(b"streamed", oci.IMAGE_LAYER))
    trusting.push_layer(big)
    assert sum(map(len, trusting.read_blob(big.digest, big.size))) == big.size
    fake.blobs.clear()
    fake.faults.append(Fault("PUT", "digest=", 413))
    with pytest.raises(RemoteError, match="answers 413"):
        trusting.push_layer(big)


def test_a_registry_that_nobody_vouches_for(fake: FakeRegistry) -> None:
    with pytest.raises(RemoteError, match="its certificate is not trusted"):
        repository(fake).manifest("v1")
    assert fake.seen == []


@dataclass
class Proxy:
    """Joins one CONNECT after the other with its target; keeps what it was told."""

    url: str
    heads: list[bytes] = field(default_factory=list)


@contextmanager
def proxying(target: str) -> Iterator[Proxy]:
    host, _, port = target.partition(":")
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = Proxy(f"http://me:hush@127.0.0.1:{server.getsockname()[1]}")

        def pump(source: socket.socket, sink: socket.socket) -> None:
            with suppress(OSError):
                while data := source.recv(65536):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                proxy.heads.append(client.recv(65536))
                client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                there = socket.create_connection((host, int(port)))
                Thread(target=pump, args=(client, there), daemon=True).start()
                Thread(target=pump, args=(there, client), daemon=True).start()

        Thread(target=serve, daemon=True).start()
        yield proxy


def test_requests_and_bodies_go_through_the_proxy(
    fake: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    with proxying(fake.address) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        repository(fake).push_layer(Streamed(b"streamed", oci.IMAGE_LAYER))
    assert fake.methods() == ["POST", "PATCH", "PUT"]
    assert len(proxy.heads) == 2  # requests keeps its connection
    for head in proxy.heads:
        assert head.startswith(b"CONNECT " + fake.address.encode())
        assert b64encode(b"me:hush") in head
