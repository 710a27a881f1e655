"""Image layouts on disk."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelpack import oci
from modelpack.errors import IntegrityError, NotFoundError, RemoteError
from modelpack.registry import LayoutRepository
from tests.fakes.artifacts import artifact, push


@dataclass
class Layer:
    data: bytes = b"0123456789"
    digest: str = ""
    size: int = 10
    media_type: str = oci.IMAGE_LAYER

    def chunks(self) -> Iterator[memoryview]:
        yield memoryview(self.data)[:4]
        yield memoryview(self.data)[4:]


@pytest.fixture
def layout(tmp_path: Path) -> LayoutRepository:
    return LayoutRepository(tmp_path / "models" / "mpg")


def files(layout: LayoutRepository) -> set[str]:
    return {str(each.relative_to(layout.path)) for each in layout.path.rglob("*") if each.is_file()}


def test_what_goes_in_comes_out(layout: LayoutRepository) -> None:
    whole = artifact()
    push(whole, layout, "v1")
    assert layout.manifest("v1") == layout.manifest(whole.index.digest) == whole.index
    assert layout.manifest("v1-modelpack").artifact_type == oci.MODEL_MANIFEST
    for layer in whole.layers:
        assert b"".join(layout.read_blob(layer.digest, layer.size)) == b"".join(layer.chunks())
    blobs = {each.removeprefix("blobs/sha256/") for each in files(layout) if each.startswith("blobs")}
    for name in blobs:
        assert oci.digest_of((layout.path / "blobs/sha256" / name).read_bytes()) == f"sha256:{name}"
    assert files(layout) - {f"blobs/sha256/{each}" for each in blobs} == {"oci-layout", "index.json", "index.json.lock"}
    assert json.loads((layout.path / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}


def test_a_tag_moves_and_is_not_multiplied(layout: LayoutRepository) -> None:
    for content in (b"one", b"two"):
        push(artifact(content), layout, "v1")
    push(artifact(b"one"), layout, "v2")
    index = json.loads((layout.path / "index.json").read_text())
    names = [each["annotations"][oci.ANNOTATION_REF_NAME] for each in index["manifests"]]
    assert names == ["v1-modelpack", "v1", "v2-modelpack", "v2"]
    assert layout.manifest("v1") == artifact(b"two").index


def test_a_known_blob_is_not_read_again(layout: LayoutRepository) -> None:
    digest = layout.push_layer(Layer()).digest
    assert layout.push_layer(Layer(b"not looked at", digest)).digest == digest


def test_a_blob_that_somebody_cut_off_is_written_again(layout: LayoutRepository) -> None:
    digest = layout.push_layer(Layer()).digest
    (layout.path / "blobs" / "sha256" / digest[7:]).write_bytes(b"0123")
    layout.push_layer(Layer(digest=digest))
    assert b"".join(layout.read_blob(digest, 10)) == Layer.data


@pytest.mark.parametrize("layer", [Layer(size=9), Layer(size=11), Layer(digest=oci.digest_of(b"other"))])
def test_wrong_bytes_leave_nothing(layer: Layer, layout: LayoutRepository) -> None:
    with pytest.raises(IntegrityError):
        layout.push_layer(layer)
    assert files(layout) == {"oci-layout"}


def test_errors_of_the_source_are_its_own(layout: LayoutRepository) -> None:
    class Broken(Layer):
        def chunks(self) -> Iterator[memoryview]:
            yield memoryview(b"0")
            raise OSError(errno.EIO, "the source's disk")

    with pytest.raises(OSError, match="the source's disk"):
        layout.push_layer(Broken())
    assert files(layout) == {"oci-layout"}


def test_no_tag_for_what_is_not_all_there(layout: LayoutRepository) -> None:
    with pytest.raises(IntegrityError, match="is not there, and the manifest v1 needs it"):
        layout.push_manifest(artifact().index, "v1")
    assert not (layout.path / "index.json").exists()


@pytest.mark.parametrize("data", [b"012345678!", b"0123456789!", b"01234"])
def test_damaged_blobs_are_noticed(data: bytes, layout: LayoutRepository) -> None:
    digest = layout.push_layer(Layer()).digest
    (layout.path / "blobs" / "sha256" / digest[7:]).write_bytes(data)
    with pytest.raises(IntegrityError):
        list(layout.read_blob(digest, 10))


@pytest.mark.parametrize("locator", ["v1", oci.digest_of(b"?")])
def test_what_is_not_there(locator: str, layout: LayoutRepository) -> None:
    with pytest.raises(NotFoundError):
        layout.manifest(locator)
    push(artifact(), layout, "v0")
    with pytest.raises(NotFoundError):
        layout.manifest(locator)
    with pytest.raises(NotFoundError):
        list(layout.read_blob(oci.digest_of(b"?"), 1))


@pytest.mark.parametrize(
    ("annotations", "locator"),
    [
        ({oci.ANNOTATION_REF_NAME: "registry.example.com:5000/mpg:v1"}, "v1"),
        ({oci.ANNOTATION_REF_NAME: "latest"}, "latest"),
        ({}, "latest"),
    ],
)
def test_names_that_other_tools_write(annotations: dict[str, str], locator: str, layout: LayoutRepository) -> None:
    whole = artifact()
    push(whole, layout, "x")
    entry = {**whole.index.descriptor.to_json(), "annotations": annotations}
    (layout.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    assert layout.manifest(locator) == whole.index


@pytest.mark.parametrize("text", ["", "[]", '{"manifests": [1]}', '{"manifests": [{"digest": "sha256:../x"}]}'])
def test_a_broken_index(text: str, layout: LayoutRepository) -> None:
    push(artifact(), layout, "v1")
    (layout.path / "index.json").write_text(text)
    for act in (lambda: layout.manifest("v1"), lambda: push(artifact(), layout, "v2")):
        with pytest.raises(IntegrityError, match="is not the index of an image layout"):
            act()
    assert (layout.path / "index.json").read_text() == text


def test_a_digest_is_no_path(layout: LayoutRepository) -> None:
    with pytest.raises(IntegrityError, match="is not a sha256 digest"):
        list(layout.read_blob("sha256:../../index.json", 1))


def test_many_writers(layout: LayoutRepository) -> None:
    def write(number: int) -> None:
        push(artifact(b"%d" % (number % 3)), LayoutRepository(layout.path), f"v{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(24)))
    assert {layout.manifest(f"v{number}").digest for number in range(24)} == {
        artifact(b"%d" % number).index.digest for number in range(3)
    }


_FULL = """
import resource, signal, sys
from pathlib import Path
from modelpack.errors import RemoteError
from modelpack.registry import LayoutRepository
from modelpack import oci
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    LayoutRepository(Path(sys.argv[1])).push_layer(oci.Blob(bytes(200_000), oci.IMAGE_LAYER))
except RemoteError as error:
    print(error)
"""


def test_a_disk_without_room(layout: LayoutRepository) -> None:
    """The limit on a file's size stands for a full disk, which only root can make."""
    argv = [sys.executable, "-c", _FULL, str(layout.path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert "the disk is full; make room, then run the same command again" in done.stdout
    assert files(layout) == {"oci-layout"}


def test_a_file_where_the_layout_should_be(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(RemoteError, match="cannot be written"):
        LayoutRepository(tmp_path / "x").push_layer(Layer())


def test_a_folder_that_is_not_ours_to_read(layout: LayoutRepository) -> None:
    push(artifact(), layout, "v1")
    layout.path.chmod(0)
    user = os.geteuid()
    if user == 0:  # who may read everything
        os.seteuid(65534)
    try:
        for act in (lambda: layout.manifest("v1"), lambda: push(artifact(b"new"), layout, "v2")):
            with pytest.raises(RemoteError, match="cannot be"):
                act()
    finally:
        os.seteuid(user)
        layout.path.chmod(0o755)


def test_an_index_that_lies_untouched_is_read_once_and_a_change_is_seen(layout: LayoutRepository) -> None:
    push(artifact(), layout, "v1")
    index = layout.path / "index.json"
    os.utime(index, (1e9, 1e9))
    assert "v1" in layout.tags()
    before = index.read_bytes()
    index.write_bytes(before.replace(b'"v1"', b'"v2"'))
    os.utime(index, (1e9, 1e9))
    assert "v1" in layout.tags()  # nothing tells it from what was read
    os.utime(index, (1e9, 1e9 + 1))
    assert "v2" in layout.tags()


def test_a_young_index_is_read_again_because_two_changes_may_have_one_time(layout: LayoutRepository) -> None:
    push(artifact(), layout, "v1")
    index = layout.path / "index.json"
    stat = index.stat()
    assert "v1" in layout.tags()
    index.write_bytes(index.read_bytes().replace(b'"v1"', b'"v2"'))
    os.utime(index, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert "v2" in layout.tags()


def test_what_is_written_is_made_of_what_lies_there_now(layout: LayoutRepository) -> None:
    push(artifact(), layout, "v1")
    index = layout.path / "index.json"
    os.utime(index, (1e9, 1e9))
    layout.tags()
    index.write_bytes(index.read_bytes().replace(b'"v1"', b'"v2"'))
    os.utime(index, (1e9, 1e9))
    push(artifact(), layout, "v3")
    assert {"v2", "v3"} <= set(layout.tags()) and "v1" not in layout.tags()
