"""Build and push: joins source, image and registry.

A model's layers are read once. `build` reads them to learn their digests and records where the files are; `push`
streams them from there; a build that pushes does both in one pass, since a digest is needed only to close an upload.
The order of a push is layers, configs, ModelPack manifest, images, index: a tag never names what is not all there.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import TypeVar

from modelpack import oci
from modelpack.definition import MODELPACK_SUFFIX, Copy, Definition
from modelpack.errors import InputError, IntegrityError, RemoteError
from modelpack.fetch import read_config
from modelpack.image import Base, ModelLayer, assemble, base_host_busybox, bases_from, bases_none, plan_layers
from modelpack.reference import Reference
from modelpack.registry import LayoutRepository, Repository, Via, open_repository
from modelpack.registry.archive import write_archive
from modelpack.registry.parallel import on_each
from modelpack.source import open_source
from modelpack.store import Record, Store

T = TypeVar("T")
Progress = Callable[[int], None]

LAYERS_AT_A_TIME = 4


@dataclass(frozen=True)
class Built:
    """What a build or push made. `size` is that of the model's layers in bytes."""

    reference: Reference
    model: str
    version: str
    model_digest: str
    size: int
    layers: int
    pushed: bool


def build(
    definition: Definition,
    version: str,
    *,
    reference: Reference,
    base: str,
    via: Via,
    store: Store,
    push: bool = False,
    outputs: Sequence[str] = (),
    annotations: Mapping[str, str] = MappingProxyType({}),
    progress: Progress = lambda count: None,
) -> Built:
    """Package one version: read the model once, and once more for each place it goes to after the first.

    `outputs` are `oci:DIR`, `tar:FILE` or `docker`. `annotations` go onto the image index. `progress` is told each
    number of bytes as they pass.
    """
    layouts = [spec for spec in outputs if spec.startswith("oci:") and spec != "oci:"]
    exports = [_export(spec) for spec in outputs if spec not in layouts]
    source = open_source(definition.source_of(version))
    files = source.files()
    layers = plan_layers(source, files, definition.copy.source)
    bases = load_bases(base, definition.copy, via)
    sinks: list[Repository] = [open_repository(reference, via)] if push else []
    sinks += [LayoutRepository(Path(spec[4:]), reference) for spec in layouts]
    learn = sinks[0].push_layer if sinks else _hash
    digests = [each.digest for each in _on_each(layers, learn, progress)]
    layers = _with_digests(layers, digests)
    artifact = assemble(
        name=definition.name,
        version=version,
        copy=definition.copy,
        layers=layers,
        bases=bases,
        annotations=annotations,
    )
    store.save(
        Record(
            reference=str(reference),
            model=definition.name,
            version=version,
            source=source.location,
            copy=definition.copy,
            base=_absolute(base),
            files=files,
            layers=tuple(digests),
            index_digest=artifact.index.digest,
            annotations=dict(annotations),
        )
    )
    for sink in sinks:
        _push(artifact, sink, reference.tag, progress)
    for export in exports:
        export(artifact, reference)
    return _built(artifact, reference, definition.name, version, layers, push)


def push(reference: Reference, *, via: Via, store: Store, progress: Progress = lambda count: None) -> Built:
    """Push what `build` recorded, streaming from the source."""
    record = store.load(reference)
    source = open_source(record.source)
    layers = plan_layers(source, record.files, record.copy.source)
    if len(layers) != len(record.layers):
        raise IntegrityError(reference, "was built by another version of modelpack", "build again")
    layers = _with_digests(layers, record.layers)
    bases = load_bases(record.base, record.copy, via)
    artifact = assemble(
        name=record.model,
        version=record.version,
        copy=record.copy,
        layers=layers,
        bases=bases,
        annotations=record.annotations,
    )
    if artifact.index.digest != record.index_digest:
        raise IntegrityError(reference, "the base, or modelpack itself, is not what it was at the build", "build again")
    _push(artifact, open_repository(reference, via), reference.tag, progress)
    return _built(artifact, reference, record.model, record.version, layers, True)


def load_bases(spec: str, copy: Copy, via: Via) -> tuple[Base, ...]:
    """What `--base` names: `none`, `host-busybox`, `oci:DIR[:TAG]`, or a reference pinned by digest."""
    if spec == "none":
        return bases_none()
    if spec == "host-busybox":
        return base_host_busybox(copy.source)
    if spec.startswith("oci:"):
        folder, _, tag = spec[4:].partition(":")
        layout = LayoutRepository(Path(folder))
        tags = layout.tags()
        repository: Repository = layout
        top = layout.manifest(tag or (tags[0] if len(tags) == 1 else "") or "latest")
    else:
        reference = Reference.parse(spec)
        if not reference.digest:
            raise InputError(
                spec, "the base is not pinned", "append its digest, as @sha256:…, so that a build can be repeated"
            )
        repository = open_repository(reference, via)
        top = repository.manifest(reference.digest)
    entries = [each for each in top.manifests if each.platform and each.platform.os == "linux"]
    images = [repository.manifest(each.digest) for each in entries] if top.is_index else [top]
    if not images:
        raise InputError(spec, "the base has no image for Linux")
    return bases_from([(each, read_config(each, repository)) for each in images], repository.read_blob, copy.source)


def _export(spec: str) -> Callable[[oci.Artifact, Reference], None]:
    """What writes an artifact to `docker` or `tar:FILE`; raises before a model is read for nothing."""
    if spec == "docker":
        from modelpack.registry import docker

        docker.connect().close()
        return docker.load
    if spec.startswith("tar:") and len(spec) > 4:
        path = Path(spec[4:])
        if path.is_dir():
            raise InputError(spec, "is a folder", "name a file in it")
        return partial(_write_archive, path)
    raise InputError(spec, "is not an output", "write oci:DIR, tar:FILE or docker")


def _write_archive(path: Path, artifact: oci.Artifact, reference: Reference) -> None:
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".modelpack-") as folder:
            whole = Path(folder) / "image.tar"
            with whole.open("wb") as file:
                write_archive(file, artifact, reference)
            whole.replace(path)
    except OSError as error:
        raise RemoteError(path, f"cannot be written: {error.strerror}", "make room and try again") from error


def _push(artifact: oci.Artifact, repository: Repository, tag: str, progress: Progress) -> None:
    _on_each((*artifact.layers, *artifact.configs), repository.push_layer, progress)
    repository.push_manifest(artifact.modelpack, tag + MODELPACK_SUFFIX)
    for image in artifact.images:
        repository.push_manifest(image)
    repository.push_manifest(artifact.index, tag)


def _absolute(base: str) -> str:
    """The base as it can be found from another working directory."""
    return f"oci:{Path(base[4:]).absolute()}" if base.startswith("oci:") else base


def _built(
    artifact: oci.Artifact, reference: Reference, model: str, version: str, layers: Sequence[ModelLayer], pushed: bool
) -> Built:
    return Built(
        reference=reference.at(tag=reference.tag, digest=artifact.index.digest),
        model=model,
        version=version,
        model_digest=artifact.model_digest,
        size=sum(layer.size for layer in layers),
        layers=len(layers),
        pushed=pushed,
    )


def _hash(layer: oci.Layer) -> oci.Descriptor:
    digest, size = hashlib.sha256(), 0
    for chunk in layer.chunks():
        digest.update(chunk)
        size += len(chunk)
    return oci.Descriptor(layer.media_type, f"sha256:{digest.hexdigest()}", size)


def _with_digests(layers: Sequence[ModelLayer], digests: Sequence[str]) -> tuple[ModelLayer, ...]:
    return tuple(layer.with_digest(digest) for layer, digest in zip(layers, digests, strict=True))


@dataclass(frozen=True)
class _Watched:
    """A layer whose bytes are counted as they pass, and that stops when another one failed."""

    layer: oci.Layer
    progress: Progress
    stop: Event

    @property
    def size(self) -> int:
        return self.layer.size

    @property
    def digest(self) -> str:
        return self.layer.digest

    @property
    def media_type(self) -> str:
        return self.layer.media_type

    def chunks(self) -> Iterator[memoryview]:
        for chunk in self.layer.chunks():
            if self.stop.is_set():
                raise RemoteError(self.layer.digest or "layer", "was given up, another one failed")
            yield chunk
            self.progress(len(chunk))


def _on_each(layers: Sequence[oci.Layer], work: Callable[[oci.Layer], T], progress: Progress) -> list[T]:
    """Do the work on several layers at a time, in order; the first error, or Ctrl-C, stops the others and is raised."""
    return on_each(layers, lambda layer, stop: work(_Watched(layer, progress, stop)), LAYERS_AT_A_TIME)
