"""What is to be rehearsed, from a repository's tip: a model, its Deployment's pod template, its Canary, its gate.

Where an environment is a Kustomize overlay, all but the model.yaml is read from what the overlay builds.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import yaml

from modelpack import definition
from modelpack.definition import Definition
from modelpack.errors import InputError, NotFoundError
from modelpack.fields import Fields, compose
from modelpack.gitops import ANNOTATION_ROLLBACK, model_files
from modelpack.gitops.environment import environment_of
from modelpack.gitops.place import kustomization_beside, place_of
from modelpack.reference import Reference
from modelpack.rehearse.overlay import gate_files, model_in
from modelpack.rehearse.workload import Workload, read_workload
from modelpack.rollout import Canary, find_canary, template_hash
from modelpack.target import Target

_YAML = (".yaml", ".yml")
_OTHERS = ("reference.json", "benchmark.json")

Read = Callable[[str], "bytes | None"]
Build = Callable[[str], bytes]
"""From the folder of an overlay to what it builds."""


@dataclass(frozen=True)
class Plan:
    """One rollout. `template` is the pod template's plain value, `image` the model container as the template names it.

    `environment` is "" where model.yaml names none; `target` is where the model is, in what an overlay builds if there
    is one. `gate`, `golden` and `traffic` are the bytes of the files beside model.yaml, or of the overlay's ConfigMap,
    b"" where there is none; `others` are more that a check may need. `folder` is model.yaml's.
    """

    definition: Definition
    environment: str
    folder: str
    target: Target
    canary: Canary
    workload: Workload
    template: dict[str, Any]
    image: Reference
    gate: bytes
    golden: bytes
    traffic: bytes
    others: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        return template_hash(self.template)

    def goes_back_to(self, image: Reference) -> bool:
        """Whether a person asked to go back to this image: `modelpack rollback` marks the pod template with it."""
        notes = (self.template.get("metadata") or {}).get("annotations") or {}
        return notes.get(ANNOTATION_ROLLBACK) in {image.digest, image.tag} - {""}


def read_plan(
    paths: Sequence[str],
    read: Read,
    reference: Reference | None = None,
    environment: str = "",
    build: Build | None = None,
) -> Plan:
    """Read the files of a tip. `reference` chooses the model, and takes the place of the image that Git names.

    Without one the repository must hold a single model, and a model must have a target. `environment` is by default the
    first that model.yaml names. Raises InputError with file and line, or NotFoundError.
    """
    folder, model = find_model(paths, read, reference)
    name = environment or (model.environments[0].name if model.environments else "")
    targets = environment_of(model, name, f"{folder}/model.yaml").targets if name else model.targets
    if not targets:
        raise InputError(f"{folder}/model.yaml", "has no targets", "name the Deployment that serves the model")
    target, manifests = targets[0], [path for path in paths if path.endswith(_YAML)]
    names = ("gate.yaml", "golden.jsonl", "traffic.jsonl", *_OTHERS)
    beside = {each: read(f"{folder}/{each}") or b"" for each in names}
    overlay = kustomization_beside(read, target.file) if name or target.images else ""
    if overlay and build:
        built, shown = build(str(PurePosixPath(overlay).parent)), f"{overlay} (built)"
        target = model_in(built, shown, model.image, place_of(read, target).name)
        beside |= gate_files(built, shown, model.name, target.namespace)
        read, manifests = {shown: built}.get, [shown]
    if not (target.init_container or target.volume):
        problem = "a rehearsal runs the init container or image volume of a Deployment, which this target is not"
        raise InputError(f"{folder}/model.yaml", f"{target.file}: {problem}", "rehearse an environment that has one")
    template_fields, template = _template(target, read)
    workload = read_workload(template_fields, target, model.copy)
    if reference is not None:
        workload = replace(workload, image=str(reference))
        template = _with_image(template, target, str(reference))
    return Plan(
        definition=model,
        environment=name,
        folder=folder,
        target=target,
        canary=find_canary(((path, read(path) or b"") for path in manifests), target),
        workload=workload,
        template=template,
        image=Reference.parse(workload.image),
        gate=beside["gate.yaml"],
        golden=beside["golden.jsonl"],
        traffic=beside["traffic.jsonl"],
        others={name: beside[name] for name in _OTHERS if beside[name]},
    )


def find_model(paths: Sequence[str], read: Read, reference: Reference | None) -> tuple[str, Definition]:
    files = model_files(paths)
    models = [(path.removesuffix("/model.yaml"), definition.parse(read(path) or b"", path)) for path in files]
    if reference is not None:
        models = [each for each in models if each[1].image.name == reference.name]
    if not models:
        what = (
            f"no model-images/*/model.yaml with image {reference.name}" if reference else "no model-images/*/model.yaml"
        )
        raise NotFoundError("repository", f"has {what}", "scaffold one with modelpack init, and commit it")
    if len(models) > 1:
        names = ", ".join(each[1].name for each in models)
        raise InputError("repository", f"holds several models: {names}", "name one by its reference")
    return models[0]


def _template(target: Target, read: Read) -> tuple[Fields, dict[str, Any]]:
    data = read(target.file)
    if data is None:
        raise NotFoundError(target.file, "is not in the repository", "commit the Deployment that model.yaml names")
    for node in compose(data, target.file):
        if not isinstance(node, yaml.MappingNode):
            continue
        fields = Fields(target.file, node)
        metadata = fields.mapping("metadata")
        named = (fields.text("kind", ""), metadata.text("name", "")) == (target.kind, target.name)
        if named and target.namespace in ("", metadata.text("namespace", "")):
            spec = fields.mapping("spec")
            plain = json.dumps(spec.value("template"), default=str)  # YAML has dates, a pod template has texts
            return spec.mapping("template"), json.loads(plain)
    raise NotFoundError(target.file, f"holds no {target.kind} {target.name!r}", "correct model.yaml's targets")


def _with_image(template: dict[str, Any], target: Target, image: str) -> dict[str, Any]:
    changed = copy.deepcopy(template)
    for each in changed["spec"]["volumes" if target.volume else "initContainers"]:
        if target.volume and each["name"] == target.volume:
            each["image"]["reference"] = image
        elif not target.volume and each["name"] == target.init_container:
            each["image"] = image
    return changed
