"""Versions of a model as a registry has them: model containers with notes, and records to put beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from modelpack import oci
from modelpack.lineage import Origin
from modelpack.provenance import to_annotations
from modelpack.quality.evaluation import Evaluation, Row
from modelpack.reference import Reference
from modelpack.registry import Repository
from tests.fakes.artifacts import artifact, push


def package(
    repository: Repository,
    version: str,
    *,
    metrics: Mapping[str, float] = MappingProxyType({}),
    lineage: Mapping[str, str] = MappingProxyType({}),
    tag: str = "",
) -> Reference:
    """Push a model container of the model `mpg`; gives its reference with tag and digest."""
    whole = artifact(version.encode())
    notes = {
        oci.ANNOTATION_MODEL_DIGEST: whole.modelpack.digest,
        oci.ANNOTATION_MODEL_NAME: "mpg",
        oci.ANNOTATION_VERSION: version,
        **to_annotations(metrics, lineage),
    }
    index = oci.Manifest(oci.canonical_json({**json.loads(whole.index.raw), "annotations": notes}), oci.IMAGE_INDEX)
    push(oci.Artifact(whole.layers, whole.configs, whole.modelpack, whole.images, index), repository, tag or version)
    return repository.reference.at(tag=tag or version, digest=index.digest)


def evaluation(version: str, *, passed: bool = True, mae: float = 1.9, **more: Any) -> Evaluation:
    verdict = "pass" if passed else "fail"
    rows = (
        Row("held-out", "", "mae", 79, 2.1, mae, mae - 2.1, mae - 2.4, mae - 1.8, verdict),
        Row("held-out", "origin=usa", "mae", 48, 2.2, mae),
        Row("benchmark", "", "mae", 20, None, mae + 0.1),
    )
    known: dict[str, Any] = {
        "against": "v1",
        "reason": "not worse than v1" if passed else "mae is worse than that of v1 by more than 0.1",
        "data": f"dvc:{'a' * 32}",
        "run": f"mpg-{version}",
        "ended": 1795318594.5,
    }
    return Evaluation("mpg", version, passed=passed, confidence=0.95, rows=rows, **{**known, **more})


def origin(version: str, **more: Any) -> Origin:
    known: dict[str, Any] = {
        "run": f"mpg-{version}",
        "repository": "https://git.example.com/team/models.git",
        "branch": "main",
        "commit": "4f2a91c" + "0" * 33,
        "folder": "model-images/mpg",
        "data": f"dvc:{'a' * 32}",
        "code": f"sha256:{'b' * 64}",
        "reason": "new data",
        "parameters": MappingProxyType({"depth": 4, "rate": 0.1, "kind": "forest", "scale": True}),
        "notebook": f"s3://runs/mpg-{version}/notebook.ipynb",
        "html": f"https://runs.example.com/mpg-{version}/notebook.html",
        "metrics": MappingProxyType({"mae": 1.9, "rmse": 2.5}),
        "started": 1795318000.25,
        "ended": 1795318594.5,
        "builder": "tekton",
        "data_uri": "s3://data/mpg",
        "dvc": "outs:\n- md5: " + "c" * 32 + "\n  path: model\n",
    }
    return Origin(**{**known, **more})


def rollout(
    identifier: str, image: Reference, *, verdict: str = "accept", started: float = 1795320000.0
) -> dict[str, Any]:
    """A rollout as the gate tells it, as far as lineage looks at it."""
    state = {"accept": "promoted", "reject": "failed"}[verdict]
    return {
        "id": identifier,
        "namespace": "default",
        "name": "mpg",
        "model": "mpg",
        "image": str(image),
        "primary_image": f"{image.name}:v1@sha256:{'1' * 64}",
        "phase": "Succeeded" if verdict == "accept" else "Failed",
        "weight": 50.0,
        "verdict": verdict,
        "reason": "golden: mae is 0.2, within the floor of 3",
        "state": state,
        "started": started,
        "ended": started + 300.0,
        "checks": [{"name": "golden", "type": "golden", "verdict": verdict, "reason": "fine", "history": [{"t": 1}]}],
    }
