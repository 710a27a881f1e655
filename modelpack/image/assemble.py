"""Configs, manifests and the index of a model container: values out of values, nothing is read.

Sources: OCI image specification 1.1 (config.md, manifest.md, image-index.md); CNCF ModelPack model specification, whose
config schema is closed: `descriptor`, `config` and `modelfs` are required, and nothing in them has to be filled in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from modelpack import oci
from modelpack.definition import Copy
from modelpack.errors import RefusedError
from modelpack.image.base import Base
from modelpack.image.copier import SCRIPT, copier
from modelpack.image.layers import ModelLayer

FILEPATH = "org.cncf.model.filepath"
MOST_LAYERS = 127
"""Docker and containerd mount no more in one container."""
USER = "65534:65534"
"""Nobody: passes `runAsNonRoot`, and can write an emptyDir, or a volume with an fsGroup."""
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def assemble(
    *,
    name: str,
    version: str,
    copy: Copy,
    layers: Sequence[ModelLayer],
    bases: Sequence[Base],
    annotations: Mapping[str, str] = MappingProxyType({}),
) -> oci.Artifact:
    """Everything that a tag stands for. `annotations` are more for the index, which alone has any.

    Raises ValueError for a layer whose digest is not known yet, RefusedError for more layers than a container can have.
    """
    if not all(layer.digest for layer in layers):
        raise ValueError("a layer's digest is not known yet: stream its chunks and use with_digest")
    model_config, modelpack = _modelpack(layers)
    files = [file for layer in layers for file in layer.files]
    top = copier(copy, modelpack.digest, version, files)
    configs, images, described = [model_config], [], []
    for base in bases:
        stack: list[oci.Layer] = [*layers, *base.layers, top]
        if len(stack) > MOST_LAYERS:
            problem = (
                f"has {len(base.layers)} layers; with the model's {len(layers)} they are more than {MOST_LAYERS - 1}"
            )
            raise RefusedError(f"the base for {base.platform}", problem, "choose one with fewer layers")
        diff_ids = [*(layer.digest for layer in layers), *base.diff_ids, top.digest]
        made_by = [*(f"model: {layer.filepath}" for layer in layers), *["base"] * len(base.layers), f"copy: {SCRIPT}"]
        config = _image_config(base, copy, diff_ids, made_by)
        image = _manifest(config, [_descriptor(layer).to_json() for layer in stack])
        configs.append(config)
        images.append(image)
        described.append(replace(image.descriptor, platform=base.platform).to_json())
    index = {
        "schemaVersion": 2,
        "mediaType": oci.IMAGE_INDEX,
        "manifests": described,
        "annotations": {
            **annotations,
            oci.ANNOTATION_MODEL_DIGEST: modelpack.digest,
            oci.ANNOTATION_MODEL_NAME: name,
            oci.ANNOTATION_VERSION: version,
        },
    }
    every = [*layers, *(layer for base in bases for layer in base.layers), top]
    return oci.Artifact(
        layers=tuple({layer.digest: layer for layer in every}.values()),
        configs=tuple(configs),
        modelpack=modelpack,
        images=tuple(images),
        index=oci.Manifest(oci.canonical_json(index), oci.IMAGE_INDEX),
    )


def _modelpack(layers: Sequence[ModelLayer]) -> tuple[oci.Blob, oci.Manifest]:
    """The model by itself. No name, version or time: its digest depends on the files and their folder alone."""
    diff_ids = [layer.digest for layer in layers]
    value = {"descriptor": {}, "config": {}, "modelfs": {"type": "layers", "diffIds": diff_ids}}
    config = oci.Blob(oci.canonical_json(value), oci.MODEL_CONFIG)
    described = [
        oci.Descriptor(oci.MODEL_LAYER, layer.digest, layer.size, {FILEPATH: layer.filepath}).to_json()
        for layer in layers
    ]
    return config, _manifest(config, described, artifactType=oci.MODEL_MANIFEST)


def _image_config(base: Base, copy: Copy, diff_ids: Sequence[str], made_by: Sequence[str]) -> oci.Blob:
    """A runnable image's config. The base gives its environment alone: no Entrypoint, Volumes or Healthcheck."""
    env = [*base.env] if any(each.startswith("PATH=") for each in base.env) else [_PATH, *base.env]
    value = {
        **base.platform.to_json(),
        "config": {
            "Cmd": ["sh", SCRIPT],
            "Env": [*env, f"MODELPACK_SRC={copy.source}", f"MODELPACK_DEST={copy.to}"],
            "User": USER,
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": [{"created_by": each} for each in made_by],
    }
    return oci.Blob(oci.canonical_json(value), oci.IMAGE_CONFIG)


def _manifest(config: oci.Blob, layers: Sequence[dict[str, Any]], **more: str) -> oci.Manifest:
    value = {
        "schemaVersion": 2,
        "mediaType": oci.IMAGE_MANIFEST,
        **more,
        "config": config.descriptor.to_json(),
        "layers": layers,
    }
    return oci.Manifest(oci.canonical_json(value), oci.IMAGE_MANIFEST)


def _descriptor(layer: oci.Layer) -> oci.Descriptor:
    return oci.Descriptor(layer.media_type, layer.digest, layer.size)
