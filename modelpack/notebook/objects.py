"""A pipeline as Kubernetes objects: one Job whose containers follow one another, or a Tekton Pipeline with its run.

Both read the blocks' scripts from a ConfigMap, as files: in a field of theirs, `$(…)` in a notebook's code would be
replaced. Names end in a digest of all that they depend on, so that the same again, applied, starts nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import yaml

from modelpack.errors import InputError
from modelpack.fields import nearest
from modelpack.notebook.pipeline import Block, Parameter, Pipeline, label
from modelpack.notebook.script import script
from modelpack.resources import NONE, Resources

_SCRIPTS = "/modelpack/scripts"
_RUN = "/modelpack/run"
_LARGEST = 1_000_000  # bytes; a ConfigMap holds 1 MiB
_UID = 65532
_POD = {"runAsNonRoot": True, "runAsUser": _UID, "fsGroup": _UID, "seccompProfile": {"type": "RuntimeDefault"}}
_PLAIN = re.compile(r"[A-Za-z/$][\w./$()-]*")
_TRUTHS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
_SAFE: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": _UID,
    "seccompProfile": {"type": "RuntimeDefault"},
}

Value = str | int | float | bool


@dataclass(frozen=True)
class Place:
    """Where and how a pipeline runs. `image` has Python 3.8 or later and what the notebook imports; `secret` names a
    Secret whose keys become environment variables, "" for none; `timeout` is in seconds; `storage` the size of the
    volume that Tekton's tasks share; `parameters` replace defaults; `resources` are those of each block."""

    image: str
    namespace: str = ""
    secret: str = ""
    timeout: float = 3600.0
    storage: str = "1Gi"
    parameters: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    resources: Resources = NONE


def to_job(pipeline: Pipeline, place: Place) -> bytes:
    """A ConfigMap with the scripts and one Job: each block is a container, and the next starts when it succeeded."""
    values = settings(pipeline, place.parameters)
    scripts, digest = _scripts(pipeline, place, values)
    name = f"{pipeline.name}-{digest}"
    containers = [
        {
            "name": label(block.name),
            "image": place.image,
            "command": ["python3", "-u", f"{_SCRIPTS}/{label(block.name)}.py"],
            "args": [_escaped(each) for each in _words(block, _RUN, values, {})],
            "workingDir": _RUN,
            **_environment(place, _RUN),
            **_resources(place),
            "securityContext": _SAFE,
            "volumeMounts": [
                {"name": "run", "mountPath": _RUN},
                {"name": "scripts", "mountPath": _SCRIPTS, "readOnly": True},
            ],
        }
        for block in pipeline.blocks
    ]
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(name, pipeline, place),
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(place.timeout),
            "template": {
                "metadata": {"labels": _labels(pipeline)},
                "spec": {
                    **place.resources.of_pod(),
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "initContainers": containers[:-1],
                    "containers": containers[-1:],
                    "volumes": [{"name": "run", "emptyDir": {}}, {"name": "scripts", "configMap": {"name": name}}],
                },
            },
        },
    }
    return dump(_config_map(name, pipeline, place, scripts), job)


def to_tekton(pipeline: Pipeline, place: Place) -> bytes:
    """A ConfigMap with the scripts, a Pipeline with a task for each block, and a PipelineRun with its own volume."""
    values = settings(pipeline, place.parameters)
    scripts, digest = _scripts(pipeline, place, values)
    name = f"{pipeline.name}-{digest}"
    tasks = [_task(block, pipeline, place, name) for block in pipeline.blocks]
    results = [
        {"name": each, "value": f"$(tasks.{label(block.name)}.results.{each})"}
        for block in pipeline.blocks
        for each in block.results
    ]
    spec: dict[str, Any] = {
        "params": [_param(each) for each in pipeline.parameters],
        "workspaces": [{"name": "run"}],
        "tasks": tasks,
        **({"results": results} if results else {}),
    }
    run = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": _metadata(name, pipeline, place),
        "spec": {
            "pipelineRef": {"name": pipeline.name},
            "params": [{"name": each, "value": _escaped(text(value))} for each, value in values.items()],
            "timeouts": {"pipeline": f"{int(place.timeout)}s"},
            "taskRunTemplate": {
                "podTemplate": {
                    **place.resources.of_pod(),
                    "automountServiceAccountToken": False,
                    "securityContext": _POD,
                }
            },
            "workspaces": [
                {
                    "name": "run",
                    "volumeClaimTemplate": {
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "resources": {"requests": {"storage": place.storage}},
                        }
                    },
                }
            ],
        },
    }
    tekton = {
        "apiVersion": "tekton.dev/v1",
        "kind": "Pipeline",
        "metadata": _metadata(pipeline.name, pipeline, place),
        "spec": spec,
    }
    return dump(_config_map(name, pipeline, place, scripts), tekton, run)


def settings(pipeline: Pipeline, given: Mapping[str, Value]) -> dict[str, Value]:
    """Every parameter's value. Raises InputError for one that the notebook does not have, or of another type."""
    known = {each.name: each.default for each in pipeline.parameters}
    for key, value in given.items():
        if key not in known:
            near = nearest(key, known)
            remedy = f"did you mean {near!r}?" if near else f"it has: {', '.join(known) or 'none'}"
            raise InputError(pipeline.notebook, f"has no parameter {key!r}", remedy)
        kinds = (int, float) if isinstance(known[key], float) else type(known[key])
        if not isinstance(value, kinds) or isinstance(value, bool) != isinstance(known[key], bool):
            raise InputError(pipeline.notebook, f"parameter {key} is {value!r}, its default {known[key]!r}")
    return {**known, **given}


def text(value: Value) -> str:
    """A value as the scripts read it."""
    return json.dumps(value) if not isinstance(value, str) else value


def _escaped(word: str) -> str:
    """As an argument of a container, in which Kubernetes puts variables into $(…), and one $ in the place of two."""
    return word.replace("$", "$$")


def _task(block: Block, pipeline: Pipeline, place: Place, scripts: str) -> dict[str, Any]:
    run = "$(workspaces.run.path)"
    values: dict[str, Value] = {each.name: f"$(params.{each.name})" for each in pipeline.parameters}
    results = {each: f"$(results.{each}.path)" for each in block.results}
    step = {
        "name": "run",
        "image": place.image,
        "command": ["python3", "-u", f"{_SCRIPTS}/{label(block.name)}.py"],
        "args": _words(block, run, values, results),
        "workingDir": run,
        **_environment(place, run),
        **_resources(place, "computeResources"),
        "securityContext": _SAFE,
        "volumeMounts": [{"name": "scripts", "mountPath": _SCRIPTS, "readOnly": True}],
    }
    task = {
        "params": [{"name": each.name, "type": "string"} for each in pipeline.parameters],
        "workspaces": [{"name": "run"}],
        **({"results": [{"name": each, "type": "string"} for each in block.results]} if block.results else {}),
        "steps": [step],
        "volumes": [{"name": "scripts", "configMap": {"name": scripts}}],
    }
    return {
        "name": label(block.name),
        **({"runAfter": [label(each) for each in block.after]} if block.after else {}),
        "params": [{"name": each.name, "value": f"$(params.{each.name})"} for each in pipeline.parameters],
        "workspaces": [{"name": "run", "workspace": "run"}],
        "taskSpec": task,
    }


def _words(block: Block, run: str, values: Mapping[str, Value], results: Mapping[str, str]) -> list[str]:
    """The words that a block's script takes."""
    words = ["--into", f"{run}/.blocks/{label(block.name)}"]
    for each in sorted(set(block.loads.values())):
        words += ["--from", each, f"{run}/.blocks/{label(each)}"]
    for name, path in results.items():
        words += ["--result", name, path]
    return [*words, "--", *(f"{name}={text(value)}" for name, value in values.items())]


def _param(parameter: Parameter) -> dict[str, Any]:
    default = _escaped(text(parameter.default))
    told = {"description": "$ is written $$"} if isinstance(parameter.default, str) else {}
    return {"name": parameter.name, "type": "string", **told, "default": default}


def _environment(place: Place, run: str) -> dict[str, Any]:
    found: dict[str, Any] = {"env": [{"name": "HOME", "value": run}]}
    if place.secret:
        found["envFrom"] = [{"secretRef": {"name": place.secret}}]
    return found


def _resources(place: Place, key: str = "resources") -> dict[str, Any]:
    found = place.resources.of_container()
    return {key: found} if found else {}


def _scripts(pipeline: Pipeline, place: Place, values: Mapping[str, Value]) -> tuple[dict[str, str], str]:
    found = {f"{label(block.name)}.py": script(pipeline, block) for block in pipeline.blocks}
    size = sum(len(each.encode()) for each in found.values())
    if size > _LARGEST:
        remedy = "move code into a module in the image"
        raise InputError(pipeline.notebook, f"its blocks have {size} bytes, and a ConfigMap holds 1 MiB", remedy)
    depends = {**vars(place), "parameters": dict(values), "scripts": found}
    del depends["resources"]
    if place.resources:
        depends |= {"resources": [place.resources.of_container(), place.resources.of_pod()]}
    depends["after"] = {block.name: block.after for block in pipeline.blocks}
    return found, hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:10]


def _labels(pipeline: Pipeline) -> dict[str, str]:
    return {"app.kubernetes.io/managed-by": "modelpack", "modelpack.dev/pipeline": pipeline.name}


def _metadata(name: str, pipeline: Pipeline, place: Place) -> dict[str, Any]:
    where = {"namespace": place.namespace} if place.namespace else {}
    return {"name": name, **where, "labels": _labels(pipeline)}


def _config_map(name: str, pipeline: Pipeline, place: Place, scripts: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(name, pipeline, place),
        "immutable": True,
        "data": dict(scripts),
    }


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, and no aliases: people read this."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    # Go's YAML has y, n, on, off as truths and 1_0, 0o7 as numbers, where PyYAML would leave the quotes out
    plain = _PLAIN.fullmatch(value) and value.lower() not in _TRUTHS
    style = "|" if "\n" in value else None if plain else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def dump(*documents: Mapping[str, Any]) -> bytes:
    """YAML that Go's parsers and Python's read alike."""
    dumped = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return dumped.encode()
