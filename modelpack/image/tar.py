"""Tar entries whose bytes depend on nothing but what they say.

Owner, group and time are zero; what the old header cannot hold (long or non-ASCII names, sizes from 8 GiB) goes into a
PAX header, which has a fixed form as well. Source: POSIX.1-2017 pax, "ustar Interchange Format", "pax Extended Header".
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable

from modelpack.files import File

END = bytes(2 * tarfile.BLOCKSIZE)
"""What closes an archive. It is not filled up to a record of 10 KiB: nothing here is written to tape."""

_TYPES = {"file": tarfile.REGTYPE, "folder": tarfile.DIRTYPE, "link": tarfile.SYMTYPE}


def header(file: File, mode: int = 0) -> bytes:
    """The header block or blocks of an entry; `file.path` is its name in the archive. A `mode` given wins."""
    info = tarfile.TarInfo(file.path)
    info.type = _TYPES[file.kind]
    info.size = file.size
    info.linkname = file.target
    info.mode = mode or {"file": 0o755 if file.executable else 0o644, "folder": 0o755, "link": 0o777}[file.kind]
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def padding(size: int) -> bytes:
    """What fills the last block of `size` bytes of content."""
    return bytes(-size % tarfile.BLOCKSIZE)


def archive(entries: Iterable[tuple[File, bytes]]) -> bytes:
    """A whole archive of small entries, in the order given; each file's size is that of its bytes."""
    parts = []
    for file, data in entries:
        parts += [header(file), data, padding(len(data))]
    return b"".join([*parts, END])


def with_parents(files: Iterable[File]) -> list[File]:
    """The entries and the folders above them, sorted, each folder before what it holds, so an archive stands alone."""
    entries = {file.path: file for file in files}
    for path in list(entries):
        while path := path.rpartition("/")[0]:
            entries.setdefault(path, File(path, "folder"))
    return [entries[path] for path in sorted(entries)]
