"""What a model consists of: files, folders and links, listed by a source and packaged by the image room.

Neither of those rooms knows the other; this is the value that passes between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class File:
    """One entry of a model. `path` is relative, POSIX, without `.` or `..`, and holds no newline.

    `size` is in bytes (0 unless `kind` is "file"); `target` is a link's text, kept as it is. `stamp` is opaque: while
    it stays equal, the bytes are taken to be the same (local: device, inode, size, mtime and ctime; S3: the ETag).
    """

    path: str
    kind: Literal["file", "folder", "link"] = "file"
    size: int = 0
    executable: bool = False
    target: str = ""
    stamp: str = ""


class Source(Protocol):
    """Where a model's bytes are. Implemented by `source.local` and `source.s3`."""

    @property
    def location(self) -> str:
        """The folder or URL, absolute, good enough to open the same source again."""

    def files(self) -> tuple[File, ...]:
        """Every entry, sorted by the bytes of its path. Raises for what cannot be packaged, and for an empty model."""

    def read(self, file: File) -> Iterator[memoryview]:
        """The file's bytes in order, in pieces of at most 1 MiB, each valid until the next is asked for.

        Yields exactly `file.size` bytes, else raises SourceChangedError.
        """

    def stamp(self, file: File) -> str:
        """The stamp that the file has now, "" if it is gone."""
