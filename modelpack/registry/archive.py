"""An image as one tar file: an OCI layout, with Docker's manifest.json beside it so that `docker load` reads it too.

Sources: OCI image specification 1.1, image-layout.md; moby's image tarball format 1.2. The bytes depend on the artifact
and the reference alone. Docker takes one image from an archive: the index's first.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import BinaryIO

from modelpack import oci
from modelpack.errors import NotFoundError
from modelpack.reference import Reference
from modelpack.registry.content import Tally, hexadecimal
from modelpack.registry.layout import LAYOUT_FILE

ANNOTATION_IMAGE_NAME = "io.containerd.image.name"


def write_archive(file: BinaryIO, artifact: oci.Artifact, reference: Reference) -> None:
    """Write the whole artifact as an OCI layout in a tar, of which Docker loads the index's first image.

    All digests have to be known. After an error the file is incomplete: write it beside its place.
    """
    for piece in pieces(artifact, reference):
        file.write(piece)


def pieces(artifact: oci.Artifact, reference: Reference) -> Iterator[memoryview]:
    """The bytes that `write_archive` writes."""
    tag = reference.tag or "latest"
    named = {oci.ANNOTATION_REF_NAME: tag, ANNOTATION_IMAGE_NAME: f"{reference.name}:{tag}"}
    model = {oci.ANNOTATION_REF_NAME: f"{tag}-modelpack"}
    entries = [
        replace(artifact.index.descriptor, annotations=named),
        replace(artifact.modelpack.descriptor, annotations=model, artifact_type=artifact.modelpack.artifact_type),
    ]
    index = {"schemaVersion": 2, "mediaType": oci.IMAGE_INDEX, "manifests": [each.to_json() for each in entries]}
    manifests = [oci.Blob(each.raw, each.media_type) for each in (artifact.index, artifact.modelpack, *artifact.images)]
    yield from _entry("oci-layout", oci.Blob(LAYOUT_FILE, ""))
    yield from _entry("index.json", oci.Blob(oci.canonical_json(index), ""))
    yield from _entry("manifest.json", _docker_manifest(artifact.images[0], reference.at(tag=tag)))
    yield from _blobs((*manifests, *artifact.configs, *artifact.layers))
    yield _END


def image_pieces(artifact: oci.Artifact, reference: Reference, platform: oci.Platform) -> Iterator[memoryview]:
    """A tar of one image alone, as Docker loads it; raises NotFoundError when there is none for the platform."""
    image = image_for(artifact, platform)
    wanted = {image.config.digest, *(layer.digest for layer in image.layers)}
    yield from _entry("manifest.json", _docker_manifest(image, reference.at(tag=reference.tag or "latest")))
    yield from _blobs(each for each in (*artifact.configs, *artifact.layers) if each.digest in wanted)
    yield _END


def image_for(artifact: oci.Artifact, platform: oci.Platform) -> oci.Manifest:
    """The image that runs on a platform; its variant is not looked at."""
    known = [entry for entry in artifact.index.manifests if entry.platform]
    for entry in known:
        assert entry.platform
        if (entry.platform.os, entry.platform.architecture) == (platform.os, platform.architecture):
            return next(image for image in artifact.images if image.digest == entry.digest)
    there = ", ".join(str(entry.platform) for entry in known)
    raise NotFoundError(artifact.index.digest, f"has no image for {platform}, only {there}", "choose another base")


_BLOCK = 512
_END = memoryview(bytes(2 * _BLOCK))


def _path(digest: str) -> str:
    return f"blobs/sha256/{hexadecimal(digest)}"


def _docker_manifest(image: oci.Manifest, reference: Reference) -> oci.Blob:
    layers = [_path(layer.digest) for layer in image.layers]
    entry = {"Config": _path(image.config.digest), "RepoTags": [str(reference)], "Layers": layers}
    return oci.Blob(oci.canonical_json([entry]), "")


def _blobs(layers: Iterable[oci.Layer]) -> Iterator[memoryview]:
    seen: set[str] = set()
    for layer in layers:
        if layer.digest not in seen:
            seen.add(layer.digest)
            yield from _entry(_path(layer.digest), layer)


def _entry(name: str, layer: oci.Layer) -> Iterator[memoryview]:
    header = tarfile.TarInfo(name)
    header.size = layer.size
    header.mode = 0o644
    yield memoryview(header.tobuf(tarfile.PAX_FORMAT))
    yield from Tally(name, layer.size, layer.digest).through(layer.chunks())
    if rest := layer.size % _BLOCK:
        yield memoryview(bytes(_BLOCK - rest))
