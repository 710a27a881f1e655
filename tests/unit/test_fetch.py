"""What `verify` and `pull` make of images that somebody else wrote, read from layouts on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelpack import fetch, oci
from modelpack.definition import Copy
from modelpack.errors import InputError, IntegrityError, ModelpackError, NotFoundError, RefusedError
from modelpack.image import assemble, bases_none, plan_layers
from modelpack.reference import Reference
from modelpack.registry import LayoutRepository, Via
from tests.fakes.source import FakeSource

REFERENCE = Reference.parse("registry.local/models/mpg:v1")


@pytest.fixture
def via(tmp_path: Path) -> Via:
    return Via((("registry.local", tmp_path / "registry"),))


@pytest.fixture
def layout(tmp_path: Path) -> LayoutRepository:
    return LayoutRepository(tmp_path / "registry/models/mpg")


def store(layout: LayoutRepository, *, config: dict[str, Any] | None = None, note: str = "") -> None:
    """A model container at the tag v1, whose image has another config or whose index names another model digest."""
    source = FakeSource({"w": b"weights", "sub/x": b"1"})
    layers = [
        each.with_digest(layout.push_layer(each).digest) for each in plan_layers(source, source.files(), "/models")
    ]
    made = assemble(name="mpg", version="v1", copy=Copy(), layers=layers, bases=bases_none()[:1])
    for blob in (*made.layers, *made.configs):
        layout.push_layer(blob)
    layout.push_manifest(made.modelpack, "v1-modelpack")
    manifest = json.loads(made.images[0].raw)
    blob = oci.Blob(oci.canonical_json({**json.loads(made.configs[-1].data), **(config or {})}), oci.IMAGE_CONFIG)
    layout.push_layer(blob)
    image = oci.Manifest(oci.canonical_json({**manifest, "config": blob.descriptor.to_json()}), oci.IMAGE_MANIFEST)
    layout.push_manifest(image)
    index = json.loads(made.index.raw)
    index["manifests"] = [image.descriptor.to_json()]
    index["annotations"][oci.ANNOTATION_MODEL_DIGEST] = note or made.model_digest
    layout.push_manifest(oci.Manifest(oci.canonical_json(index), oci.IMAGE_INDEX), "v1")


@pytest.mark.parametrize("there", [False, True], ids=["new", "empty"])
def test_pull(there: bool, layout: LayoutRepository, via: Via, tmp_path: Path) -> None:
    """A folder that is there stays the same one: it may be a mounted volume, or the working directory."""
    store(layout)
    folder = tmp_path / "out"
    if there:
        folder.mkdir()
    inode = folder.stat().st_ino if there else None
    fetch.pull(REFERENCE, folder, via)
    assert sorted(path.name for path in folder.rglob("*")) == ["sub", "w", "x"]
    assert inode in (None, folder.stat().st_ino)
    with pytest.raises(RefusedError, match="not an empty folder"):
        fetch.pull(REFERENCE, folder, via)


def test_a_name_that_no_folder_can_have(layout: LayoutRepository, via: Via) -> None:
    store(layout)
    with pytest.raises(ModelpackError, match="too long"):
        fetch.pull(REFERENCE, Path("n" * 300), via)


@pytest.mark.parametrize(
    "config",
    [{"config": None}, {"config": {"Env": None}}, {"config": {"Env": ["MODELPACK_SRC=models"]}}, {"config": [1]}],
    ids=str,
)
def test_an_image_that_does_not_say_where_its_model_is(
    config: dict[str, Any], layout: LayoutRepository, via: Via, tmp_path: Path
) -> None:
    store(layout, config=config)
    with pytest.raises(NotFoundError, match="MODELPACK_SRC"):
        fetch.pull(REFERENCE, tmp_path / "out", via)


def test_an_image_that_points_to_no_model(layout: LayoutRepository, via: Via, tmp_path: Path) -> None:
    store(layout, config={"config": {"Env": ["MODELPACK_SRC=/elsewhere"]}})
    with pytest.raises(IntegrityError, match="no folder /elsewhere"):
        fetch.pull(REFERENCE, tmp_path / "out", via)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rootfs", [None, [], {"diff_ids": 5}, {"diff_ids": [[], {}]}, {"diff_ids": []}], ids=str)
def test_diff_ids_that_are_not_the_layers(rootfs: Any, layout: LayoutRepository, via: Via) -> None:
    store(layout, config={"rootfs": rootfs})
    with pytest.raises(IntegrityError, match="diff_ids"):
        fetch.verify(REFERENCE, via)


def test_diff_ids_in_another_order(layout: LayoutRepository, via: Via) -> None:
    store(layout)
    fetch.verify(REFERENCE, via)
    image = layout.manifest(layout.manifest("v1").manifests[0].digest)
    turned = [layer.digest for layer in reversed(image.layers)]
    store(layout, config={"rootfs": {"type": "layers", "diff_ids": turned}})
    with pytest.raises(IntegrityError, match="diff_ids"):
        fetch.verify(REFERENCE, via)


def test_a_tag_is_no_model_digest(layout: LayoutRepository, via: Via) -> None:
    """It would be read without anything to hold it against."""
    store(layout, note="v1-modelpack")
    with pytest.raises(InputError, match="names no model digest"):
        fetch.verify(REFERENCE, via)


def test_the_tag_of_another_model(layout: LayoutRepository, via: Via) -> None:
    store(layout)
    layout.push_manifest(layout.manifest(layout.manifest("v1").manifests[0].digest), "v1-modelpack")
    with pytest.raises(IntegrityError, match="names another model"):
        fetch.verify(REFERENCE, via)


def test_an_image_that_carries_another_model(layout: LayoutRepository, via: Via) -> None:
    store(layout)
    model = json.loads(layout.manifest("v1-modelpack").raw)
    other = oci.Manifest(oci.canonical_json({**model, "layers": model["layers"] * 2}), oci.IMAGE_MANIFEST)
    store(layout, note=other.digest)
    layout.push_manifest(other, "v1-modelpack")
    with pytest.raises(IntegrityError, match="does not start with the model's layers"):
        fetch.verify(REFERENCE, via)
