"""Where images live: a remote registry, an image layout on disk, a tar file, a Docker daemon.

In come `oci.Layer`s that stream and `oci.Manifest`s that are bytes; out come the same, checked against their digests.
`open_repository` gives the repository that a reference names: over HTTP, or from disk where a `Via` rule says so.
`archive.write_archive` and `docker.load` only write. Nothing here looks into a layer, and nothing keeps one in memory.

Not here yet: mounts across repositories, credential helpers, resuming an upload, chunked uploads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from modelpack.oci import Descriptor, Layer, Manifest
from modelpack.reference import Reference
from modelpack.registry.layout import LayoutRepository
from modelpack.registry.via import Via

__all__ = ["LayoutRepository", "Repository", "Via", "open_repository"]


class Repository(Protocol):
    """One repository. Safe to use from several threads at a time.

    Implemented by `remote.RemoteRepository` and `layout.LayoutRepository`. Each method may raise RemoteError.
    """

    @property
    def reference(self) -> Reference:
        """The registry and repository that it stands for."""

    def has_blob(self, digest: str) -> bool: ...

    def push_layer(self, layer: Layer) -> Descriptor:
        """Store a layer or config in one pass over its bytes, none at all if its digest is known and already there.

        Gives the descriptor with the real digest. Raises IntegrityError when the bytes are not what the layer said.
        """

    def push_manifest(self, manifest: Manifest, tag: str = "") -> None:
        """Store a manifest whose blobs are all there, by its digest or under a tag."""

    def tags(self) -> tuple[str, ...]:
        """The repository's tags; raises NotFoundError if there is no such repository."""

    def referrers(self, digest: str, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """What refers to a manifest, of one type if that is given; nothing where nothing is known.

        Their annotations are what the registry says of them: a descriptor's manifest has to be read to be sure.
        """

    def attach(self, manifest: Manifest) -> None:
        """Store a manifest that has a subject, and whose blobs are all there, so that `referrers` lists it.

        Where the registry keeps no such list the tag `sha256-<hex>` does, and of two that write it at a time none is
        lost, as long as both look again: a registry cannot be told to replace only what was read.
        """

    def manifest(self, locator: str) -> Manifest:
        """The manifest of a tag or digest, verified; raises NotFoundError."""

    def read_blob(self, digest: str, size: int) -> Iterator[memoryview]:
        """A blob's bytes, each piece valid until the next is asked for.

        Never more than `size`, and the last piece only when all of them match the digest; else raises IntegrityError.
        """


def open_repository(reference: Reference, via: Via) -> Repository:
    """The repository of a reference. Opens no connection and touches no disk yet."""
    path = via.path_of(reference)
    if path is not None:
        return LayoutRepository(path, reference)
    from modelpack.registry.remote import RemoteRepository

    return RemoteRepository(reference)
