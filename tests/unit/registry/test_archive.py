"""The tar file, as its readers see it."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from modelpack import oci
from modelpack.errors import IntegrityError, NotFoundError
from modelpack.reference import Reference
from modelpack.registry import LayoutRepository
from modelpack.registry.archive import image_for, image_pieces, write_archive
from tests.fakes.artifacts import AMD64, ARM64, artifact

REFERENCE = Reference.parse("registry.local/models/mpg:v1")


def archive(whole: oci.Artifact) -> bytes:
    file = io.BytesIO()
    write_archive(file, whole, REFERENCE)
    return file.getvalue()


def test_it_is_a_layout_and_dockers_own(tmp_path: Path) -> None:
    whole = artifact()
    with tarfile.open(fileobj=io.BytesIO(archive(whole))) as tar:
        tar.extractall(tmp_path, filter="data")
        assert {member.mtime for member in tar} == {0}
    layout = LayoutRepository(tmp_path)
    assert layout.manifest("v1") == whole.index
    assert layout.manifest("v1-modelpack").artifact_type == oci.MODEL_MANIFEST
    for blob in (*whole.layers, *whole.configs):
        assert b"".join(layout.read_blob(blob.digest, blob.size)) == b"".join(blob.chunks())
    (entry,) = json.loads((tmp_path / "manifest.json").read_text())
    assert entry["RepoTags"] == [str(REFERENCE)]
    config = json.loads((tmp_path / entry["Config"]).read_text())
    assert config["architecture"] == "amd64"
    assert [oci.digest_of((tmp_path / each).read_bytes()) for each in entry["Layers"]] == config["rootfs"]["diff_ids"]


def test_same_artifact_same_bytes() -> None:
    assert archive(artifact()) == archive(artifact())


def test_one_image_alone() -> None:
    whole = artifact()
    with tarfile.open(fileobj=io.BytesIO(b"".join(image_pieces(whole, REFERENCE, ARM64)))) as tar:
        assert len(tar.getnames()) == 1 + 1 + len(whole.layers)
        manifest = tar.extractfile("manifest.json")
        assert manifest
        assert json.load(manifest)[0]["Config"].endswith(whole.images[1].config.digest[7:])


def test_an_image_for_every_platform_but_no_other() -> None:
    whole = artifact()
    assert [image_for(whole, each) for each in (AMD64, ARM64)] == list(whole.images)
    with pytest.raises(NotFoundError, match="has no image for linux/s390x, only linux/amd64, linux/arm64"):
        image_for(whole, oci.Platform("linux", "s390x"))


def test_wrong_bytes_are_noticed() -> None:
    class Liar(oci.Blob):
        digest = oci.digest_of(b"something else")

    with pytest.raises(IntegrityError):
        archive(
            oci.Artifact((Liar(b"x", oci.IMAGE_LAYER),), (), artifact().modelpack, artifact().images, artifact().index)
        )
