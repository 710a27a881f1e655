"""Data under DVC: what a pointer names, its objects in a folder, and what is added to the remote.

A folder's object is the JSON list of its files, sorted by path, and its md5 is the folder's. DVC sends it after the
files themselves, so where it is, they are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from modelpack.data.pointer import Pointer, pointer_of
from modelpack.data.remote import remote_of
from modelpack.data.version import Tree, Version, inside, join
from modelpack.data.writing import replace_file, replace_folder
from modelpack.errors import InputError, IntegrityError, NotFoundError, RefusedError
from modelpack.files import File
from modelpack.source.local import LocalSource

_LARGEST_LIST = 64 << 20
_MD5 = re.compile(r"[0-9a-f]{32}")
_VERSION = re.compile(r"dvc:([0-9a-f]{32}(?:\.dir)?)")
_UPLOADS = 2  # of several parts each
_OWN = frozenset({".git", ".hg", ".dvc"})  # folders that DVC leaves out


def look(rest: str, folder: str, tree: Tree, root: Path | None) -> Version:
    """The version that `FILE.dvc` or `dvc.lock#OUTPUT` names; asks the remote for one object."""
    pointer = pointer_of(rest, folder, tree)
    remote = remote_of(pointer.file, pointer.remote, tree, root)
    size, note = remote.size(pointer.md5), ""
    if size is None:
        note = f"{pointer.file} names {pointer.md5}, which is not in {remote.place} yet: dvc push is missing"
    elif not pointer.md5.endswith(".dir") and pointer.size not in (None, size):
        note = f"{pointer.md5} has {size} bytes in {remote.place}, and {pointer.file} says {pointer.size}"
    return Version(f"dvc:{pointer.md5}", not note, note)


def fetch(rest: str, folder: str, tree: Tree, version: str, into: Path, root: Path | None) -> Path:
    """One version's file or folder, below `into` under the name that the pointer has, each byte verified."""
    found = _VERSION.fullmatch(version)
    if not found:
        raise InputError(version, "is no version of DVC's", "it is written like dvc:<md5>")
    md5 = found[1]
    pointer = pointer_of(rest, folder, tree)
    remote = remote_of(pointer.file, pointer.remote, tree, root)
    size, pieces = remote.read(md5)
    if md5 == pointer.md5 and not md5.endswith(".dir") and pointer.size not in (None, size):
        raise IntegrityError(pointer.file, f"says {pointer.size} bytes, and {remote.place} has {size} of {md5}")
    place = into / pointer.name
    if not md5.endswith(".dir"):
        replace_file(place, size, pieces)
        return place
    if size > _LARGEST_LIST:
        raise RefusedError(pointer.file, f"its list of files has {size} bytes, {_LARGEST_LIST} at most are read")
    files = _files(b"".join(bytes(each) for each in pieces), pointer)
    replace_folder(place, files, lambda path: remote.read(files[path]))
    return place


def _files(data: bytes, pointer: Pointer) -> dict[str, str]:
    """Paths and md5 of a folder's files. Raises IntegrityError for no such list, RefusedError for unsafe paths."""
    try:
        listed = {str(each["relpath"]): str(each["md5"]) for each in json.loads(data)}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise IntegrityError(pointer.file, f"what {pointer.md5} holds is no list of files") from error
    for path, md5 in listed.items():
        inside(path, pointer.file)
        if not _MD5.fullmatch(md5):
            raise IntegrityError(pointer.file, f"{md5[:50]!r} of {path!r} is no md5")
        parts = path.split("/")
        if any("/".join(parts[:end]) in listed for end in range(1, len(parts))):
            raise RefusedError(pointer.file, f"{path!r} lies below what is a file too")
    return listed


def add(path: Path, out: str, folder: str, tree: Tree, root: Path | None) -> bytes:
    """Send a file or a folder to the remote, as `dvc add` and `dvc push` would; gives the bytes for the `.dvc` file.

    `out` is the `.dvc` file below `folder`; the output is called like it. A remote that the file names stays. Objects
    that are there already are not sent. `.dvcignore` is not read. Raises RefusedError for links and names that do not
    do, SourceChangedError for what changes meanwhile.
    """
    if not out.endswith(".dvc") or out == ".dvc" or out.endswith("/.dvc"):
        raise InputError(out, "is not the name of a .dvc file", "write it like model.dvc")
    file, own = join(folder, out), ""
    if tree.read(file) is not None:
        own = pointer_of(out, folder, tree).remote
    remote = remote_of(file, own, tree, root)
    source = LocalSource(str(path))
    files = _to_add(source)
    hashed = [(each, _md5(source.read(each))) for each in files]
    with ThreadPoolExecutor(_UPLOADS) as pool:
        for _ in pool.map(lambda each: remote.write(each[1], each[0].size, source.read(each[0])), hashed):
            pass
    entry: dict[str, Any] = {"size": sum(each.size for each in files)}
    if path.is_dir():
        listed = sorted(({"md5": md5, "relpath": each.path} for each, md5 in hashed), key=lambda each: each["relpath"])
        data = memoryview(json.dumps(listed).encode())
        md5 = _md5(iter([data])) + ".dir"
        remote.write(md5, len(data), [data])
        entry["nfiles"] = len(files)
    else:
        md5 = hashed[0][1]
        if files[0].executable:
            entry["isexec"] = True
    named = {"remote": own} if own else {}
    name = Path(out).name.removesuffix(".dvc")
    return _yaml({"outs": [{"md5": md5, **entry, **named, "hash": "md5", "path": name}]})


def _to_add(source: LocalSource) -> list[File]:
    found = [each for each in source.files() if _OWN.isdisjoint(each.path.split("/"))]
    for each in found:
        if each.kind == "link":
            raise RefusedError(f"{source.location}/{each.path}", "is a link", "put the file itself there")
    files = [each for each in found if each.kind == "file"]
    if not files:
        raise NotFoundError(source.location, "holds no file to add")
    return files


def _md5(pieces: Iterator[memoryview]) -> str:
    found = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        found.update(piece)
    return found.hexdigest()


def _yaml(value: dict[str, Any]) -> bytes:
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1 << 20)).encode()
