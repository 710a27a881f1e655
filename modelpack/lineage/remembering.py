"""A repository that keeps what is called by its digest on this machine's disk: it never changes, and is asked for once.

Tags and lists of referrers are asked for each time. What is kept is checked against its digest whenever it is read, so
nothing there has to be trusted; a disk that is full or cannot be written keeps nothing, and nobody is told.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

from modelpack import oci
from modelpack.reference import Reference
from modelpack.registry import Repository
from modelpack.registry.content import MANIFEST_LIMIT, hexadecimal, read_manifest

MOST_BYTES = 64 << 20
"""Bytes that are kept; beyond them those that were not read for longest go."""
_LARGEST = 1 << 20  # bytes of one, the largest record
_EVERY = 256  # times that something is kept, the first included, before the folder is looked through


class Remembering:
    """Implements `registry.Repository` over another one."""

    def __init__(self, repository: Repository, folder: Path, most: int = MOST_BYTES) -> None:
        self._repository = repository
        self._folder = folder
        self._most = most
        self._kept = count()

    @property
    def reference(self) -> Reference:
        return self._repository.reference

    def has_blob(self, digest: str) -> bool:
        return self._repository.has_blob(digest)

    def push_layer(self, layer: oci.Layer) -> oci.Descriptor:
        return self._repository.push_layer(layer)

    def push_manifest(self, manifest: oci.Manifest, tag: str = "") -> None:
        self._repository.push_manifest(manifest, tag)

    def tags(self) -> tuple[str, ...]:
        return self._repository.tags()

    def referrers(self, digest: str, artifact_type: str = "") -> tuple[oci.Descriptor, ...]:
        return self._repository.referrers(digest, artifact_type)

    def attach(self, manifest: oci.Manifest) -> None:
        self._repository.attach(manifest)

    def manifest(self, locator: str) -> oci.Manifest:
        if not oci.is_digest(locator):
            return self._repository.manifest(locator)
        raw = self._once(locator, lambda: self._repository.manifest(locator).raw)
        return read_manifest(raw, self.reference.at(digest=locator), locator)

    def read_blob(self, digest: str, size: int) -> Iterator[memoryview]:
        if size > _LARGEST:
            yield from self._repository.read_blob(digest, size)
        else:
            yield memoryview(self._once(digest, lambda: b"".join(map(bytes, self._repository.read_blob(digest, size)))))

    def _once(self, digest: str, ask: Callable[[], bytes]) -> bytes:
        path = self._folder / hexadecimal(digest)
        with suppress(OSError):
            with path.open("rb") as file:
                data = file.read(MANIFEST_LIMIT + 1)
            if oci.digest_of(data) == digest:
                os.utime(path)
                return data
        data = ask()
        if len(data) <= _LARGEST:
            with suppress(OSError):
                self._keep(path, data)
        return data

    def _keep(self, path: Path, data: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if next(self._kept) % _EVERY == 0:
            self._make_room()
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            try:
                file.write(data)
                file.close()
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise

    def _make_room(self) -> None:
        """Remove the oldest beyond the limit, and a quarter more; what another process removes meanwhile is gone."""
        found = []
        for each in os.scandir(self._folder):
            with suppress(OSError):
                stat = each.stat(follow_symlinks=False)
                found.append((stat.st_mtime, stat.st_size, each.path))
        size = sum(each[1] for each in found)
        if size <= self._most:
            return
        for _, bytes_there, path in sorted(found):
            with suppress(OSError):
                Path(path).unlink()
            size -= bytes_there
            if size <= self._most * 3 // 4:
                return
