"""A model's files as tar layers that are streamed straight from the source.

Which file goes into which layer depends on names and sizes alone: a file of 64 MiB or more is a layer of its own, so
that a new version re-uploads only the shards that changed; all else shares one layer, the last, since a changed layer
invalidates the chain above it. A container image has at most 127 layers, so big files beyond 90 share with neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath

from modelpack import oci
from modelpack.errors import RefusedError, SourceChangedError
from modelpack.files import File, Source
from modelpack.image import tar

BIG = 64 << 20
"""Files from this size on, in bytes, are layers of their own."""
MAX_BIG_LAYERS = 90
_PIECE = 1 << 20
_DIRECT = 64 << 10  # pieces from here on are handed on as they are; smaller ones are gathered, to spare system calls

MARKER = ".modelpack.json"
PATHS = ".modelpack.files"
TEMPORARY = ".modelpack.tmp"
"""What the copy script keeps in the volume, beside the model's own files."""


@dataclass(frozen=True)
class ModelLayer:
    """Some of a model's files as one tar, an `oci.Layer`. `prefix` is the folder they lie in, relative: "models".

    Without a digest, `chunks` holds every file to its stamp. With one, only the sizes count: a file that was touched
    but has the same bytes is the same layer, and whoever streams the layer compares the digest.
    """

    source: Source = field(repr=False, compare=False)
    files: tuple[File, ...] = field(repr=False)
    prefix: str
    digest: str = ""

    @property
    def media_type(self) -> str:
        return oci.IMAGE_LAYER

    @property
    def filepath(self) -> str:
        """What the layer holds, as a path in the archive: a file's if it has only one, else the model's folder."""
        alone = len(self.files) == 1 and self.files[0].kind == "file"
        return f"{self.prefix}/{self.files[0].path}" if alone else self.prefix

    @cached_property
    def size(self) -> int:
        """Exact length of the tar in bytes; reads nothing."""
        return len(tar.END) + sum(
            len(tar.header(entry)) + entry.size + len(tar.padding(entry.size)) for entry, _ in self._entries()
        )

    def with_digest(self, digest: str) -> ModelLayer:
        return replace(self, digest=digest)

    def chunks(self) -> Iterator[memoryview]:
        """The tar's bytes, read from the source as they are asked for; raises SourceChangedError."""
        gathered = bytearray()
        for entry, file in self._entries():
            gathered += tar.header(entry)
            if file is None:
                continue
            read = 0
            for piece in self.source.read(replace(file, stamp="") if self.digest else file):
                read += len(piece)
                if len(piece) < _DIRECT:
                    gathered += piece
                elif gathered:
                    yield memoryview(gathered)
                    gathered = bytearray()
                    yield piece
                else:
                    yield piece
                if len(gathered) >= _PIECE:
                    yield memoryview(gathered)
                    gathered = bytearray()
            if read != file.size:
                raise SourceChangedError(file.path, f"gave {read} of {file.size} bytes", "try again when it is at rest")
            gathered += tar.padding(file.size)
        gathered += tar.END
        yield memoryview(gathered)

    def _entries(self) -> Iterator[tuple[File, File | None]]:
        """Each entry as it is named in the tar, and the source's file where it has content."""
        files = {f"{self.prefix}/{file.path}": file for file in self.files}
        for entry in tar.with_parents(replace(file, path=path) for path, file in files.items()):
            yield entry, files.get(entry.path) if entry.kind == "file" else None


def plan_layers(source: Source, files: tuple[File, ...], prefix: str) -> tuple[ModelLayer, ...]:
    """Distribute a model's files over layers. `prefix` is the folder they have in the image, as "/models".

    The layers depend on neither the order of `files` nor on whether a source lists folders that aren't empty. Raises
    RefusedError for names that an image, or the copy in the volume, cannot have.
    """
    folder = str(PurePosixPath(prefix).relative_to("/"))
    files = tuple(sorted(files, key=lambda file: file.path))
    parents = {str(parent) for file in files for parent in PurePosixPath(file.path).parents}
    for file in files:
        _check(file, parents)
    if len({file.path for file in files}) != len(files):
        raise RefusedError(source.location, "lists a name twice")
    big = [file for file in files if file.kind == "file" and file.size >= BIG]
    small = [file for file in files if file.size < BIG and not (file.kind == "folder" and file.path in parents)]
    groups = [*_shared(big, MAX_BIG_LAYERS), *([small] if small else [])]
    return tuple(ModelLayer(source, tuple(group), folder) for group in groups)


def _shared(files: Sequence[File], most: int) -> list[Sequence[File]]:
    """Neighbours in at most `most` groups whose numbers of files differ by one at most."""
    count = min(len(files), most)
    return [files[i * len(files) // count : (i + 1) * len(files) // count] for i in range(count)]


def _check(file: File, parents: set[str]) -> None:
    parts = file.path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise RefusedError(ascii(file.path), "is not a plain relative path", "rename it")
    if any(part.startswith(".wh.") for part in parts):
        raise RefusedError(file.path, "has a name that marks a deletion in a container image (.wh.)", "rename it")
    if parts[0] in (MARKER, PATHS, TEMPORARY):
        raise RefusedError(file.path, "has a name that the copy script keeps for itself", "remove it from the model")
    if file.kind != "folder" and file.path in parents:
        raise RefusedError(file.path, f"is both a {file.kind} and a folder", "rename one of them")
