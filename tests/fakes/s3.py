"""A boto3 S3 client that never leaves the process, and breaks off where it is told."""

# ruff: noqa: N803 - the names are boto3's

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError, ResponseStreamingError

BUCKET = "models"
PAGE = 2  # objects a page, so that a handful need several


class FakeS3:
    """One bucket. `breaks` says after how many bytes each of the next bodies ends, `cut` whether with an error."""

    def __init__(self, objects: dict[str, bytes], breaks: tuple[int, ...] = (), cut: bool = True) -> None:
        self.objects, self.breaks, self.cut = dict(objects), list(breaks), cut
        self.asked: list[dict[str, Any]] = []

    def get_paginator(self, operation: str) -> FakeS3:
        assert operation == "list_objects_v2"
        return self

    def paginate(self, **asked: Any) -> Iterator[dict[str, Any]]:
        listed = self.list_objects_v2(**asked).get("Contents", [])
        for start in range(0, len(listed), PAGE):
            yield {"Contents": listed[start : start + PAGE]}

    def list_objects_v2(self, Bucket: str, Prefix: str, MaxKeys: int = 1000) -> dict[str, Any]:
        if Bucket != BUCKET:
            raise failure("NoSuchBucket", 404)
        keys = sorted(key for key in self.objects if key.startswith(Prefix))[:MaxKeys]
        listed = [{"Key": key, "Size": len(self.objects[key]), "ETag": etag(self.objects[key])} for key in keys]
        return {"Contents": listed} if listed else {}

    def head_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        if Key not in self.objects:
            raise failure("404", 404)  # a HEAD's answer has no body that says NoSuchKey
        return {"ContentLength": len(self.objects[Key]), "ETag": etag(self.objects[Key])}

    def get_object(self, Bucket: str, Key: str, IfMatch: str = "", Range: str = "") -> dict[str, Any]:
        self.asked.append({"Key": Key, "IfMatch": IfMatch, "Range": Range})
        if Key not in self.objects:
            raise failure("NoSuchKey", 404)
        data = self.objects[Key]
        if IfMatch and IfMatch != etag(data):
            raise failure("PreconditionFailed", 412)
        start = int(Range.removeprefix("bytes=").removesuffix("-") or 0)
        answer: dict[str, Any] = {"ContentLength": len(data) - start, "ETag": etag(data)}
        if Range:
            answer["ContentRange"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        end = start + self.breaks.pop(0) if self.breaks else len(data)
        return {**answer, "Body": _Body(data[start:end], self.cut and end < len(data))}


class _Body(io.BytesIO):
    def __init__(self, data: bytes, cut: bool) -> None:
        super().__init__(data)
        self._cut = cut

    def read(self, size: int | None = -1) -> bytes:
        piece = super().read(size)
        if not piece and self._cut:
            raise ResponseStreamingError(error="connection reset")
        return piece


def etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


def failure(code: str, status: int) -> ClientError:
    answer = {"Error": {"Code": code, "Message": "told so"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "Operation")  # type: ignore[arg-type]
