"""What data is asked for and which version of it there is, as values; and the repository that both are read from."""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from modelpack.errors import InputError, RefusedError


@dataclass(frozen=True)
class Version:
    """What a source names now. `text` is `dvc:<md5>` (`….dir` of a folder), `s3:<sha256 of the listing>` or
    `git:<object id>`. `ready`: its bytes can be fetched; where not, `note` says what is missing."""

    text: str
    ready: bool = True
    note: str = ""


class Tree(Protocol):
    """A repository's files at one commit; paths start at its root. A `gitops` View is one, and a `Checkout`."""

    def read(self, path: str) -> bytes | None:
        """A file's bytes, None if there is no such file. Raises RefusedError for a symbolic link."""

    def object_at(self, path: str) -> str:
        """The id of a file's Git object, "" if there is no such file."""

    def paths(self, prefix: str = "") -> tuple[str, ...]:
        """Every file whose path starts with `prefix`, sorted."""

    def objects(self, names: Sequence[str]) -> list[bytes | None]:
        """The bytes of Git objects by their ids, of older commits too; None for one that cannot be had."""


class Checkout:
    """A folder with a repository's files, as a Tree. It has no past, and no links are followed in it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str) -> bytes | None:
        full = self._root / inside(path, path)
        try:
            mode = full.lstat().st_mode
            if not stat.S_ISREG(mode) or full.resolve() != self._root.resolve() / path:
                raise RefusedError(full, "is not a file, or a link leads to it", "name the file it stands for")
            return full.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InputError(full, f"cannot be read: {error.strerror}") from error

    def object_at(self, path: str) -> str:
        data = self.read(path)
        # https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
        return "" if data is None else hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()

    def paths(self, prefix: str = "") -> tuple[str, ...]:
        found = []
        for folder, folders, files in os.walk(self._root):
            folders[:] = [each for each in folders if each != ".git"]
            found += [(Path(folder) / each).relative_to(self._root).as_posix() for each in files]
        return tuple(sorted(each for each in found if each.startswith(prefix)))

    def objects(self, names: Sequence[str]) -> list[bytes | None]:
        return [None] * len(names)


def split(source: str) -> tuple[str, str]:
    """`dvc`, `s3` or `git`, and the rest of a source; raises InputError for what is none."""
    kind, colon, rest = source.partition(":")
    if not colon or kind not in ("dvc", "s3", "git") or not rest:
        raise InputError(source or '""', "is no kind of data", "write dvc:FILE.dvc, s3://bucket/prefix or git:PATH")
    return kind, rest


def inside(path: str, name: str) -> str:
    """A relative path that stays below where it starts; raises RefusedError, in which `name` says where it stands."""
    parts = path.split("/")
    if not path.isprintable() or any(each in ("", ".", "..", ".git") for each in parts):
        raise RefusedError(name, f"{path!r} is not a path that stays in its folder")
    return path


def join(folder: str, path: str) -> str:
    """A path from the repository's root. Raises RefusedError where `path` leads out of `folder`."""
    return posixpath.join(folder, inside(path, path)) if folder not in ("", ".") else inside(path, path)
