"""Where a model's bytes are: lists what a location holds and opens its files.

In: a location, a folder, a file or a URL. Out: a `files.Source`. Knows nothing of images or registries.
"""

from __future__ import annotations

from modelpack.errors import InputError
from modelpack.files import Source

__all__ = ["open_source"]


def open_source(location: str) -> Source:
    """The source at `location`: `s3://bucket/prefix`, or a path. Looks at nothing yet: `files()` does."""
    scheme, separator, _ = location.partition("://")
    if not separator:
        from modelpack.source.local import LocalSource

        return LocalSource(location)
    if scheme == "s3":
        from modelpack.source.s3 import S3Source

        return S3Source(location)
    raise InputError(location, f"{scheme}:// is not a kind of source", "name a folder, a file or s3://bucket/prefix")
