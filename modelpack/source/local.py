"""A model in a local folder, or in one local file.

Paths are handled as bytes and decoded as UTF-8 here, so that neither the locale nor Python's file system encoding has a
say in what a file is called. Files are opened without following links and without blocking: what is a regular file when
it is listed and a link or a pipe when it is read is a changed source, not another file's content.
"""

# pathlib has no paths of bytes:
# ruff: noqa: PTH100, PTH112, PTH115, PTH116, PTH118, PTH119

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections.abc import Iterator

from modelpack.errors import InputError, ModelpackError, NotFoundError, RefusedError, RemoteError, SourceChangedError
from modelpack.files import File

_PIECE = 1 << 20
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class LocalSource:
    """A folder, or a file that is a model of its own.

    A location that is itself a link is followed, and a file then keeps the link's name.
    """

    def __init__(self, location: str) -> None:
        if "\0" in location:
            raise InputError(ascii(location), "is not a path")
        given = os.path.abspath(os.fsencode(location))
        self._single = not os.path.isdir(given)
        folder, name = os.path.split(given)
        self._root = os.path.join(os.path.realpath(folder), name) if self._single else os.path.realpath(given)

    @property
    def location(self) -> str:
        return os.fsdecode(self._root)

    def files(self) -> tuple[File, ...]:
        """Every entry, sorted. Raises NotFoundError, InputError (empty, unreadable), RefusedError (unsafe entries)."""
        try:
            if self._single:
                found = [self._entry(os.path.basename(self._root), os.stat(self._root))]
            else:
                found = sorted(self._walk(), key=lambda file: file.path)  # code points sort as their UTF-8 does
        except FileNotFoundError as error:
            name = os.fsdecode(error.filename or self._root)
            raise NotFoundError(name, "there is no such file or folder") from error
        except OSError as error:
            raise InputError(os.fsdecode(error.filename or self._root), f"cannot be read: {error.strerror}") from error
        if not any(file.kind == "file" for file in found):
            raise InputError(self.location, "holds no file, so there is no model in it")
        return tuple(found)

    def read(self, file: File) -> Iterator[memoryview]:
        """The file's bytes. Where `file` has a stamp, it must hold from before the first byte to after the last.

        Without a stamp only the size is held to: the caller knows the digest and judges by that.
        """
        path = self._path(file)
        try:
            descriptor = os.open(path, _FLAGS)
        except OSError as error:
            raise _unreadable(path, error) from error
        try:
            _check(path, file, descriptor)
            buffer = memoryview(bytearray(min(file.size, _PIECE)))
            left = file.size
            while left:
                count = os.readv(descriptor, [buffer[:left]])
                if not count:
                    raise SourceChangedError(
                        os.fsdecode(path), "became shorter while it was read", "try again when it is at rest"
                    )
                left -= count
                yield buffer[:count]
            _check(path, file, descriptor)
        except OSError as error:
            raise _unreadable(path, error) from error
        finally:
            os.close(descriptor)

    def stamp(self, file: File) -> str:
        try:
            return _stamp(os.lstat(self._path(file)))
        except OSError:
            return ""

    def _path(self, file: File) -> bytes:
        return os.path.realpath(self._root) if self._single else os.path.join(self._root, file.path.encode())

    def _walk(self) -> Iterator[File]:
        """Every entry below the root, links not followed, in no particular order."""
        folders = [b""]
        while folders:
            folder = folders.pop()
            with os.scandir(os.path.join(self._root, folder)) as entries:
                for entry in entries:
                    name = os.path.join(folder, entry.name)
                    file = self._entry(name, entry.stat(follow_symlinks=False))
                    if file.kind == "folder":
                        folders.append(name)
                    yield file

    def _entry(self, name: bytes, status: os.stat_result) -> File:
        full = self._root if self._single else os.path.join(self._root, name)
        shown = os.fsdecode(full)
        path = _text(name, shown, "name")
        if stat.S_ISREG(status.st_mode):
            return File(path, size=status.st_size, executable=bool(status.st_mode & stat.S_IXUSR), stamp=_stamp(status))
        if stat.S_ISDIR(status.st_mode):
            return File(path, "folder")
        if stat.S_ISLNK(status.st_mode):
            target = _text(os.readlink(full), shown, "target")
            if not _stays(path, target):
                raise RefusedError(shown, f"is a link that leaves the model: {target}", "put the file itself there")
            return File(path, "link", target=target)
        raise RefusedError(
            shown, "is neither file, folder nor link", "remove the socket, pipe or device from the model"
        )


def _text(raw: bytes, shown: str, what: str) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise RefusedError(ascii(shown), f"its {what} is not UTF-8", "rename it") from error
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise RefusedError(ascii(shown), f"its {what} holds a control character", "rename it")
    return text


def _stays(path: str, target: str) -> bool:
    """Whether a link stays inside the model wherever that is put: relative, `..` only in front and not above the root.

    With `..` only in front, what other links do cannot lead out either: each way up starts from a real folder.
    """
    parts = [part for part in target.split("/") if part not in ("", ".")]
    up = next((index for index, part in enumerate(parts) if part != ".."), len(parts))
    return not target.startswith("/") and up <= path.count("/") and ".." not in parts[up:]


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def _check(path: bytes, file: File, descriptor: int) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size != file.size:
        problem = f"is no longer a file of {file.size} bytes"
    elif file.stamp and _stamp(status) != file.stamp:
        problem = "changed while it was packaged"
    else:
        return
    raise SourceChangedError(os.fsdecode(path), problem, "try again when it is at rest")


def _unreadable(path: bytes, error: OSError) -> ModelpackError:
    name = os.fsdecode(path)
    if isinstance(error, PermissionError):
        return InputError(name, f"cannot be read: {error.strerror}")
    if isinstance(error, (FileNotFoundError, NotADirectoryError)) or error.errno in _GONE:
        return SourceChangedError(name, "is gone or no longer a file", "try again when it is at rest")
    return RemoteError(name, f"cannot be read: {error.strerror}")


_GONE = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO})
