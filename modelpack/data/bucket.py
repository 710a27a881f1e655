"""Data in a bucket: a version is the listing, with names, sizes and ETags. What was replaced there is gone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath

from modelpack.data.version import Version
from modelpack.data.writing import replace_file, replace_folder
from modelpack.errors import NotFoundError
from modelpack.files import File
from modelpack.source.s3 import S3Source


def look(location: str) -> Version:
    """The version that lies at `s3://bucket/prefix` or `s3://bucket/object`: one listing."""
    return Version(_version(_files(S3Source(location))))


def fetch(location: str, version: str, into: Path) -> Path:
    """The objects, if they are still this version, below `into` under the location's last part."""
    source = S3Source(location)
    files = _files(source)
    if (now := _version(files)) != version:
        remedy = "a bucket keeps what is there now; data under DVC can be had again"
        raise NotFoundError(source.location, f"is not {version} any more but {now}", remedy)
    place = into / PurePosixPath(source.location).name
    named = {each.path: each for each in files}
    if source.is_object:
        replace_file(place, files[0].size, source.read(files[0]))
    else:
        replace_folder(place, named, lambda path: (named[path].size, source.read(named[path])))
    return place


def _files(source: S3Source) -> list[File]:
    return [each for each in source.files() if each.kind == "file"]


def _version(files: list[File]) -> str:
    listing = json.dumps([[each.path, each.size, each.stamp] for each in files])
    return f"s3:{hashlib.sha256(listing.encode()).hexdigest()}"
