"""Where a remote's objects lie: a folder, or a prefix of a bucket. Bytes pass in pieces; none is kept in memory whole.

Credentials are what every AWS client reads; endpoint and region may be given. No message holds either.
"""

from __future__ import annotations

import io
import mimetypes
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from modelpack.data.writing import failed, write_file
from modelpack.errors import InputError, NotFoundError, RefusedError
from modelpack.files import File
from modelpack.source.s3 import S3Source, connect, errors

PIECE = 1 << 20
_PARTS = 9000  # S3 takes 10,000 a file
_LEAST_PART = 8 << 20
_UPLOADS = 4  # parts on their way at a time, each of them in memory


class Objects(Protocol):
    """Objects by path. Every method may raise RemoteError, and RefusedError where access is."""

    place: str

    def size(self, path: str) -> int | None:
        """An object's size in bytes, None if there is none. Raises NotFoundError if the bucket is not there."""

    def read(self, path: str, size: int) -> Iterator[memoryview]:
        """An object's `size` bytes, in pieces of at most 1 MiB, each valid until the next is asked for."""

    def write(self, path: str, size: int, pieces: Iterable[memoryview]) -> None:
        """Put an object in place, whole or not at all; what `pieces` raises is raised."""


def open_objects(location: str, endpoint: str = "", region: str = "") -> Objects:
    """The objects below `s3://bucket/prefix` or below a folder. Raises InputError for another kind of location."""
    scheme, separator, rest = location.partition("://")
    if not separator:
        return Folder(Path(location))
    if scheme != "s3":
        remedy = "use s3://bucket/prefix or a folder"
        raise InputError(f"{scheme}://…", "is no place for objects that is known here", remedy)
    if "@" in rest.partition("/")[0]:
        raise InputError("s3://…", "holds a login", "logins go into the environment")
    if endpoint and (not _is_http(endpoint) or "@" in endpoint):
        raise InputError(location, "its endpoint is no address like https://HOST", "logins go into the environment")
    return Bucket(location, endpoint, region)


def _is_http(address: str) -> bool:
    try:
        return urlsplit(address).scheme in ("http", "https")
    except ValueError:  # as of brackets that nothing closes
        return False


class Folder:
    """Objects as files below a folder, which need not be there yet."""

    def __init__(self, root: Path) -> None:
        self.place = str(root)
        self._root = root

    def size(self, path: str) -> int | None:
        try:
            return (self._root / path).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise failed(self._root / path, "read", error) from error

    def read(self, path: str, size: int) -> Iterator[memoryview]:
        try:
            with (self._root / path).open("rb") as file:
                while piece := file.read(PIECE):
                    yield memoryview(piece)
        except OSError as error:
            raise failed(self._root / path, "read", error) from error

    def write(self, path: str, size: int, pieces: Iterable[memoryview]) -> None:
        write_file(self._root / path, size, pieces)


class Bucket:
    """Objects of a bucket, below a prefix. `client` is a boto3 S3 client; without one it is made."""

    def __init__(self, location: str, endpoint: str = "", region: str = "", client: Any = None) -> None:
        self._client = client or connect(location, endpoint, region)
        self._source = S3Source(location, self._client)
        self.place = self._source.location
        self._bucket, _, prefix = self.place.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""

    def size(self, path: str) -> int | None:
        try:
            with errors(f"{self.place}/{path}", self.place):
                head = self._client.head_object(Bucket=self._bucket, Key=self._prefix + path)
        except NotFoundError:
            # a HEAD's answer does not say whether it is the bucket that is missing; whoever may not list, is not told
            with suppress(RefusedError), errors(self.place, self.place):
                self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix + path, MaxKeys=1)
            return None
        return int(head["ContentLength"])

    def read(self, path: str, size: int) -> Iterator[memoryview]:
        return self._source.read(File(path, size=size))  # which goes on where a body breaks off

    def write(self, path: str, size: int, pieces: Iterable[memoryview]) -> None:
        from boto3.exceptions import S3UploadFailedError
        from boto3.s3.transfer import TransferConfig
        from botocore.exceptions import ClientError

        part = max(_LEAST_PART, size // _PARTS + 1)
        config = TransferConfig(multipart_threshold=part, multipart_chunksize=part, max_concurrency=_UPLOADS)
        config.max_in_memory_upload_chunks = _UPLOADS  # ten otherwise, whatever is on its way; no argument sets it
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        body = io.BufferedReader(_Stream(iter(pieces)), PIECE)
        try:
            with errors(f"{self.place}/{path}", self.place):
                self._client.upload_fileobj(
                    body, self._bucket, self._prefix + path, ExtraArgs={"ContentType": kind}, Config=config
                )
        except S3UploadFailedError as error:  # it hides the answer that it comes from
            with errors(f"{self.place}/{path}", self.place):
                raise error.__context__ if isinstance(error.__context__, ClientError) else error from None


class _Stream(io.RawIOBase):
    """Pieces as a file that can be read once, which is what boto3 takes."""

    def __init__(self, pieces: Iterator[memoryview]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = next(self._pieces, memoryview(b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
