"""Manifests say what the specifications want, and a model's identity is that of its files alone."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import pytest

from modelpack import oci
from modelpack.definition import Copy
from modelpack.errors import InputError, RefusedError
from modelpack.image import Base, ModelLayer, assemble, bases_none, plan_layers
from modelpack.image.layers import BIG
from tests.fakes.source import FakeSource

COPY = Copy("/models", "/mnt/models", "size")
LAYER = oci.Blob(b"a base's layer", oci.IMAGE_LAYER + "+gzip")
BASE = Base(oci.Platform("linux", "arm", "v7"), (LAYER,), ("sha256:" + "d" * 64,), ("PATH=/busybox", "LANG=C"))


def layers_of(content: dict[str, bytes | int | str | None]) -> tuple[ModelLayer, ...]:
    source = FakeSource(content)
    layers = plan_layers(source, source.files(), COPY.source)
    return tuple(layer.with_digest(f"sha256:{index:064}") for index, layer in enumerate(layers))


def artifact_of(**changes: Any) -> oci.Artifact:
    given: dict[str, Any] = {
        "name": "mpg",
        "version": "v2",
        "copy": COPY,
        "layers": layers_of({"w.bin": BIG, "a": b"1", "l": "-> a"}),
        "bases": (*bases_none(), BASE),
    }
    return assemble(**(given | changes))


def json_of(artifact: oci.Artifact, digest: str) -> Any:
    return next(json.loads(config.data) for config in artifact.configs if config.digest == digest)


def test_the_modelpack_manifest() -> None:
    artifact = artifact_of()
    manifest = artifact.modelpack
    assert manifest.artifact_type == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest.config.media_type == "application/vnd.cncf.model.config.v1+json"
    assert {layer.media_type for layer in manifest.layers} == {"application/vnd.cncf.model.weight.v1.tar"}
    paths = [layer.annotations["org.cncf.model.filepath"] for layer in manifest.layers]
    assert paths == ["models/w.bin", "models"]
    assert json_of(artifact, manifest.config.digest) == {
        "descriptor": {},
        "config": {},
        "modelfs": {"type": "layers", "diffIds": [layer.digest for layer in manifest.layers]},
    }


def test_the_index_lists_runnable_images_only() -> None:
    artifact = artifact_of()
    index = json.loads(artifact.index.raw)
    assert [each["digest"] for each in index["manifests"]] == [image.digest for image in artifact.images]
    assert [str(each.platform) for each in artifact.index.manifests] == ["linux/amd64", "linux/arm64", "linux/arm/v7"]
    assert index["annotations"] == {
        "dev.modelpack.model.digest": artifact.modelpack.digest,
        "dev.modelpack.model.name": "mpg",
        "org.opencontainers.image.version": "v2",
    }
    assert artifact.model_digest == artifact.modelpack.digest


def test_layers_from_the_bottom_model_base_copier() -> None:
    artifact = artifact_of()
    model = [layer.digest for layer in artifact.modelpack.layers]
    top = artifact.layers[-1].digest
    assert [layer.digest for layer in artifact.images[0].layers] == [*model, top]
    assert [layer.digest for layer in artifact.images[2].layers] == [*model, LAYER.digest, top]
    assert [layer.media_type for layer in artifact.images[2].layers] == [
        *[oci.IMAGE_LAYER] * 2,
        oci.IMAGE_LAYER + "+gzip",
        oci.IMAGE_LAYER,
    ]
    assert [layer.digest for layer in artifact.layers] == [*model, LAYER.digest, top]
    config = json_of(artifact, artifact.images[2].config.digest)
    assert config["rootfs"] == {"type": "layers", "diff_ids": [*model, *BASE.diff_ids, top]}


def test_the_image_config() -> None:
    artifact = artifact_of()
    config = json_of(artifact, artifact.images[2].config.digest)
    assert config["config"] == {
        "Cmd": ["sh", "/modelpack/copy.sh"],
        "Env": ["PATH=/busybox", "LANG=C", "MODELPACK_SRC=/models", "MODELPACK_DEST=/mnt/models"],
        "User": "65534:65534",
        "WorkingDir": "/",
    }
    assert (config["os"], config["architecture"], config["variant"]) == ("linux", "arm", "v7")
    assert [each["created_by"] for each in config["history"]] == [
        "model: models/w.bin",
        "model: models",
        "base",
        "copy: /modelpack/copy.sh",
    ]
    assert "created" not in config


def test_what_changes_the_model_digest_and_what_does_not() -> None:
    one = artifact_of()
    assert artifact_of() == one
    for same in ({"name": "x"}, {"version": "v3"}, {"bases": ()}, {"copy": Copy("/models", "/data", "sha256")}):
        other = artifact_of(**same)
        assert other.model_digest == one.model_digest, same
        assert other.index.digest != one.index.digest, same
    assert artifact_of(layers=layers_of({"a": b"1"})).model_digest != one.model_digest


def test_a_layer_without_a_digest_is_asked_for_too_early() -> None:
    with pytest.raises(ValueError, match="not known yet"):
        artifact_of(layers=[layer.with_digest("") for layer in layers_of({"a": b"1"})])


def test_the_copier_layer() -> None:
    artifact = artifact_of(layers=layers_of({"a/b": b"12", "e": None, "l": "-> a/b"}))
    top = artifact.layers[-1]
    assert isinstance(top, oci.Blob)
    with tarfile.open(fileobj=io.BytesIO(top.data)) as archive:
        modes = {member.name: oct(member.mode) for member in archive}
        lists = {name: archive.extractfile(f"modelpack/{name}") for name in ("files", "paths")}
        texts = {name: file.read().decode() for name, file in lists.items() if file}
    assert modes == {
        "mnt": "0o755",
        "mnt/models": "0o777",
        "modelpack": "0o755",
        "modelpack/copy.sh": "0o755",
        "modelpack/files": "0o644",
        "modelpack/paths": "0o644",
    }
    assert texts == {"files": "d 0 a\nf 2 a/b\nd 0 e\nl 0 l\na/b\n", "paths": "a/b\nl\ne/\na/\n"}


@pytest.mark.parametrize(
    ("source", "to"), [("/m", "/m/x"), ("/m/x", "/m"), ("/modelpack", "/x"), ("/x", "/modelpack/y")]
)
def test_folders_in_each_other_are_refused(source: str, to: str) -> None:
    with pytest.raises(InputError):
        artifact_of(copy=Copy(source, to, "size"))


def test_more_layers_than_a_container_can_have_are_refused() -> None:
    def base(count: int) -> Base:
        return Base(BASE.platform, (LAYER,) * count, BASE.diff_ids * count)

    assert len(artifact_of(bases=(base(124),)).images[0].layers) == 127
    with pytest.raises(RefusedError, match="has 125 layers"):
        artifact_of(bases=(base(125),))


def test_annotations_are_the_indexs_alone() -> None:
    plain, noted = (
        artifact_of(),
        artifact_of(annotations={"dev.modelpack.lineage.run": "7", oci.ANNOTATION_VERSION: "v9"}),
    )
    assert noted.index.annotations["dev.modelpack.lineage.run"] == "7"
    assert noted.index.annotations[oci.ANNOTATION_VERSION] == "v2"
    assert (noted.model_digest, noted.images) == (plain.model_digest, plain.images)
