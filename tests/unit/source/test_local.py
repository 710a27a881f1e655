"""A local folder: what is listed, what is refused, and what a change under the reader looks like."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from modelpack.errors import InputError, NotFoundError, RefusedError, SourceChangedError
from modelpack.files import File
from modelpack.source import open_source
from modelpack.source.local import LocalSource

MIB = 1 << 20


def content_of(source: LocalSource, file: File) -> bytes:
    return b"".join(bytes(piece) for piece in source.read(file))


def test_lists_everything_sorted(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z", "a b", "ü", ".hidden", "-dash", "*?[x]", "back\\slash", "\"quote'", "tail "):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "empty").mkdir()
    (tmp_path / "run").touch(mode=0o700)
    (tmp_path / "a" / "up").symlink_to("../b.txt")
    (tmp_path / "dangling").symlink_to("not/there")
    source = LocalSource(str(tmp_path))
    files = source.files()
    assert [file.path.encode() for file in files] == sorted(file.path.encode() for file in files)
    by_path = {file.path: file for file in files}
    assert len(files) == 15
    assert by_path["empty"] == File("empty", "folder")
    assert by_path["a/up"] == File("a/up", "link", target="../b.txt")
    assert by_path["run"].executable and not by_path["b.txt"].executable
    assert all(content_of(source, file) == file.path.encode() for file in files if file.size)


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 5])
def test_reads_exactly_the_file(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "w").write_bytes(data)
    source = LocalSource(str(tmp_path))
    (file,) = source.files()
    assert file.size == size and content_of(source, file) == data
    assert max((len(piece) for piece in source.read(file)), default=0) <= MIB


def test_one_file_is_a_model_and_keeps_the_name_of_its_link(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"x")
    (tmp_path / "model.pkl").symlink_to("blob")
    source = open_source(str(tmp_path / "model.pkl"))
    assert isinstance(source, LocalSource)
    (file,) = source.files()
    assert (file.path, file.kind, content_of(source, file)) == ("model.pkl", "file", b"x")
    assert open_source(source.location).files() == (file,)
    assert source.stamp(file) == file.stamp


def test_location_is_absolute_and_opens_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "w").write_bytes(b"x")
    (tmp_path / "latest").symlink_to("v1")
    monkeypatch.chdir(tmp_path)
    source = open_source("latest")
    monkeypatch.chdir("/")
    assert source.location == str(tmp_path / "v1")
    assert open_source(source.location).files() == source.files() != ()


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = os.open(path.parent, os.O_RDONLY)  # a socket's path may have 107 bytes at most
        one.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


REFUSED: dict[str, Callable[[Path], object]] = {
    "socket": lambda folder: _socket(folder / "s"),
    "pipe": lambda folder: os.mkfifo(folder / "p"),
    "absolute link": lambda folder: (folder / "l").symlink_to(folder / "w"),
    "link above": lambda folder: (folder / "l").symlink_to("../x"),
    "link out and in again": lambda folder: (folder / "l").symlink_to(f"../{folder.name}/w"),
    "link that might leave through another": lambda folder: (folder / "l").symlink_to("a/../../x"),
    "newline": lambda folder: (folder / "a\nb").touch(),
    "escape": lambda folder: (folder / "a\x1bb").touch(),
    "delete": lambda folder: (folder / "a\x7fb").touch(),
    "newline in a target": lambda folder: (folder / "l").symlink_to("a\nb"),
    "not UTF-8": lambda folder: Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).touch(),
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_refuses(tmp_path: Path, make: Callable[[Path], object]) -> None:
    (tmp_path / "w").write_bytes(b"x")
    make(tmp_path)
    with pytest.raises(RefusedError) as caught:
        LocalSource(str(tmp_path)).files()
    assert str(tmp_path) in str(caught.value) and "\n" not in caught.value.subject


def test_missing_empty_and_unknown(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    with pytest.raises(NotFoundError):
        open_source(str(tmp_path / "nothing")).files()
    with pytest.raises(InputError, match="no file"):
        open_source(str(tmp_path / "folder")).files()
    with pytest.raises(InputError, match="ftp"):
        open_source("ftp://host/model")


CHANGES: dict[str, Callable[[Path], object]] = {
    "shorter": lambda path: os.truncate(path, 2 * MIB),
    "longer": lambda path: os.truncate(path, 4 * MIB),
    "other bytes": lambda path: path.write_bytes(b"y" * (3 * MIB)),
    "touched": lambda path: os.utime(path, ns=(1, 1)),
    "replaced": lambda path: (path.with_name("new").write_bytes(b"x" * (3 * MIB)), path.with_name("new").replace(path)),
    "gone": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a link": lambda path: (path.rename(path.with_name("moved")), path.symlink_to("moved")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("when", ["before", "between"])
def test_a_file_that_changes_under_the_reader(tmp_path: Path, change: Callable[[Path], object], when: str) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"x" * (3 * MIB))
    source = LocalSource(str(tmp_path))
    (file,) = source.files()
    pieces = source.read(file)
    if when == "between":
        assert len(next(pieces)) == MIB
    change(path)
    assert source.stamp(file) != file.stamp
    with pytest.raises(SourceChangedError) as caught:
        list(pieces)
    assert str(path) in str(caught.value)


def test_without_a_stamp_only_the_size_counts(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"same")
    source = LocalSource(str(tmp_path))
    (file,) = source.files()
    os.utime(tmp_path / "w", ns=(1, 1))
    with pytest.raises(SourceChangedError):
        content_of(source, file)
    assert content_of(source, replace(file, stamp="")) == b"same"
    (tmp_path / "w").write_bytes(b"other")
    with pytest.raises(SourceChangedError):
        content_of(source, replace(file, stamp=""))


def test_what_may_not_be_read_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"x")
    (tmp_path / "w").chmod(0)
    source = LocalSource(str(tmp_path))
    files = source.files()
    user = os.geteuid()
    if user == 0:  # who may read everything
        os.seteuid(65534)
    try:
        with pytest.raises(InputError, match="cannot be read"):
            content_of(source, files[0])
    finally:
        os.seteuid(user)
