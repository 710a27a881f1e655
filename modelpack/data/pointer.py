"""What a `.dvc` file or a `dvc.lock` says of one output: its md5, size and kind. Both are anybody's, and never run.

The formats: https://dvc.org/doc/user-guide/project-structure/dvc-files and …/dvcyaml-files#dvclock-file.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from modelpack.data.version import Tree, inside, join
from modelpack.errors import InputError, NotFoundError
from modelpack.fields import Fields, read

_LARGEST = 4 << 20
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
_IGNORED = re.compile(r"[*?\[\\]| (?= *$)")  # what gitignore(5) takes for a pattern, and blanks that it drops
LOCK = "dvc.lock"
IGNORE = ".gitignore"


@dataclass(frozen=True)
class Pointer:
    """One output. `md5` ends in `.dir` if it is a folder's; `size` is in bytes, None if it is not said; `remote` is ""
    for the default one; `name` the output's own name; `file` where all this stands."""

    md5: str
    size: int | None
    name: str
    remote: str
    file: str


def pointer_of(rest: str, folder: str, tree: Tree) -> Pointer:
    """What `FILE.dvc` or `dvc.lock#OUTPUT` names; an output is called as the file calls it.

    Raises NotFoundError, InputError with file and line, RefusedError for a name that leads out of its folder.
    """
    path, hash_mark, output = rest.partition(f"{LOCK}#")  # no other file has a name for it, and "#" is one of theirs
    path += LOCK if hash_mark else ""
    file = join(folder, path)
    data = tree.read(file)
    if data is None:
        raise NotFoundError(file, "is not in the repository")
    if len(data) > _LARGEST:
        raise InputError(file, f"has {len(data)} bytes, {_LARGEST} at most are read")
    fields = read(data, file)
    lock = posixpath.basename(path) == LOCK
    if lock and not output:
        raise InputError(f"dvc:{rest}", "does not say which output", f"write it like dvc:{path}#data/prepared.csv")
    found = [
        each
        for part in (_stages(fields) if lock else [fields])
        for each in part.mappings("outs")
        if not output or each.text("path") == output
    ]
    if not found:
        raise NotFoundError(file, f"has no output {output!r}" if output else "has no outputs")
    if len(found) > 1:
        raise InputError(file, "names several such outputs", "keep each under a name of its own")
    return _pointer(found[0], file)


def with_ignored(before: bytes | None, name: str) -> bytes:
    """A .gitignore that also leaves out `name` beside it, as `dvc add` writes it: gitignore(5). The bytes as they are
    where a line says so already."""
    data = before or b""
    word = _IGNORED.sub(r"\\\g<0>", name).encode()
    if any(each in data.splitlines() for each in (b"/" + word, b"/" + word + b"/", word, word + b"/")):
        return data
    ending = b"\r\n" if b"\r\n" in data else b"\n"
    return data + (ending if data and not data.endswith(b"\n") else b"") + b"/" + word + ending


def _stages(fields: Fields) -> list[Fields]:
    stages = fields.mapping("stages")
    return [stages.mapping(each) for each in stages.keys()]  # noqa: SIM118 - no dict


def _pointer(out: Fields, file: str) -> Pointer:
    if "md5" not in out:
        remedy = "imports and outputs outside DVC's cache cannot be read"
        raise out.error("md5", "is missing, the output is not in DVC's cache", remedy)
    md5 = out.text("md5")
    if not _MD5.fullmatch(md5):
        raise out.error("md5", f"{md5[:50]!r} is no md5")
    name = posixpath.basename(out.text("path"))
    size = out.integer("size", low=0) if "size" in out else None
    return Pointer(md5, size, inside(name, out.where("path")), out.text("remote", ""), file)
