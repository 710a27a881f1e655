"""OCI values: digests, descriptors, manifests, layers. Immutable; the raw bytes are the truth, parsed on demand.

Sources: OCI image specification 1.1 (descriptor.md, manifest.md, image-index.md), CNCF ModelPack model specification.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Protocol

from modelpack.errors import IntegrityError

IMAGE_INDEX = "application/vnd.oci.image.index.v1+json"
IMAGE_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
IMAGE_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MODEL_MANIFEST = "application/vnd.cncf.model.manifest.v1+json"
MODEL_CONFIG = "application/vnd.cncf.model.config.v1+json"
MODEL_LAYER = "application/vnd.cncf.model.weight.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"

ANNOTATION_MODEL_DIGEST = "dev.modelpack.model.digest"
ANNOTATION_MODEL_NAME = "dev.modelpack.model.name"
ANNOTATION_METRICS = "dev.modelpack.metrics"
ANNOTATION_LINEAGE = "dev.modelpack.lineage."  # and a key
ANNOTATION_VERSION = "org.opencontainers.image.version"
ANNOTATION_REF_NAME = "org.opencontainers.image.ref.name"

INDEX_TYPES = frozenset({IMAGE_INDEX, DOCKER_INDEX})
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Whether this is a digest as modelpack writes and follows them: sha256 alone."""
    return _DIGEST.fullmatch(text) is not None


def digest_of(data: bytes | memoryview) -> str:
    """The digest `sha256:…` of some bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def canonical_json(value: Any) -> bytes:
    """JSON whose bytes depend on the value alone: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read_json(data: bytes, subject: object, what: str) -> dict[str, Any]:
    """The JSON object that somebody else wrote; raises IntegrityError for what is none. `what` names it."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(subject, f"{what} is not JSON") from error
    if not isinstance(value, dict):
        raise IntegrityError(subject, f"{what} is not a JSON object")
    return value


@dataclass(frozen=True)
class Platform:
    """An image's platform in Go's words, e.g. linux/amd64."""

    os: str
    architecture: str
    variant: str = ""

    def to_json(self) -> dict[str, str]:
        value = {"os": self.os, "architecture": self.architecture}
        return value | ({"variant": self.variant} if self.variant else {})

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True)
class Descriptor:
    """Points at a blob or manifest. `size` is in bytes; `data` are the very bytes where they are small enough to travel
    with it, b"" where they have to be read."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    platform: Platform | None = None
    artifact_type: str = ""
    data: bytes = b""

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        if self.platform:
            value["platform"] = self.platform.to_json()
        if self.data:
            value["data"] = base64.b64encode(self.data).decode()
        return value

    @classmethod
    def from_json(cls, value: Any) -> Descriptor:
        """Raises one of NOT_A_DESCRIPTOR for what is none; `Manifest` turns that into an IntegrityError."""
        platform, digest, size = value.get("platform"), str(value["digest"]), value["size"]
        if not is_digest(digest) or type(size) is not int or size < 0:
            raise ValueError(digest)  # followed as it is, a tag in the place of a digest would go unverified
        data = base64.b64decode(value.get("data") or b"", validate=True)
        if data and digest_of(data) != digest:
            raise ValueError(digest)
        return cls(
            media_type=str(value["mediaType"]),
            digest=digest,
            size=size,
            annotations=MappingProxyType({str(k): str(v) for k, v in (value.get("annotations") or {}).items()}),
            platform=Platform(platform["os"], platform["architecture"], platform.get("variant", ""))
            if platform
            else None,
            artifact_type=str(value.get("artifactType") or ""),
            data=data,
        )


NOT_A_DESCRIPTOR = (KeyError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class Manifest:
    """An image manifest, ModelPack manifest or index, as the bytes that its digest is of."""

    raw: bytes
    media_type: str

    @cached_property
    def digest(self) -> str:
        return digest_of(self.raw)

    @cached_property
    def _parsed(self) -> dict[str, Any]:
        return read_json(self.raw, self.digest, "the manifest")

    def _descriptors(self, key: str) -> tuple[Descriptor, ...]:
        try:
            return tuple(Descriptor.from_json(each) for each in self._parsed.get(key) or ())
        except NOT_A_DESCRIPTOR as error:
            raise IntegrityError(self.digest, f"the manifest's {key} are not descriptors") from error

    @property
    def is_index(self) -> bool:
        return self.media_type in INDEX_TYPES

    @property
    def artifact_type(self) -> str:
        return str(self._parsed.get("artifactType", ""))

    @cached_property
    def annotations(self) -> Mapping[str, str]:
        value = self._parsed.get("annotations") or {}
        if not isinstance(value, dict):
            raise IntegrityError(self.digest, "the manifest's annotations are not a JSON object")
        return MappingProxyType({str(k): str(v) for k, v in value.items()})

    @cached_property
    def config(self) -> Descriptor:
        """The config's descriptor; raises IntegrityError for an index."""
        try:
            return Descriptor.from_json(self._parsed["config"])
        except NOT_A_DESCRIPTOR as error:
            raise IntegrityError(self.digest, "the manifest has no config") from error

    @cached_property
    def layers(self) -> tuple[Descriptor, ...]:
        return self._descriptors("layers")

    @cached_property
    def subject(self) -> Descriptor | None:
        """What this refers to, None for most; raises IntegrityError for a subject that is no descriptor."""
        try:
            value = self._parsed.get("subject")
            return Descriptor.from_json(value) if value is not None else None
        except NOT_A_DESCRIPTOR as error:
            raise IntegrityError(self.digest, "the manifest's subject is not a descriptor") from error

    @cached_property
    def manifests(self) -> tuple[Descriptor, ...]:
        """What an index lists."""
        return self._descriptors("manifests")

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, self.digest, len(self.raw))


class Layer(Protocol):
    """A blob that can be streamed, whose size is known beforehand and whose digest may not be.

    The registry room sends it, the image room makes it.
    """

    @property
    def size(self) -> int:
        """Exact length in bytes, known before a byte is read."""

    @property
    def digest(self) -> str:
        """`sha256:…`, or "" while nobody has hashed the bytes yet: whoever streams them learns it."""

    @property
    def media_type(self) -> str: ...

    def chunks(self) -> Iterator[memoryview]:
        """The bytes in order, each piece valid until the next is asked for; may be called again to start over.

        Raises SourceChangedError when the model's files are not what they were.
        """


@dataclass(frozen=True)
class Blob:
    """A layer or config that is small enough to be held in memory."""

    data: bytes
    media_type: str

    @property
    def size(self) -> int:
        return len(self.data)

    @cached_property
    def digest(self) -> str:
        return digest_of(self.data)

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, self.digest, self.size)

    def chunks(self) -> Iterator[memoryview]:
        yield memoryview(self.data)


@dataclass(frozen=True)
class Artifact:
    """Everything a tag stands for, ready to be pushed in this order: layers, then configs, then manifests.

    `layers` stream (model layers first, then base layers, then the copier), `configs` are small, `manifests` are in the
    order in which they may be published: the ModelPack manifest, the images, and last the index.
    """

    layers: tuple[Layer, ...]
    configs: tuple[Blob, ...]
    modelpack: Manifest
    images: tuple[Manifest, ...]
    index: Manifest

    @property
    def model_digest(self) -> str:
        return self.modelpack.digest
