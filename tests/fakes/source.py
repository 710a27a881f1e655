"""A model in memory: what a source lists and reads, without a disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from modelpack.errors import SourceChangedError
from modelpack.files import File

_ZEROS = memoryview(bytes(1 << 20))


class FakeSource:
    """`content` maps a path to bytes, a size (that many zero bytes), a link's target ("-> x"), or None: a folder.

    Assigning to `stamps` is what changing a file is: a read that is held to another stamp fails.
    """

    location = "memory:model"

    def __init__(
        self, content: Mapping[str, bytes | int | str | None], executable: frozenset[str] = frozenset()
    ) -> None:
        self.content = dict(content)
        self.executable = executable
        self.stamps = dict.fromkeys(content, "1")

    def files(self) -> tuple[File, ...]:
        return tuple(sorted(map(self._file, self.content), key=lambda file: file.path))

    def _file(self, path: str) -> File:
        value = self.content[path]
        if value is None:
            return File(path, "folder")
        if isinstance(value, str):
            return File(path, "link", target=value.removeprefix("-> "))
        size = value if isinstance(value, int) else len(value)
        return File(path, size=size, executable=path in self.executable, stamp=self.stamps[path])

    def read(self, file: File) -> Iterator[memoryview]:
        now = self._file(file.path)
        if replace(now, stamp="") != replace(file, stamp="") or file.stamp not in ("", now.stamp):
            raise SourceChangedError(file.path, "changed")
        value = self.content[file.path]
        if isinstance(value, bytes):
            yield from (memoryview(value)[at : at + (1 << 20)] for at in range(0, len(value), 1 << 20))
            return
        left = file.size
        while left:
            piece = _ZEROS[:left]
            yield piece
            left -= len(piece)

    def stamp(self, file: File) -> str:
        return self.stamps.get(file.path, "")
