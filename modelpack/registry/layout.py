"""A repository as an OCI image layout: a folder on disk.

Source: OCI image specification 1.1, image-layout.md. Tags are the `org.opencontainers.image.ref.name` of index.json,
which is locked while it changes and replaced by rename. Blobs are written beside their place, hashed on the way, synced
and renamed, so a reader sees all of a blob or none of it.

Caveats: the lock is a file beside index.json that other tools don't know; they should not write here at the same time.
A blob of the right size is taken for whole: `modelpack verify` reads it, and `modelpack build --push` writes it anew.
"""

from __future__ import annotations

import errno
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import Any

from modelpack import oci
from modelpack.errors import IntegrityError, NotFoundError, RemoteError
from modelpack.reference import Reference
from modelpack.registry import referrers
from modelpack.registry.content import CHUNK, MANIFEST_LIMIT, Tally, hexadecimal, read_manifest

LAYOUT_FILE = oci.canonical_json({"imageLayoutVersion": "1.0.0"})
LOCK_TIMEOUT = 60.0
"""Seconds to wait for another process that changes the same index.json; a change takes milliseconds."""

_TICK = 2.0
"""Seconds within which some file systems give two changes the same time."""

_State = tuple[int, int, int]
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class LayoutRepository:
    """Implements `registry.Repository`. Touches no disk before it is asked something; a write makes the folder."""

    def __init__(self, path: Path, reference: Reference | None = None) -> None:
        self.path = path
        self.reference = reference.at() if reference else Reference("localhost", "layout")
        self._known: tuple[_State, tuple[dict[str, Any], tuple[oci.Descriptor, ...]]] | None = None

    def has_blob(self, digest: str) -> bool:
        return self._size(digest) is not None

    def push_layer(self, layer: oci.Layer) -> oci.Descriptor:
        digest = layer.digest
        if not digest or self._size(digest) != layer.size:
            tally = Tally(digest or self.path, layer.size, digest)
            digest = self._store(tally.through(layer.chunks()), tally)
        return oci.Descriptor(layer.media_type, digest, layer.size)

    def push_manifest(self, manifest: oci.Manifest, tag: str = "") -> None:
        parts = manifest.manifests if manifest.is_index else (manifest.config, *manifest.layers)
        for part in parts:
            if not self.has_blob(part.digest):
                raise IntegrityError(
                    self.path, f"{part.digest} is not there, and the manifest {tag or 'to store'} needs it"
                )
        self.push_layer(oci.Blob(manifest.raw, manifest.media_type))
        if tag:
            with self._locked():
                self._name(manifest, tag)

    def tags(self) -> tuple[str, ...]:
        names = (each.annotations.get(oci.ANNOTATION_REF_NAME, "") for each in self._entries())
        return tuple(dict.fromkeys(_tag_of(each) for each in names if each))

    def referrers(self, digest: str, artifact_type: str = "") -> tuple[oci.Descriptor, ...]:
        index = self._list_of_referrers(referrers.fallback_tag(digest))
        return referrers.of_type(referrers.listed(index) if index else (), artifact_type)

    def attach(self, manifest: oci.Manifest) -> None:
        tag = referrers.fallback_tag(referrers.subject_of(manifest).digest)
        self.push_manifest(manifest)
        with self._locked():
            changed = referrers.with_referrer(self._list_of_referrers(tag), manifest)
            if changed:
                self.push_layer(oci.Blob(changed.raw, changed.media_type))
                self._name(changed, tag)

    def _list_of_referrers(self, tag: str) -> oci.Manifest | None:
        try:
            return self.manifest(tag)
        except NotFoundError:
            return None

    def manifest(self, locator: str) -> oci.Manifest:
        found = oci.Descriptor("", locator, 0) if oci.is_digest(locator) else self._tagged(locator)
        try:
            with self._blob(found.digest).open("rb") as file:
                raw = file.read(MANIFEST_LIMIT + 1)
        except FileNotFoundError as error:
            raise NotFoundError(
                self.path, f"the image layout has no {locator}", "check the name and the tag"
            ) from error
        except OSError as error:
            raise _disk_error(self.path, "read", error) from error
        return read_manifest(raw, self.path, found.digest, found.media_type)

    def read_blob(self, digest: str, size: int) -> Iterator[memoryview]:
        return Tally(self._blob(digest), size, digest).through(self._pieces(self._blob(digest)))

    def _pieces(self, path: Path) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(CHUNK))
        try:
            with path.open("rb", buffering=0) as file:
                while count := file.readinto(buffer):
                    yield buffer[:count]
        except FileNotFoundError as error:
            raise NotFoundError(path, "the image layout does not have this blob") from error
        except OSError as error:
            raise _disk_error(path, "read", error) from error

    def _blob(self, digest: str) -> Path:
        return self.path / "blobs" / "sha256" / hexadecimal(digest)

    def _size(self, digest: str) -> int | None:
        """A blob's size, None if it is not there."""
        with _disk(self.path, "read"):
            try:
                return self._blob(digest).stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                return None

    def _store(self, pieces: Iterable[memoryview], tally: Tally) -> str:
        """Write a blob; its name is the tally's digest, known once the pieces have passed."""
        with _disk(self.path):
            marked = (self.path / "oci-layout").exists()
        if not marked:
            _write(self.path, [memoryview(LAYOUT_FILE)], lambda: "oci-layout")
        _write(self.path / "blobs" / "sha256", pieces, lambda: hexadecimal(tally.digest))
        return tally.digest

    def _index(self) -> tuple[dict[str, Any], tuple[oci.Descriptor, ...]] | None:
        """What index.json says, and its entries; None where there is none.

        One that lies untouched is read once: with many versions, reading it for each tag is what takes long.
        """
        file = self.path / "index.json"
        try:
            known = self._known
            if known and known[0] == _state_of(file.stat()):
                return known[1]
            with file.open("rb") as opened:
                stat = os.fstat(opened.fileno())
                raw = opened.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _disk_error(file, "read", error) from error
        try:
            index = oci.read_json(raw, file, "it")
            found = index, tuple(oci.Descriptor.from_json(each) for each in index["manifests"])
        except (IntegrityError, *oci.NOT_A_DESCRIPTOR) as error:
            raise IntegrityError(file, "is not the index of an image layout") from error
        # two changes within a clock's tick look alike: what is younger than that is read again
        settled = abs(time.time() - stat.st_mtime) > _TICK
        self._known = (_state_of(stat), found) if settled else None
        return found

    def _entries(self) -> tuple[oci.Descriptor, ...]:
        found = self._index()
        if found is None:
            raise NotFoundError(self.path, "there is no image layout", "check the folder and the via rules")
        return found[1]

    def _tagged(self, tag: str) -> oci.Descriptor:
        """A tag's entry. Some tools write the full reference as the name; a lone entry without a name is `latest`."""
        entries = self._entries()
        for each in entries:
            name = each.annotations.get(oci.ANNOTATION_REF_NAME, "")
            if name == tag or name.endswith(f":{tag}"):
                return each
        if tag == "latest" and len(entries) == 1 and oci.ANNOTATION_REF_NAME not in entries[0].annotations:
            return entries[0]
        raise NotFoundError(self.path, f"the image layout has no tag {tag}", "check the name and the tag")

    def _name(self, manifest: oci.Manifest, tag: str) -> None:
        """Give a manifest a tag. The index is locked."""
        entry = replace(
            manifest.descriptor,
            annotations={oci.ANNOTATION_REF_NAME: tag},
            artifact_type="" if manifest.is_index else manifest.artifact_type,
        )
        self._known = None  # what is written is made of what lies there now
        found = self._index()
        index: dict[str, Any] = (
            found[0] if found else {"schemaVersion": 2, "mediaType": oci.IMAGE_INDEX, "manifests": []}
        )
        others = [each for each in index["manifests"] if _name(each) != tag]
        value = {**index, "manifests": [*others, entry.to_json()]}
        _write(self.path, [memoryview(oci.canonical_json(value))], lambda: "index.json")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keeps the other writers of this layout away."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / "index.json.lock", timeout=LOCK_TIMEOUT)
        try:
            lock.acquire()
        except Timeout as error:
            raise RemoteError(
                self.path, "another process keeps the index locked", "wait for it, then try again"
            ) from error
        except OSError as error:
            raise _disk_error(self.path, "written", error) from error
        try:
            yield
        finally:
            lock.release()


def _state_of(stat: os.stat_result) -> _State:
    """What tells a file from the one that it replaced."""
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _tag_of(name: str) -> str:
    """The tag in an entry's name. Some tools write the full reference."""
    return name.rpartition(":")[2] if "/" in name else name


def _name(entry: Any) -> str:
    return oci.Descriptor.from_json(entry).annotations.get(oci.ANNOTATION_REF_NAME, "")


def _write(folder: Path, pieces: Iterable[memoryview], name: Callable[[], str]) -> None:
    """Write a file beside its place, sync it, and give it its name; on any failure nothing is left of it."""
    partial = folder / f".{uuid.uuid4().hex}.partial"
    try:
        with _disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            file = partial.open("xb", buffering=0)
        with file:
            for piece in pieces:
                with _disk(folder):
                    _write_all(file, piece)
            with _disk(folder):
                os.fsync(file.fileno())
        with _disk(folder):
            partial.replace(folder / name())
    finally:
        with suppress(OSError):
            partial.unlink()


def _write_all(file: FileIO, piece: memoryview) -> None:
    while piece:
        piece = piece[file.write(piece) :]


@contextmanager
def _disk(path: Path, doing: str = "written") -> Iterator[None]:
    """Errors of this disk in words; those of the source that is read meanwhile are not touched."""
    try:
        yield
    except OSError as error:
        raise _disk_error(path, doing, error) from error


def _disk_error(path: Path, doing: str, error: OSError) -> RemoteError:
    if error.errno in _NO_ROOM:
        return RemoteError(path, "the disk is full", "make room, then run the same command again")
    return RemoteError(path, f"cannot be {doing}: {error.strerror}")
