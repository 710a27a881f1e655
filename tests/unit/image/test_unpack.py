"""Layers are applied below a folder, and nothing that an archive says leads out of it."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelpack.errors import IntegrityError, ModelpackError, RefusedError, RemoteError
from modelpack.image import extract, plan_layers
from tests.fakes.source import FakeSource

Entry = tuple[str, bytes, str]  # name, tar type, content or target


def tar_of(*entries: Entry) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, text in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o6755
            if kind == tarfile.REGTYPE:
                info.size = len(text)
            else:
                info.linkname = text
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def file(name: str, text: str = "x") -> Entry:
    return name, tarfile.REGTYPE, text


def folder(name: str) -> Entry:
    return name, tarfile.DIRTYPE, ""


def link(name: str, target: str) -> Entry:
    return name, tarfile.SYMTYPE, target


def hard(name: str, target: str) -> Entry:
    return name, tarfile.LNKTYPE, target


def pieces(data: bytes, size: int = 1000) -> Iterator[memoryview]:
    """As a registry gives them: each piece is overwritten when the next is asked for."""
    buffer = bytearray(size)
    for at in range(0, len(data), size):
        count = len(data[at : at + size])
        buffer[:count] = data[at : at + size]
        yield memoryview(buffer)[:count]
        buffer[:] = bytes(size)


def tree(root: Path) -> dict[str, str]:
    """Every file with its text, every link with its target, every empty folder as "/"."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = path.read_text()
        elif not any(path.iterdir()):
            found[name] = "/"
    return found


NAMES = st.sampled_from(["a", "b c", "d/e", "d/ü", "d/f/" + "g" * 130, "*?", "back\\slash", "-n"])


@given(st.dictionaries(NAMES, st.one_of(st.binary(max_size=3000), st.none(), st.just("-> a")), min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_packed_comes_out(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes | int | str | None]
) -> None:
    root = tmp_path_factory.mktemp("root")
    source = FakeSource(content)
    for layer in plan_layers(source, source.files(), "/models"):
        extract(layer.chunks(), root)
    for name, value in content.items():
        path = root / "models" / name
        if value is None:
            assert path.is_dir()
        elif isinstance(value, str):
            assert str(path.readlink()) == "a"
        else:
            assert path.read_bytes() == value


@pytest.mark.parametrize(
    "compress", [bytes, gzip.compress, lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:])]
)
def test_plain_and_gzip(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    extract(pieces(compress(tar_of(file("./etc/a"), link("bin/sh", "/bin/busybox"), hard("b", "etc/a")))), tmp_path)
    assert tree(tmp_path) == {"etc/a": "x", "bin/sh": "-> ../bin/busybox", "b": "x"}
    assert (tmp_path / "b").samefile(tmp_path / "etc" / "a")
    assert (tmp_path / "etc" / "a").stat().st_mode & 0o7777 == 0o755


LAYERS: dict[str, tuple[list[list[Entry]], dict[str, str]]] = {
    "a file in place of another": ([[file("a", "1")], [file("a", "22")]], {"a": "22"}),
    "a file in place of a folder": ([[file("a/b")], [file("a")]], {"a": "x"}),
    "a folder in place of a file": ([[file("a")], [folder("a"), file("a/b")]], {"a/b": "x"}),
    "a file in place of a link": ([[link("a", "b"), file("b", "keep")], [file("a", "new")]], {"a": "new", "b": "keep"}),
    "a folder in place of a link": (
        [[link("a", "b"), folder("b")], [folder("a"), file("a/c")]],
        {"a/c": "x", "b": "/"},
    ),
    "folders merge": ([[file("a/b")], [folder("a"), file("a/c")]], {"a/b": "x", "a/c": "x"}),
    "a whiteout": ([[file("a/b/c"), file("a/d")], [file("a/.wh.b", "")]], {"a/d": "x"}),
    "a whiteout of nothing": ([[file("a")], [file(".wh.zz", "")]], {"a": "x"}),
    "an opaque folder": ([[file("a/b"), file("c")], [file("a/.wh..wh..opq", ""), file("a/d")]], {"a/d": "x", "c": "x"}),
    "an opaque folder named late": (
        [[file("a/b/c")], [file("a/b/d"), file("a/.wh..wh..opq", "")]],
        {"a/b/d": "x"},
    ),
    "a whiteout of a link removes the link": (
        [[link("a", "b"), file("b/c")], [file(".wh.a", "")]],
        {"b/c": "x"},
    ),
}


@pytest.mark.parametrize(("layers", "expected"), LAYERS.values(), ids=LAYERS)
def test_layers_on_layers(tmp_path: Path, layers: list[list[Entry]], expected: dict[str, str]) -> None:
    for entries in layers:
        extract(pieces(tar_of(*entries)), tmp_path)
    assert tree(tmp_path) == expected


UNSAFE: dict[str, list[Entry]] = {
    "absolute": [file("/etc/x")],
    "above": [file("../x")],
    "above in the middle": [file("a/../../x")],
    "whiteout above": [file("../.wh.outside", "")],
    "whiteout of ..": [file(".wh...", "")],
    "whiteout of the folder itself": [file(".wh..", "")],
    "whiteout of nothing": [file(".wh.", "")],
    "link above": [link("a", "../x")],
    "deep link above": [link("a/b", "../../x")],
    "absolute link above": [link("a", "/../x")],
    "link through another": [link("a/up", "../b/.."), file("x")],
    "below a link": [link("a", "b"), folder("b"), file("a/x")],
    "below a link out": [link("a", "/"), file("a/x")],
    "below a file": [file("a"), file("a/x")],
    "hard link above": [hard("a", "../outside")],
    "hard link to a link": [link("a", "b"), hard("c", "a")],
    "hard link below a link": [folder("b"), file("b/c"), link("a", "b"), hard("d", "a/c")],
    "hard link to nothing": [hard("a", "b")],
    "device": [("null", tarfile.CHRTYPE, "")],
    "disk": [("sda", tarfile.BLKTYPE, "")],
    "pipe": [("p", tarfile.FIFOTYPE, "")],
}


@pytest.mark.parametrize("entries", UNSAFE.values(), ids=UNSAFE)
def test_refuses_what_would_leave_the_folder(tmp_path: Path, entries: list[Entry]) -> None:
    (tmp_path / "outside").write_text("untouched")
    with pytest.raises(RefusedError):
        extract(pieces(tar_of(*entries)), tmp_path / "root")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "root"]
    assert (tmp_path / "outside").read_text() == "untouched"


LINKS = st.lists(
    st.tuples(st.sampled_from("abc"), st.lists(st.sampled_from(["..", "a", "b", "c", "d"]), max_size=4), st.booleans()),
    max_size=6,
)


@given(LINKS)
def test_no_combination_of_links_leads_out(tmp_path_factory: pytest.TempPathFactory, links: list) -> None:  # type: ignore[type-arg]
    root = tmp_path_factory.mktemp("outer") / "root"
    for name, target, inner in links:
        entry = link(f"d/{name}" if inner else name, "/".join(target))
        try:
            extract(pieces(tar_of(entry)), root)
        except RefusedError:
            continue
    for path in root.rglob("*"):
        real = os.path.realpath(path)
        assert os.path.commonpath([real, root.resolve()]) == str(root.resolve())


@pytest.mark.parametrize(
    "data",
    [b"", b"not a tar at all" * 100, tar_of(file("a", "x" * 5000))[:3000], gzip.compress(tar_of(file("a")))[:60]],
    ids=["nothing", "garbage", "cut short", "gzip cut short"],
)
def test_a_broken_layer_is_an_integrity_error(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(IntegrityError):
        extract(pieces(data), tmp_path)


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.size": "x"},
        {"GNU.sparse.map": "1,x"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
    ],
    ids=str,
)
def test_extended_headers_that_make_no_sense(tmp_path: Path, headers: dict[str, str]) -> None:
    info = tarfile.TarInfo("a")
    info.pax_headers = headers
    with pytest.raises(IntegrityError):
        extract(pieces(info.tobuf() + bytes(1024)), tmp_path)


def test_extended_headers_without_end(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.pax_headers = {"comment": "x"}
    with pytest.raises(IntegrityError):
        extract(pieces(info.tobuf()[:1024] * 3000), tmp_path)


@given(st.integers(0, 1535), st.integers(0, 255))
def test_a_flipped_byte_is_never_a_bug(tmp_path_factory: pytest.TempPathFactory, at: int, value: int) -> None:
    data = bytearray(tar_of(file("a" * 120, "hello")))
    data[at] = value
    with contextlib.suppress(ModelpackError):
        extract(pieces(bytes(data)), tmp_path_factory.mktemp("root"))


def test_zstd_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="zstd"):
        extract(pieces(b"\x28\xb5\x2f\xfd" + bytes(100)), tmp_path)


def test_the_source_is_read_to_its_end_so_that_its_digest_gets_checked(tmp_path: Path) -> None:
    def checked() -> Iterator[memoryview]:
        yield from pieces(tar_of(file("a")) + bytes(1 << 16))
        raise IntegrityError("layer", "digest differs")

    with pytest.raises(IntegrityError, match="digest differs"):
        extract(checked(), tmp_path)


def test_a_disk_that_does_not_take_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    name = "n" * 300  # longer than a file system's 255 bytes
    with pytest.raises(RemoteError):
        extract(pieces(tar_of(file(name))), tmp_path)
