"""The PipelineRun that a ModelSync's template asks for. Pure.

Its name follows from the ModelSync and the run's number, and the number is written into the ModelSync's status before
the name is used: whoever decides the same again, after a crash or beside another operator, gets a 409.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from modelpack.reconcile.modelsync import ATTEMPT, DIGEST, GENERATION, NUMBER, OWNER_LABEL, ModelSync

API_VERSION = "tekton.dev/v1"
PLURAL = "pipelineruns"
_LONGEST_NAME = _LONGEST_LABEL = 63  # Tekton takes a DNS label as a run's name, Kubernetes this much as a label's value


def name_of(sync: ModelSync, number: int) -> str:
    """The run's name. Five characters tell it from those of a namesake that was deleted."""
    template = sync.spec.template["metadata"] if sync.spec else {}
    stem = str(template.get("generateName") or sync.name).strip("-.").replace(".", "-")
    tail = f"-{hashlib.sha256(sync.uid.encode()).hexdigest()[:5]}-{number}"
    return stem[: _LONGEST_NAME - len(tail)].rstrip("-") + tail


def build(sync: ModelSync, number: int, attempt: int, digest: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    """The object. `parameters` replace the template's of the same name and are added to the others; nothing else of the
    template changes, and its labels and annotations stay beside ours."""
    assert sync.spec
    metadata, spec = sync.spec.template["metadata"], dict(sync.spec.template["spec"])
    left = dict(parameters)
    params = [
        {**each, "value": left.pop(each["name"])} if each["name"] in left else each for each in spec.get("params") or ()
    ]
    params += [{"name": name, "value": value} for name, value in left.items()]
    if params:
        spec["params"] = params
    ours = {NUMBER: str(number), ATTEMPT: str(attempt), DIGEST: digest, GENERATION: str(sync.generation)}
    return {
        "apiVersion": API_VERSION,
        "kind": "PipelineRun",
        "metadata": {
            "name": name_of(sync, number),
            "namespace": sync.namespace,
            "labels": {
                **(metadata.get("labels") or {}),
                OWNER_LABEL: sync.name[:_LONGEST_LABEL].rstrip("-."),
                "app.kubernetes.io/managed-by": "modelpack",
            },
            "annotations": {**(metadata.get("annotations") or {}), **ours},
            "ownerReferences": [
                {
                    "apiVersion": sync.api_version,
                    "kind": "ModelSync",
                    "name": sync.name,
                    "uid": sync.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,  # true needs the right to update its finalizers
                }
            ],
        },
        "spec": spec,
    }
