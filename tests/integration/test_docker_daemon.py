"""A real Docker daemon pulls, loads and runs what the registry room writes."""

from __future__ import annotations

import io
import platform
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import docker
import pytest
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from modelpack import oci
from modelpack.errors import NotFoundError, RemoteError
from modelpack.reference import Reference
from modelpack.registry.archive import write_archive
from modelpack.registry.docker import load
from modelpack.registry.remote import RemoteRepository
from tests.fakes.artifacts import artifact, push
from tests.integration.conftest import available
from tests.integration.servers.process import program
from tests.integration.servers.registry import Registry

HERE = oci.Platform("linux", {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()))
REFERENCE = Reference.parse("registry.local/models/mpg:v1")


@pytest.fixture
def client(docker_daemon: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DOCKER_HOST", docker_daemon)
    monkeypatch.setattr(testcontainers_config, "ryuk_disabled", True)  # its image cannot be had here
    return docker.from_env()


def runnable(content: bytes) -> oci.Artifact:
    with available(lambda: nullcontext(program("busybox", "apt-get install busybox-static"))) as busybox:
        other = oci.Platform("linux", "s390x")
        return artifact(content, platforms=(HERE, other), busybox=Path(busybox))


def run(image: str) -> bytes:
    with DockerContainer(image, network_mode="none") as container:
        container.get_wrapped_container().wait()
        return container.get_logs()[0]


@pytest.mark.parametrize("which", ["registry", "registry_v3"])
def test_pull_and_run(which: str, client: Any, request: pytest.FixtureRequest) -> None:
    server: Registry = request.getfixturevalue(which)
    whole, reference = runnable(which.encode()), Reference.parse(f"{server.address}/registry-room/docker:v1")
    push(whole, RemoteRepository(reference), "v1")
    image = client.images.pull(reference.name, "v1")
    assert image.attrs["RepoDigests"] == [f"{reference.name}@{whole.index.digest}"]
    assert run(str(reference)) == which.encode()


def test_load_and_run(client: Any) -> None:
    whole = runnable(b"loaded")
    load(whole, REFERENCE)
    assert client.images.get(str(REFERENCE)).id == whole.images[0].config.digest
    assert run(str(REFERENCE)) == b"loaded"
    with pytest.raises(NotFoundError, match="has no image for linux/riscv64"):
        load(whole, REFERENCE, oci.Platform("linux", "riscv64"))


def test_the_archive_loads_and_runs(client: Any) -> None:
    file = io.BytesIO()
    write_archive(file, runnable(b"archived"), REFERENCE.at(tag="tar"))
    client.images.load(file.getvalue())
    assert run(str(REFERENCE.at(tag="tar"))) == b"archived"


def test_a_load_that_the_daemon_refuses(client: Any) -> None:
    whole = runnable(b"x")
    broken = oci.Artifact(whole.layers[:1], whole.configs, whole.modelpack, whole.images, whole.index)
    with pytest.raises(RemoteError, match="does not load the image"):
        load(broken, REFERENCE)


def test_no_daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(RemoteError, match="daemon cannot be reached; start it, or set DOCKER_HOST"):
        load(artifact(), REFERENCE)
