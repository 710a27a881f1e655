"""What the registry room writes is taken by real registries and read back by others, and the other way round."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelpack import oci
from modelpack.errors import NotFoundError, RefusedError
from modelpack.reference import Reference
from modelpack.registry import LayoutRepository
from modelpack.registry.archive import write_archive
from modelpack.registry.remote import RemoteRepository
from tests.fakes.artifacts import artifact, push
from tests.integration.conftest import available
from tests.integration.servers.process import program
from tests.integration.servers.registry import Registry, registry

REGISTRIES = ["registry", "registry_v3"]
REFERENCE = Reference.parse("registry.local/models/mpg:v1")


@dataclass
class Big:
    """A layer that never was in memory."""

    size: int
    digest: str = ""
    media_type: str = oci.IMAGE_LAYER

    def chunks(self) -> Iterator[memoryview]:
        piece = memoryview(bytes(range(256)) * 4096)
        for _ in range(self.size // len(piece)):
            yield piece


@pytest.fixture(scope="session")
def skopeo() -> Iterator[str]:
    with available(lambda: nullcontext(program("skopeo", "apt-get install skopeo"))) as path:
        yield path


@pytest.fixture(params=REGISTRIES)
def address(request: pytest.FixtureRequest) -> str:
    server: Registry = request.getfixturevalue(request.param)
    return server.address


def copy(skopeo: str, source: str, destination: str) -> None:
    argv = [skopeo, "copy", "--quiet", "--all", "--preserve-digests", "--src-tls-verify=false", source, destination]
    subprocess.run(argv, check=True)


def test_pushed_and_read_back(address: str) -> None:
    whole, repository = artifact(), RemoteRepository(Reference.parse(f"{address}/registry-room/back"))
    push(whole, repository, "v1")
    assert repository.manifest("v1") == repository.manifest(whole.index.digest) == whole.index
    assert repository.manifest("v1-modelpack") == whole.modelpack
    for layer in whole.layers:
        assert repository.has_blob(layer.digest)
        assert b"".join(repository.read_blob(layer.digest, layer.size)) == b"".join(layer.chunks())
    assert not repository.has_blob(oci.digest_of(b"?"))
    with pytest.raises(NotFoundError):
        repository.manifest("v2")


def test_a_streamed_layer(address: str) -> None:
    repository, layer = RemoteRepository(Reference.parse(f"{address}/registry-room/streamed")), Big(32 << 20)
    descriptor = repository.push_layer(layer)
    assert sum(map(len, repository.read_blob(descriptor.digest, descriptor.size))) == layer.size
    assert repository.push_layer(Big(layer.size, descriptor.digest)) == descriptor


def test_skopeo_reads_what_was_pushed(address: str, skopeo: str, tmp_path: Path) -> None:
    whole = artifact()
    push(whole, RemoteRepository(Reference.parse(f"{address}/registry-room/skopeo")), "v1")
    for tag, manifest in (("v1", whole.index), ("v1-modelpack", whole.modelpack)):
        copy(skopeo, f"docker://{address}/registry-room/skopeo:{tag}", f"oci:{tmp_path}/copy:{tag}")
        assert LayoutRepository(tmp_path / "copy").manifest(tag).digest == manifest.digest


def test_skopeo_and_layouts(skopeo: str, tmp_path: Path) -> None:
    whole = artifact()
    push(whole, LayoutRepository(tmp_path / "ours"), "v1")
    copy(skopeo, f"oci:{tmp_path}/ours:v1", f"oci:{tmp_path}/theirs")
    theirs = LayoutRepository(tmp_path / "theirs")
    assert theirs.manifest("latest").digest == whole.index.digest
    for image in whole.images:
        read = theirs.manifest(image.digest)
        assert [sum(map(len, theirs.read_blob(each.digest, each.size))) for each in read.layers]
    push(artifact(b"next"), theirs, "v2")
    copy(skopeo, f"oci:{tmp_path}/theirs:v2", f"oci:{tmp_path}/third:v2")


def test_skopeo_reads_the_archive(skopeo: str, tmp_path: Path) -> None:
    whole = artifact()
    with (tmp_path / "mpg.tar").open("wb") as file:
        write_archive(file, whole, REFERENCE)
    copy(skopeo, f"oci-archive:{tmp_path}/mpg.tar:v1", f"oci:{tmp_path}/copy:v1")
    assert LayoutRepository(tmp_path / "copy").manifest("v1").digest == whole.index.digest
    argv = [skopeo, "copy", "--quiet", f"docker-archive:{tmp_path}/mpg.tar:{REFERENCE}", f"dir:{tmp_path}/dir"]
    subprocess.run(argv, check=True)
    assert (tmp_path / "dir" / whole.layers[0].digest[7:]).exists()


def test_login(registry_login: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skopeo: str) -> None:
    reference = Reference.parse(f"{registry_login.address}/registry-room/login")
    with pytest.raises(RefusedError, match="wants a login"):
        push(artifact(), RemoteRepository(reference), "v1")
    argv = [skopeo, "login", "--tls-verify=false", "--authfile", str(tmp_path / "config.json"), "--password-stdin"]
    argv += ["-u", registry_login.user, registry_login.address]
    subprocess.run(argv, input=registry_login.password, text=True, check=True, capture_output=True)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    push(artifact(), RemoteRepository(reference), "v1")


def test_the_registry_comes_back(tmp_path: Path) -> None:
    """A push that failed leaves no tag, and the same push works once the registry is there."""
    whole = artifact()
    with available(lambda: registry(tmp_path / "first")) as server:
        repository = RemoteRepository(Reference.parse(f"{server.address}/m"))
        for layer in whole.layers:
            repository.push_layer(layer)
        with pytest.raises(Exception, match="not stored"):
            repository.push_manifest(whole.index, "v1")  # its images are not there
        with pytest.raises(NotFoundError):
            repository.manifest("v1")
        push(whole, repository, "v1")
        assert repository.manifest("v1") == whole.index


_MEMORY = """
import resource, sys
from modelpack.reference import Reference
from modelpack.registry.remote import RemoteRepository
from tests.integration.test_registry import Big
repository = RemoteRepository(Reference.parse(sys.argv[1]))
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
repository.push_layer(Big(1 << 20))
before = peak()
descriptor = repository.push_layer(Big(512 << 20))
for _ in repository.read_blob(descriptor.digest, descriptor.size): pass
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_layer(registry_v3: Registry) -> None:
    argv = [sys.executable, "-c", _MEMORY, f"{registry_v3.address}/registry-room/memory"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 16  # MiB
