"""Content addressing: what every place that keeps blobs has to check, whichever way the bytes came."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from modelpack.errors import IntegrityError
from modelpack.oci import IMAGE_INDEX, IMAGE_MANIFEST, Manifest, digest_of, is_digest, read_json

CHUNK = 1 << 20
"""Bytes read, hashed and sent at a time: large enough that system calls do not count, small enough for the cache."""

MANIFEST_LIMIT = 4 << 20
"""Bytes of the largest manifest that is read (the distribution specification asks registries for at least this)."""


def hexadecimal(digest: str) -> str:
    """The 64 digits of a digest. Refuses what is none, so that a foreign manifest cannot name a path with it."""
    if not is_digest(digest):
        raise IntegrityError(digest[:100], "is not a sha256 digest")
    return digest.removeprefix("sha256:")


class Tally:
    """Counts and hashes pieces on their way through.

    A wrong byte is noticed before the last piece is handed on, so nobody downstream ever has the whole of a wrong blob.
    """

    def __init__(self, subject: object, size: int, digest: str = "") -> None:
        self._subject = subject
        self._size = size
        self._expected = digest
        self._hash = hashlib.sha256()
        self._count = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def through(self, pieces: Iterable[memoryview]) -> Iterator[memoryview]:
        """The same pieces; raises IntegrityError where they are more, fewer or others than promised."""
        for piece in pieces:
            self._count += len(piece)
            if self._count > self._size:
                raise IntegrityError(self._subject, f"holds more than the {self._size} bytes it should have")
            self._hash.update(piece)
            if self._count == self._size:
                self._check()
            yield piece
        if self._count != self._size:
            raise IntegrityError(self._subject, f"ends after {self._count} of {self._size} bytes")
        self._check()

    def _check(self) -> None:
        if self._expected and self.digest != self._expected:
            raise IntegrityError(self._subject, f"the bytes have the digest {self.digest}, not {self._expected}")


def read_manifest(raw: bytes, subject: object, digest: str = "", media_type: str = "") -> Manifest:
    """A manifest from the bytes that somebody gave; the media type is taken from them if nobody told a useful one."""
    if len(raw) > MANIFEST_LIMIT:
        raise IntegrityError(subject, f"the manifest is larger than {MANIFEST_LIMIT >> 20} MiB")
    if digest and digest_of(raw) != digest:
        raise IntegrityError(subject, f"the manifest has the digest {digest_of(raw)}, not {digest}")
    value = read_json(raw, subject, "the manifest")
    stated = str(value.get("mediaType") or (IMAGE_INDEX if "manifests" in value else IMAGE_MANIFEST))
    return Manifest(raw, media_type if "manifest" in media_type or "index" in media_type else stated)
