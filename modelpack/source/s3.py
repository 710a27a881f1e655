"""A model in S3: a prefix as a folder, or one object as a model of one file. Objects are streamed, never stored.

Credentials, region and endpoint are what every AWS client reads (`AWS_ENDPOINT_URL`, profiles, roles). S3 keeps neither
executable bits nor links, so there are none. A stamp is the object's ETag, and every read carries it as `If-Match`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from modelpack.errors import InputError, ModelpackError, NotFoundError, RefusedError, RemoteError, SourceChangedError
from modelpack.files import File

_PIECE = 1 << 20
_RESUMES = 5  # botocore repeats a request, but not a body that breaks off
_CONNECT_SECONDS, _READ_SECONDS = 10, 60
_CONNECTIONS = 32
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_ABSENT = frozenset({"NoSuchKey", "NotFound", "404"})
_CHANGED = frozenset({"PreconditionFailed", "412"})
_AT_REST = "try again when it is at rest"


class S3Source:
    """`s3://bucket/prefix`. Several threads may read at a time.

    `client` is a boto3 S3 client; without one it is made from the environment. Raises InputError for a location that is
    none, and where boto3 is not installed.
    """

    def __init__(self, location: str, client: Any = None) -> None:
        self._bucket, _, prefix = location.removeprefix("s3://").partition("/")
        self._prefix = prefix.removesuffix("/")
        if not _BUCKET.fullmatch(self._bucket):
            raise InputError(location, f"{self._bucket!r} is not a bucket's name", "write s3://bucket/prefix")
        if self._prefix and (problem := _problem(self._prefix)):
            raise InputError(location, problem, "write s3://bucket/prefix")
        self._client = client or connect(self.location)

    @property
    def location(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".removesuffix("/")

    def files(self) -> tuple[File, ...]:
        """Every object, and the folders that their keys imply, sorted.

        Raises NotFoundError, InputError (empty, no credentials), RefusedError (unsafe names, no access), RemoteError.
        """
        files: dict[str, File] = {}
        folders: set[str] = set()
        for file in self._listed() if self._is_folder else [self._single()]:
            folders.update(str(parent) for parent in PurePosixPath(file.path).parents)
            if file.kind == "folder":
                folders.add(file.path)
            else:
                files[file.path] = file
        folders.discard(".")
        if not files:
            raise InputError(self.location, "holds no file, so there is no model in it")
        if both := sorted(files.keys() & folders):
            raise RefusedError(self._url(both[0]), "is both an object and a folder", "rename one of them")
        every = [*files.values(), *(File(path, "folder") for path in folders)]
        return tuple(sorted(every, key=lambda file: file.path.encode()))

    def read(self, file: File) -> Iterator[memoryview]:
        """The object's bytes, if it is still the one that was listed; a body that breaks off is resumed where it did.

        Without a stamp only the size is held to: the caller knows the digest and judges by that. Raises
        SourceChangedError, and RemoteError when it breaks off again and again.
        """
        from botocore.exceptions import BotoCoreError
        from urllib3.exceptions import HTTPError

        etag, offset = file.stamp, 0
        cause: Exception | None = None
        for _ in range(1 + _RESUMES):
            answer = self._open(file, etag, offset)
            etag = etag or answer.get("ETag", "")
            with closing(answer["Body"]) as body:
                try:
                    while piece := body.read(_PIECE):
                        offset += len(piece)
                        yield memoryview(piece)
                except (BotoCoreError, HTTPError, OSError) as error:
                    cause = error
            if offset == file.size:
                return
        problem = f"broke off {_RESUMES + 1} times, the last time at byte {offset} of {file.size}"
        raise RemoteError(self._url(file.path), problem, "try again") from cause

    def stamp(self, file: File) -> str:
        try:
            with self._errors(file.path):
                return str(self._client.head_object(Bucket=self._bucket, Key=self._key(file.path))["ETag"])
        except NotFoundError:
            return ""

    def _open(self, file: File, etag: str, offset: int) -> Any:
        """Open the object at `offset`. Raises SourceChangedError unless it is the one with this ETag and size."""
        options = {"IfMatch": etag} if etag else {}
        if offset:
            options["Range"] = f"bytes={offset}-"
        try:
            with self._errors(file.path):
                answer = self._client.get_object(Bucket=self._bucket, Key=self._key(file.path), **options)
        except NotFoundError as error:
            raise SourceChangedError(self._url(file.path), "is gone", _AT_REST) from error
        part = f"bytes {offset}-{file.size - 1}/{file.size}" if offset else None
        if answer["ContentLength"] == file.size - offset and answer.get("ContentRange") == part:
            return answer
        answer["Body"].close()
        if offset:
            raise RemoteError(self._url(file.path), f"broke off at byte {offset} and cannot be resumed", "try again")
        raise SourceChangedError(self._url(file.path), f"is no longer an object of {file.size} bytes", _AT_REST)

    @property
    def is_object(self) -> bool:
        """Whether the location is one object's."""
        return not self._is_folder

    @cached_property
    def _is_folder(self) -> bool:
        """Whether keys start with the prefix and a slash; else the prefix is an object's key."""
        if not self._prefix:
            return True
        with self._errors():
            return "Contents" in self._client.list_objects_v2(Bucket=self._bucket, Prefix=f"{self._prefix}/", MaxKeys=1)

    def _listed(self) -> Iterator[File]:
        with self._errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._key(""))
            for page in pages:
                for each in page.get("Contents", ()):
                    path = each["Key"].removeprefix(self._key(""))
                    if path:  # else the marker of the prefix itself
                        yield self._entry(path, each)

    def _entry(self, path: str, listed: Any) -> File:
        marker = path.endswith("/") and not listed["Size"]
        path = path.removesuffix("/") if marker else path
        if problem := _problem(path):
            raise RefusedError(ascii(self._url(path)), problem, "rename the object")
        return File(path, "folder") if marker else File(path, size=listed["Size"], stamp=listed["ETag"])

    def _single(self) -> File:
        try:
            with self._errors():
                head = self._client.head_object(Bucket=self._bucket, Key=self._prefix)
        except NotFoundError as error:
            raise NotFoundError(self.location, "there is no such object, and nothing below it") from error
        return File(PurePosixPath(self._prefix).name, size=head["ContentLength"], stamp=head["ETag"])

    def _key(self, path: str) -> str:
        folder = self._prefix if self._is_folder else self._prefix.rpartition("/")[0]
        return f"{folder}/{path}" if folder else path

    def _url(self, path: str) -> str:
        return f"s3://{self._bucket}/{self._key(path)}"

    @contextmanager
    def _errors(self, path: str = "") -> Iterator[None]:
        with errors(self._url(path) if path else self.location, self.location):
            yield


@contextmanager
def errors(subject: str, location: str) -> Iterator[None]:
    """Turn what boto3 raises into one sentence about the object `subject`, or about the whole location."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _answered(subject, error.response) from error
    except BotoCoreError as error:
        raise _unanswered(location, error) from error


def _problem(path: str) -> str:
    """What is wrong with a path, "" if nothing."""
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "has an empty, . or .. part in its name"
    if any(unicodedata.category(character) == "Cc" for character in path):
        return "has a control character in its name"
    return ""


def connect(location: str, endpoint: str = "", region: str = "") -> Any:
    """A boto3 S3 client; where `endpoint` and `region` are "", the environment says them, as it says the credentials.

    Raises InputError where boto3 is missing, or the settings do not do.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise InputError(location, "reading S3 needs boto3", "pip install 'modelpack-delivery[s3]'") from error
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        max_pool_connections=_CONNECTIONS,
        # the digest of the layer is computed over the same bytes anyway; a CRC in Python would halve the speed
        response_checksum_validation="when_required",
        request_checksum_calculation="when_required",  # many S3 servers do not know the trailers of the other way
    )
    where = {key: value for key, value in (("endpoint_url", endpoint), ("region_name", region)) if value}
    try:
        # the default session is not for several threads
        return boto3.session.Session().client("s3", config=config, **where)
    except (BotoCoreError, ValueError) as error:
        raise _unanswered(location, error) from error


def _answered(subject: str, response: Any) -> ModelpackError:
    error = response.get("Error", {})
    code, status = str(error.get("Code", "")), response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "NoSuchBucket":
        return NotFoundError(subject, "there is no such bucket")
    if code in _ABSENT:
        return NotFoundError(subject, "there is no such object")
    if code in _CHANGED:
        return SourceChangedError(subject, "was replaced while it was packaged", _AT_REST)
    said = f"{code}: {error.get('Message') or 'no reason given'}"
    if status in (401, 403) or code in ("401", "403"):
        return RefusedError(subject, f"the S3 server refuses access ({said})", "look at the AWS credentials and policy")
    return RemoteError(subject, f"the S3 server answered {status} ({said})", "try again")


def _unanswered(location: str, error: Exception) -> ModelpackError:
    from botocore.exceptions import ConnectionError as NoConnectionError
    from botocore.exceptions import HTTPClientError, NoCredentialsError, PartialCredentialsError

    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        return InputError(location, "there are no complete AWS credentials", remedy)
    if isinstance(error, (HTTPClientError, NoConnectionError)):
        return RemoteError(
            location, f"the S3 server cannot be reached ({error})", "look at AWS_ENDPOINT_URL, try again"
        )
    return InputError(location, f"the AWS settings do not do ({error})")
