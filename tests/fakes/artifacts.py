"""Artifacts made by hand: a model layer and a base that runs, as small as they can be."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from modelpack import oci
from modelpack.registry import Repository

AMD64, ARM64 = oci.Platform("linux", "amd64"), oci.Platform("linux", "arm64")


def layer(files: Mapping[str, bytes]) -> oci.Blob:
    """A plain tar of executable files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
    return oci.Blob(buffer.getvalue(), oci.IMAGE_LAYER)


def artifact(
    content: bytes = b"weights", *, platforms: tuple[oci.Platform, ...] = (AMD64, ARM64), busybox: Path | None = None
) -> oci.Artifact:
    """A model container whose model is one file; with a busybox its command prints that file."""
    layers = (
        layer({"models/weights": content}),
        layer({"bin/busybox": busybox.read_bytes()} if busybox else {"base": b"base"}),
    )
    configs, images = [], []
    for platform in platforms:
        value = {
            "os": platform.os,
            "architecture": platform.architecture,
            "config": {"Cmd": ["/bin/busybox", "cat", "/models/weights"]},
            "rootfs": {"type": "layers", "diff_ids": [each.digest for each in layers]},
        }
        configs.append(oci.Blob(oci.canonical_json(value), oci.IMAGE_CONFIG))
        images.append(_manifest(configs[-1], layers))
    entries = [
        oci.Descriptor(image.media_type, image.digest, len(image.raw), platform=platform).to_json()
        for image, platform in zip(images, platforms, strict=True)
    ]
    model = oci.Blob(b"{}", oci.MODEL_CONFIG)
    index = {"schemaVersion": 2, "mediaType": oci.IMAGE_INDEX, "manifests": entries}
    return oci.Artifact(
        layers=layers,
        configs=(*configs, model),
        modelpack=_manifest(model, layers[:1], oci.MODEL_MANIFEST),
        images=tuple(images),
        index=oci.Manifest(oci.canonical_json(index), oci.IMAGE_INDEX),
    )


def push(whole: oci.Artifact, repository: Repository, tag: str) -> None:
    for blob in (*whole.layers, *whole.configs):
        repository.push_layer(blob)
    repository.push_manifest(whole.modelpack, f"{tag}-modelpack")
    for image in whole.images:
        repository.push_manifest(image)
    repository.push_manifest(whole.index, tag)


def _manifest(config: oci.Blob, layers: tuple[oci.Blob, ...], artifact_type: str = "") -> oci.Manifest:
    value = {
        "schemaVersion": 2,
        "mediaType": oci.IMAGE_MANIFEST,
        "config": config.descriptor.to_json(),
        "layers": [each.descriptor.to_json() for each in layers],
    }
    if artifact_type:
        value["artifactType"] = artifact_type
    return oci.Manifest(oci.canonical_json(value), oci.IMAGE_MANIFEST)
