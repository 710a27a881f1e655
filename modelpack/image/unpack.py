"""Reading layers: what they list, and how they are applied below a folder without leaving it.

The rule that keeps an archive inside: nothing is ever written through a link, and a link may go up only in front of its
target and not above the root, so that following it starts from a real folder and stays below the root however links are
combined, in one layer or across several. Absolute links are meant from the image's root and become relative ones.
Whiteouts are those of the OCI image specification 1.1, layer.md.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, cast

from modelpack.errors import IntegrityError, RefusedError, RemoteError

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_PIECE = 128 << 10  # tarfile copies each piece a few times: small enough to stay in the processor's cache
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def members(chunks: Iterable[memoryview]) -> Iterator[tarfile.TarInfo]:
    """What a layer lists, plain or gzip; reads it to its end. Raises IntegrityError and RefusedError."""
    with _open(chunks) as archive:
        yield from _members(archive)


def extract(chunks: Iterable[memoryview], root: Path) -> None:
    """Apply one layer, plain or gzip, below `root`, in constant memory.

    Owners, times and the set-id bits are left out. Raises IntegrityError for broken archives, RefusedError for entries
    that would leave `root` and for devices, RemoteError when the disk does not take it; what was written stays.
    """
    root.mkdir(parents=True, exist_ok=True)
    made: set[str] = set()
    try:
        with _open(chunks) as archive:
            for member in _members(archive):
                _apply(archive, member, root, made)
    except OSError as error:
        raise RemoteError(error.filename or root, f"cannot be written: {error.strerror}", "try again") from error


def parts_of(name: str) -> tuple[str, ...]:
    """An entry's name as its components; raises RefusedError for names that point out of the archive."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise RefusedError(ascii(name), "is no name inside the image", "the layer is unsafe, it is not unpacked")
    return parts


def hidden_by(parts: tuple[str, ...]) -> tuple[str, ...] | None:
    """What a whiteout hides of the layers below: an entry, or all in a folder; None for what is no whiteout."""
    if parts[-1] == _OPAQUE:
        return parts[:-1]
    if not parts[-1].startswith(_WHITEOUT):
        return None
    name = parts[-1][len(_WHITEOUT) :]
    if name in ("", ".", ".."):
        raise RefusedError("/".join(parts), "is a whiteout of nothing", "the layer is unsafe, it is not unpacked")
    return (*parts[:-1], name)


def _apply(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path, made: set[str]) -> None:
    parts = parts_of(member.name)
    if not parts:
        return
    path = _below(root, parts)
    hidden = hidden_by(parts)
    if hidden is not None:
        if parts[-1] == _OPAQUE:
            _clear(path.parent, root, made)
        else:
            _remove(path.parent / hidden[-1])
        return
    made.update("/".join(parts[: end + 1]) for end in range(len(parts)))
    if member.isdir():
        if path.is_symlink() or not path.is_dir():
            _remove(path)
            path.mkdir()
        path.chmod(member.mode & 0o777 | stat.S_IRWXU)
        return
    if member.islnk():
        original = _below(root, parts_of(member.linkname))
        if original.is_symlink() or not original.is_file():
            raise RefusedError(member.name, f"is a hard link to {member.linkname!a}, which is no file of the image")
        if original != path:
            _remove(path)
            path.hardlink_to(original)
        return
    if not member.issym() and not member.isreg():
        raise RefusedError(member.name, "is a device or pipe", "only files, folders and links are unpacked")
    _remove(path)
    if member.issym():
        path.symlink_to(_target(member, parts))
    else:
        _write(archive, member, path)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content = archive.extractfile(member)
    assert content is not None  # it is a regular file
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123
        shutil.copyfileobj(content, file, _PIECE)
        os.fchmod(descriptor, member.mode & 0o777)
    if path.stat().st_size != member.size:
        raise IntegrityError(member.name, "is shorter than the layer says")


def _target(member: tarfile.TarInfo, parts: tuple[str, ...]) -> str:
    """A link's target, made relative; raises RefusedError when it would lead out of the root."""
    target = member.linkname
    if target.startswith("/"):
        return "/".join([*[".."] * (len(parts) - 1), *parts_of(target.lstrip("/"))]) or "."
    names = [name for name in target.split("/") if name not in ("", ".")]
    up = next((index for index, name in enumerate(names) if name != ".."), len(names))
    if up > len(parts) - 1 or ".." in names[up:] or not target:
        raise RefusedError(member.name, f"is a link that may leave the image: {target!a}", "it is not unpacked")
    return target


def _below(root: Path, parts: tuple[str, ...]) -> Path:
    """The path of an entry, with the folders above it made, none of them a link."""
    path = root
    for part in parts[:-1]:
        path = path / part
        with contextlib.suppress(FileExistsError):
            path.mkdir(0o755)
        if path.is_symlink() or not path.is_dir():
            raise RefusedError(
                "/".join(parts), "lies below a link or a file", "the layer is unsafe, it is not unpacked"
            )
    return path / parts[-1] if parts else root


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _clear(folder: Path, root: Path, made: set[str]) -> None:
    """Remove what lower layers put into a folder; this layer's own entries may stand before the whiteout and stay."""
    for child in folder.iterdir():
        if child.relative_to(root).as_posix() not in made:
            _remove(child)
        elif child.is_dir() and not child.is_symlink():
            _clear(child, root, made)


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # it would remember every one
        yield member


class _Pieces(io.RawIOBase):
    """A file object over pieces of which each is valid only until the next is asked for."""

    def __init__(self, chunks: Iterable[memoryview]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            following = next(self._chunks, None)
            if following is None:
                return 0
            self._rest = following
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


@contextlib.contextmanager
def _open(chunks: Iterable[memoryview]) -> Iterator[tarfile.TarFile]:
    """The tar in a layer, read in order. The chunks are used up at the end, so that their maker checks the digest."""
    raw = io.BufferedReader(_Pieces(chunks), _PIECE)
    try:
        magic = raw.peek(4)[:4]
        if magic == _ZSTD:
            raise RefusedError("layer", "is compressed with zstd, which is not read here", "use a gzip or plain one")
        plain = cast(IO[bytes], gzip.GzipFile(fileobj=raw) if magic.startswith(_GZIP) else raw)
        with tarfile.open(fileobj=plain, mode="r|", bufsize=_PIECE, encoding="utf-8") as archive:
            yield archive
        for stream in (plain, raw):
            while stream.read(_PIECE):
                pass
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, ValueError, RecursionError) as error:
        raise IntegrityError("layer", f"is not a whole tar archive: {error}") from error
