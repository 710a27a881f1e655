"""A DVC remote: which one `.dvc/config` names, and its objects by md5, each held to it.

Layout of DVC 3: `files/md5/<2>/<30>`; of DVC 2: `<2>/<30>`, where the md5 of text is of lines that end in \\n. Of the
settings, url, endpointurl and region are read; logins never, they come from the environment.
"""

from __future__ import annotations

import configparser
import hashlib
import posixpath
from collections.abc import Iterable, Iterator
from pathlib import Path

from modelpack.data.objects import PIECE, Objects, open_objects
from modelpack.data.version import Tree
from modelpack.errors import InputError, IntegrityError, NotFoundError

_LARGEST = 1 << 20
_TEXT = bytes(range(32, 127)) + b"\n\r\t\f\b"
_BLOCK = 512  # bytes by which DVC 2 tells text from other files
_NON_TEXT = 0.3


class Remote:
    """Objects by their md5, which ends in `.dir` if it is a folder's."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.place = objects.place

    def size(self, md5: str) -> int | None:
        """The object's size in bytes, None if it is not there."""
        return self._find(md5)[1]

    def read(self, md5: str) -> tuple[int, Iterator[memoryview]]:
        """An object's size and bytes. Raises NotFoundError; IntegrityError after the last byte if they are others."""
        path, size = self._find(md5)
        if size is None:
            raise NotFoundError(f"{self.place}/{path}", "there is no such object", "run dvc push where the data is")
        pieces = self.objects.read(path, size)
        return size, held_to(md5, pieces, f"{self.place}/{path}", legacy=path == _legacy(md5))

    def write(self, md5: str, size: int, pieces: Iterable[memoryview]) -> None:
        """Put an object there if it is not. Other bytes are not put there, and raise IntegrityError."""
        path = _path(md5)
        if self.objects.size(path) != size:
            self.objects.write(path, size, held_to(md5, pieces, f"{self.place}/{path}"))

    def _find(self, md5: str) -> tuple[str, int | None]:
        path = _path(md5)
        for each in (path, _legacy(md5)):
            if (size := self.objects.size(each)) is not None:
                return each, size
        return path, None


def _path(md5: str) -> str:
    return f"files/md5/{_legacy(md5)}"


def _legacy(md5: str) -> str:
    return f"{md5[:2]}/{md5[2:]}"


def held_to(md5: str, pieces: Iterable[memoryview], name: str, legacy: bool = False) -> Iterator[memoryview]:
    """Pass pieces through; raises IntegrityError after the last one if they have another md5."""
    wanted = md5.removesuffix(".dir")
    plain, unix = hashlib.md5(usedforsecurity=False), _Unix()
    for piece in pieces:
        plain.update(piece)
        if legacy:
            unix.update(piece)
        yield piece
    if plain.hexdigest() != wanted and not (legacy and unix.hexdigest() == wanted):
        remedy = "delete the object and dvc push it again from a good copy"
        raise IntegrityError(name, f"its bytes have not the md5 {wanted}", remedy)


class _Unix:
    """The md5 of DVC 2: text, told by the first bytes of each MiB, counts with \\r\\n as \\n."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._part = bytearray()

    def update(self, piece: memoryview) -> None:
        self._part += piece
        while len(self._part) >= PIECE:
            self._add(bytes(self._part[:PIECE]))
            del self._part[:PIECE]

    def hexdigest(self) -> str:
        if self._part:
            self._add(bytes(self._part))
            self._part.clear()
        return self._md5.hexdigest()

    def _add(self, part: bytes) -> None:
        block = part[:_BLOCK]
        text = b"\0" not in block and len(block.translate(None, _TEXT)) / len(block) <= _NON_TEXT
        self._md5.update(part.replace(b"\r\n", b"\n") if text else part)


def remote_of(file: str, name: str, tree: Tree, root: Path | None) -> Remote:
    """The remote for a `.dvc` file: `name`, or the default one. `root` is the folder that the repository lies in.

    Raises NotFoundError where DVC is not set up, InputError for settings that do not do.
    """
    folder = posixpath.dirname(file)
    while (data := tree.read(config := posixpath.join(folder, ".dvc/config"))) is None:
        if not folder:
            problem = "no folder above it has a .dvc/config in the repository"
            raise NotFoundError(file, problem, "commit what dvc init made")
        folder = posixpath.dirname(folder)
    sections = _sections(data, config)
    name = (name or sections.get("core", {}).get("remote", "")).lower()
    if not name:
        raise InputError(config, "names no default remote", "run dvc remote default NAME and commit it")
    settings = sections.get(f'remote "{name}"')
    if settings is None or not settings.get("url"):
        raise InputError(config, f"has no url for the remote {name!r}", "run dvc remote add and commit it")
    for each in ("worktree", "version_aware"):
        if settings.get(each, "false").lower() == "true":
            raise InputError(config, f"the remote {name!r} is {each}: its objects have no md5", "use a plain remote")
    return Remote(open_objects(_location(settings["url"], config, folder, root), *_where(settings)))


def _sections(data: bytes, config: str) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(delimiters=("=",), inline_comment_prefixes=("#",), default_section="")
    try:
        if len(data) > _LARGEST:
            raise ValueError("too large")
        parser.read_string(data.decode())
    except (configparser.Error, ValueError):  # their words quote lines, which may hold a login
        raise InputError(config, "cannot be read as DVC's configuration", "dvc config --list says more") from None
    return {
        section.strip("'").lower(): {key: value.strip().strip("\"'") for key, value in parser.items(section)}
        for section in parser.sections()
    }


def _where(settings: dict[str, str]) -> tuple[str, str]:
    return settings.get("endpointurl", ""), settings.get("region", "")


def _location(url: str, config: str, folder: str, root: Path | None) -> str:
    """Absolute; a relative path starts where the configuration lies."""
    if "://" in url or url.startswith("/"):
        return url
    if root is None:
        remedy = "name an absolute path or s3://bucket/prefix"
        raise InputError(config, "its remote is a relative path, and the repository is not in a folder here", remedy)
    return str((root / folder / ".dvc" / url).resolve())
