"""Resolve, verify, pull, unpack: from a reference back to bytes, each checked against its digest."""

from __future__ import annotations

import platform
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from modelpack import oci
from modelpack.definition import MODELPACK_SUFFIX
from modelpack.errors import InputError, IntegrityError, NotFoundError, RefusedError, RemoteError
from modelpack.image import extract
from modelpack.provenance import lineage_of, metrics_of
from modelpack.reference import Reference
from modelpack.registry import Repository, Via, open_repository

_CONFIG_LIMIT = 4 << 20
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Resolved:
    """What a reference names. `reference` has a digest; the model fields are "" for what is no model container."""

    reference: Reference
    index: oci.Manifest
    model: str
    version: str
    model_digest: str

    @property
    def metrics(self) -> dict[str, float]:
        """The evaluation that the build was given, sorted by name."""
        return metrics_of(self.index.annotations)

    @property
    def lineage(self) -> dict[str, str]:
        """What the build was told about its origin, sorted by key."""
        return lineage_of(self.index.annotations)


def resolve(reference: Reference, via: Via) -> Resolved:
    """Ask the registry what a reference names now; raises NotFoundError."""
    return _resolve(reference, open_repository(reference, via))


def _resolve(reference: Reference, repository: Repository) -> Resolved:
    index = repository.manifest(reference.locator)
    notes = index.annotations
    model = notes.get(oci.ANNOTATION_MODEL_DIGEST, "")
    return Resolved(
        reference=reference.at(tag=reference.tag, digest=index.digest),
        index=index,
        model=notes.get(oci.ANNOTATION_MODEL_NAME, ""),
        version=notes.get(oci.ANNOTATION_VERSION, ""),
        model_digest=model if oci.is_digest(model) else "",
    )


def _resolve_model(reference: Reference, repository: Repository) -> Resolved:
    """The same for what must be a model container; raises InputError for any other image."""
    resolved = _resolve(reference, repository)
    if not oci.is_digest(resolved.model_digest):
        raise InputError(reference, "is not a model container: its index names no model digest")
    return resolved


def unpack(reference: Reference, root: Path, via: Via) -> None:
    """Write the runnable image's whole file system below `root`, for this machine's architecture if there is one."""
    repository = open_repository(reference, via)
    image = _image_here(_resolve(reference, repository), repository)
    _extract(repository, image.layers, root)


def pull(reference: Reference, folder: Path, via: Via) -> Resolved:
    """Write a model's files into `folder`, which must be new or empty; they appear there only when all are verified.

    A folder that is there is filled and not replaced: it may be a mounted volume, or where somebody works.
    """
    repository = open_repository(reference, via)
    resolved = _resolve_model(reference, repository)
    model = repository.manifest(resolved.model_digest)
    path = _model_path(_config(_image_here(resolved, repository), repository), resolved)
    try:
        there = folder.exists()
        if there and (not folder.is_dir() or any(folder.iterdir())):
            raise RefusedError(folder, "exists and is not an empty folder", "name another")
        beside = folder if there else folder.parent
        beside.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=beside, prefix=".modelpack-") as name:
            whole = Path(name) / "image"
            _extract(repository, model.layers, whole)
            files = whole / path
            if files.is_symlink() or not files.is_dir():
                raise IntegrityError(resolved.reference, f"its model has no folder /{path}")
            for child in files.iterdir() if there else ():
                child.rename(folder / child.name)
            if not there:
                files.rename(folder)
    except OSError as error:
        raise RemoteError(folder, f"cannot be written: {error.strerror}", "make room and try again") from error
    return resolved


@dataclass(frozen=True)
class Content:
    """What a model container holds, without its blobs."""

    resolved: Resolved
    model: oci.Manifest
    platforms: tuple[oci.Platform, ...]


def inspect(reference: Reference, via: Via) -> Content:
    """Read a model container's manifests."""
    repository = open_repository(reference, via)
    resolved = _resolve_model(reference, repository)
    model = repository.manifest(resolved.model_digest)
    platforms = tuple(each.platform for each in resolved.index.manifests if each.platform)
    return Content(resolved, model, platforms)


@dataclass(frozen=True)
class Verified:
    """What `verify` read: numbers of manifests and blobs, and their bytes."""

    resolved: Resolved
    manifests: int
    blobs: int
    size: int


def verify(reference: Reference, via: Via) -> Verified:
    """Read every manifest and blob that a model container has and hold it against its digest and its neighbours.

    Raises IntegrityError for wrong bytes, for a layer that is not the diff_id its config names, and for an image that
    does not carry exactly the model that the index's annotation says.
    """
    repository = open_repository(reference, via)
    resolved = _resolve_model(reference, repository)
    model = repository.manifest(resolved.model_digest)
    if model.artifact_type != oci.MODEL_MANIFEST:
        raise IntegrityError(reference, f"its model digest {model.digest} is not a ModelPack manifest")
    if reference.tag:
        tagged = repository.manifest(reference.tag + MODELPACK_SUFFIX)
        if tagged.digest != model.digest and not reference.digest:
            raise IntegrityError(reference, f"the tag {reference.tag}{MODELPACK_SUFFIX} names another model")
    images = [repository.manifest(each.digest) for each in resolved.index.manifests]
    if not images:
        raise IntegrityError(reference, "is an index of no images")
    model_layers = [layer.digest for layer in model.layers]
    blobs = {each.digest: each.size for each in (model.config, *model.layers)}
    for image in images:
        if [layer.digest for layer in image.layers][: len(model_layers)] != model_layers:
            raise IntegrityError(reference, f"image {image.digest} does not start with the model's layers")
        diff_ids = _mapping(_config(image, repository), "rootfs").get("diff_ids")
        if not isinstance(diff_ids, list) or not _fit(image.layers, diff_ids):
            raise IntegrityError(reference, f"image {image.digest}: the config's diff_ids are not its layers")
        blobs |= {each.digest: each.size for each in (image.config, *image.layers)}
    for digest, size in blobs.items():
        for _ in repository.read_blob(digest, size):
            pass
    return Verified(resolved, len(images) + 2, len(blobs), sum(blobs.values()))


def _image_here(resolved: Resolved, repository: Repository) -> oci.Manifest:
    if not resolved.index.is_index:
        return resolved.index
    entries = resolved.index.manifests
    machine = _MACHINES.get(platform.machine(), platform.machine())
    fitting = [each for each in entries if each.platform and each.platform.architecture == machine]
    for entry in (*fitting, *entries):
        return repository.manifest(entry.digest)
    raise IntegrityError(resolved.reference, "is an index of no images")


def read_config(image: oci.Manifest, repository: Repository) -> bytes:
    """An image's config, verified."""
    if image.config.size > _CONFIG_LIMIT:
        raise IntegrityError(image.config.digest, "the image's config is larger than 4 MiB")
    return b"".join(bytes(chunk) for chunk in repository.read_blob(image.config.digest, image.config.size))


def _config(image: oci.Manifest, repository: Repository) -> dict[str, Any]:
    return oci.read_json(read_config(image, repository), image.config.digest, "the image's config")


def _mapping(value: dict[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _fit(layers: Sequence[oci.Descriptor], diff_ids: list[Any]) -> bool:
    """Whether each plain layer is its diff_id; what a compressed one unpacks to is not looked at."""
    return len(layers) == len(diff_ids) and all(
        layer.media_type != oci.IMAGE_LAYER or layer.digest == diff_id
        for layer, diff_id in zip(layers, diff_ids, strict=True)
    )


def _model_path(config: dict[str, Any], resolved: Resolved) -> PurePosixPath:
    """Where the model lies in the image, relative to its root: what MODELPACK_SRC says."""
    for entry in _mapping(config, "config").get("Env") or ():
        name, _, value = str(entry).partition("=")
        if name == "MODELPACK_SRC" and re.match("/[^/]", value) and ".." not in PurePosixPath(value).parts:
            return PurePosixPath(value).relative_to("/")
    raise NotFoundError(resolved.reference, "its image does not say where the model is (MODELPACK_SRC)")


def _extract(repository: Repository, layers: tuple[oci.Descriptor, ...], root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for layer in layers:
        chunks: Iterator[memoryview] = repository.read_blob(layer.digest, layer.size)
        extract(chunks, root)
