"""Data in the repository itself: a file by its Git object, a folder by those of its files."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterable
from pathlib import Path

from modelpack.data.version import Tree, Version, join
from modelpack.data.writing import replace_file, replace_folder
from modelpack.errors import InputError, NotFoundError

_OLDER = "the repository has one version of a folder, the commit's; a single file can be had again"


def look(rest: str, folder: str, tree: Tree) -> Version:
    """The version of a file, or of a folder with files."""
    path = join(folder, rest)
    if name := tree.object_at(path):
        return Version(f"git:{name}")
    listing = json.dumps([[each, tree.object_at(each)] for each in _below(path, tree)])
    return Version(f"git:{hashlib.sha256(listing.encode()).hexdigest()}")


def fetch(rest: str, folder: str, tree: Tree, version: str, into: Path) -> Path:
    """That version, below `into` under the path's last part; of a file also one that an older commit had."""
    path = join(folder, rest)
    place = into / posixpath.basename(path)
    if not tree.object_at(path):
        if look(rest, folder, tree).text != version:
            raise NotFoundError(path, f"is not {version} in this commit", _OLDER)
        start = len(path) + 1
        replace_folder(place, [each[start:] for each in _below(path, tree)], lambda name: _read(f"{path}/{name}", tree))
        return place
    name = version.removeprefix("git:")
    if len(name) not in (40, 64) or not set(name) <= set("0123456789abcdef"):
        raise InputError(version, "is no version of Git's", "it is written like git:<object id>")
    data = tree.read(path) if tree.object_at(path) == name else tree.objects([name])[0]
    if data is None:
        raise NotFoundError(path, f"the repository has no object {name}", "is it a version of this file?")
    replace_file(place, *_pieces(data))
    return place


def _below(path: str, tree: Tree) -> tuple[str, ...]:
    found = tree.paths(f"{path}/")
    if not found:
        raise NotFoundError(path, "is not in the repository")
    return found


def _read(path: str, tree: Tree) -> tuple[int, Iterable[memoryview]]:
    data = tree.read(path)
    if data is None:
        raise NotFoundError(path, "is not in the repository")
    return _pieces(data)


def _pieces(data: bytes) -> tuple[int, Iterable[memoryview]]:
    return len(data), [memoryview(data)]
