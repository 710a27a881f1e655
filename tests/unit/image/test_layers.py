"""Layers are the same bytes for the same model, whoever packs it; their sizes are known before a byte is read."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.errors import RefusedError, SourceChangedError
from modelpack.files import File
from modelpack.image import ModelLayer, plan_layers
from modelpack.image.layers import BIG, MAX_BIG_LAYERS
from tests.fakes.source import FakeSource

GIB = 1 << 30


def layers_of(content: dict[str, bytes | int | str | None], prefix: str = "/models") -> tuple[ModelLayer, ...]:
    source = FakeSource(content)
    return plan_layers(source, source.files(), prefix)


def data_of(layer: ModelLayer) -> bytes:
    return b"".join(layer.chunks())


def listing(layer: ModelLayer) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data_of(layer))) as archive:
        return {member.name: member for member in archive}


def test_an_entry_says_nothing_about_who_packed_it() -> None:
    source = FakeSource({"run": b"#!", "sub/w": b"abc", "link": "-> sub/w"}, executable=frozenset({"run"}))
    (layer,) = plan_layers(source, source.files(), "/models")
    found = listing(layer)
    assert list(found) == ["models", "models/link", "models/run", "models/sub", "models/sub/w"]
    assert {(m.uid, m.gid, m.mtime, m.uname, m.gname) for m in found.values()} == {(0, 0, 0, "", "")}
    assert [oct(m.mode) for m in found.values()] == ["0o755", "0o777", "0o755", "0o755", "0o644"]
    assert found["models/link"].linkname == "sub/w"


def test_the_bytes_are_those_of_every_release() -> None:
    """A change here is a new digest for every model there is."""
    names = {"a": b"1", "empty": b"", "folder": None, "link": "-> a", "ü/" + "n" * 300: b"x" * 600}
    (layer,) = layers_of(names)
    digest = "19d9b8d56526326932421418a4db6cb12f3e34a14915e507b81a4fb3c9e3c702"
    assert hashlib.sha256(data_of(layer)).hexdigest() == digest


@given(
    st.dictionaries(
        st.sampled_from(["a", "b/c", "b/d", "e.txt", "é", "b c", "z/" + "y" * 120]), st.binary(max_size=2000)
    )
)
def test_size_is_exact_and_order_is_nothing(content: dict[str, bytes]) -> None:
    source = FakeSource(content)
    one = plan_layers(source, source.files(), "/models")
    other = plan_layers(source, tuple(reversed(source.files())), "/models")
    assert list(map(data_of, one)) == list(map(data_of, other))
    assert [layer.size for layer in one] == [len(data_of(layer)) for layer in one]


@given(st.lists(st.sampled_from([0, 1, BIG - 1, BIG, BIG + 1, 3 * BIG]), max_size=400))
def test_every_file_is_in_exactly_one_of_at_most_91_layers(sizes: list[int]) -> None:
    layers = layers_of({f"f{index:03}": size for index, size in enumerate(sizes)})
    assert sorted(file.path for layer in layers for file in layer.files) == [
        f"f{index:03}" for index in range(len(sizes))
    ]
    big = [layer for layer in layers if layer.files[0].size >= BIG]
    small = [layer for layer in layers if layer.files[0].size < BIG]
    assert len(big) == min(MAX_BIG_LAYERS, sum(size >= BIG for size in sizes))
    assert layers == (*big, *small) and len(small) <= 1


def test_big_files_come_first_and_each_layer_stands_alone() -> None:
    layers = layers_of({"z/w.bin": BIG, "a": b"1", "b/w.bin": BIG, "empty": None})
    assert [layer.filepath for layer in layers] == ["models/b/w.bin", "models/z/w.bin", "models"]
    assert list(listing(layers[1])) == ["models", "models/z", "models/z/w.bin"]
    assert list(listing(layers[2])) == ["models", "models/a", "models/empty"]


def test_a_source_that_lists_no_folders_gives_the_same_layers() -> None:
    assert list(map(data_of, layers_of({"a/b": b"1"}))) == list(map(data_of, layers_of({"a": None, "a/b": b"1"})))


@pytest.mark.parametrize("size", [8 * GIB - 1, 8 * GIB, 8 * GIB + 1, 5000 * GIB])
def test_a_file_beyond_what_the_old_header_holds(size: int) -> None:
    """Only the beginning is read, so the 5 TB cost nothing."""
    (layer,) = layers_of({"w.bin": size})
    start = b"".join(bytes(chunk) for chunk, _ in zip(layer.chunks(), range(2), strict=False))
    with tarfile.open(fileobj=io.BytesIO(start)) as archive:
        folder, file = archive.next(), archive.next()
    assert folder and file
    assert (file.name, file.size) == ("models/w.bin", size)
    assert layer.size == file.offset_data + size + -size % 512 + 1024


def test_chunks_are_the_source_s_own_pieces() -> None:
    """No copy of a big file's bytes is made on the way."""
    source = FakeSource({"w": BIG})
    (layer,) = plan_layers(source, source.files(), "/models")
    pieces = {id(piece.obj) for piece in source.read(source.files()[0])}
    assert sum(len(chunk) for chunk in layer.chunks() if id(chunk.obj) in pieces) == BIG


def test_a_touched_file_is_an_error_only_while_no_digest_is_known() -> None:
    source = FakeSource({"w": b"same"})
    (layer,) = plan_layers(source, source.files(), "/models")
    before = data_of(layer)
    source.stamps["w"] = "2"
    with pytest.raises(SourceChangedError):
        data_of(layer)
    assert data_of(layer.with_digest("sha256:" + "0" * 64)) == before


@pytest.mark.parametrize("given_bytes", [b"", b"abc", b"abcde"])
def test_a_source_that_gives_another_number_of_bytes(given_bytes: bytes) -> None:
    class Lying(FakeSource):
        def read(self, file: File) -> chain[memoryview]:  # type: ignore[override]
            return chain([memoryview(given_bytes)])

    source = Lying({"w": b"four"})
    (layer,) = plan_layers(source, source.files(), "/models")
    with pytest.raises(SourceChangedError):
        data_of(layer)


@pytest.mark.parametrize(
    "content",
    [
        *({name: b""} for name in ("/a", "a//b", "../a", "a/..", "./a", "a/.wh.b", ".wh..wh..opq")),
        *({name: b""} for name in (".modelpack.json", ".modelpack.files", ".modelpack.tmp/x")),
        {"a": b"", "a/b": b""},
        {"a": "-> c", "a/b": b""},
    ],
    ids=str,
)
def test_names_that_an_image_or_volume_cannot_have(content: dict[str, bytes | int | str | None]) -> None:
    with pytest.raises(RefusedError):
        layers_of(content)


PROGRAM = """
import hashlib, sys
from modelpack.source import open_source
from modelpack.image import plan_layers
source = open_source(sys.argv[1])
for layer in plan_layers(source, source.files(), "/models"):
    print(hashlib.sha256(b"".join(layer.chunks())).hexdigest())
"""
CONTENT = {"b": b"2", "a/ü": b"1", "a/日本 x": b"3", "c": b"", "run.sh": b"#!"}


def test_neither_machine_nor_user_shows_in_a_digest(tmp_path: Path) -> None:
    """Other order on disk, times, umask, user, locale, time zone, hash seed: the same digest."""
    seen = set()
    variants = [
        (list(CONTENT), 0o022, {}, 0),
        (list(reversed(CONTENT)), 0o077, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, 1_000_000_000),
        (sorted(CONTENT), 0o002, {"TZ": "Asia/Kathmandu", "LC_ALL": "tr_TR.UTF-8", "PYTHONHASHSEED": "7"}, 12345),
    ]
    for number, (order, umask, environment, time) in enumerate(variants):
        root = tmp_path / str(number) / "model"
        before = os.umask(umask)
        try:
            for name in order:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(CONTENT[name])
                if time:
                    os.utime(root / name, (time, time))
            (root / "run.sh").chmod(0o700 if number else 0o755)
            (root / "link").symlink_to("b")
            if os.getuid() == 0 and number:
                os.chown(root / "b", 1234, 1234)
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, root],
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )
        finally:
            os.umask(before)
        seen.add(done.stdout)
    assert len(seen) == 1
    assert len(seen.pop().split()) == 1


def test_a_file_that_was_empty_and_is_no_more() -> None:
    source = FakeSource({"a": b"1", "w": b""})
    (layer,) = plan_layers(source, source.files(), "/models")
    source.content["w"] = b"weights"
    with pytest.raises(SourceChangedError):
        data_of(layer)


def test_big_layers_have_one_order_and_are_90_at_most() -> None:
    source = FakeSource({f"{number:03}": BIG for number in range(200)})
    layers = plan_layers(source, source.files(), "/models")
    assert layers == plan_layers(source, source.files()[::-1], "/models")
    assert len(layers) == 90
