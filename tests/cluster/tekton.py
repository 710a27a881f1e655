"""Tekton Pipelines in the cluster, when a test asks for it: its own manifests, from the module that tests/tools/tekton
pins, with images made here. Without its events, and without resolvers of tasks that lie elsewhere."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import yaml

from tests.cluster import images
from tests.cluster.environment import Environment
from tests.cluster.world import wait
from tests.integration.servers.gotools import go_module

NAMESPACE = "tekton-pipelines"
_MODULE = "github.com/tektoncd/pipeline"
_LEFT_OUT = ("events.yaml", "webhook-hpa.yaml")
_READY_SECONDS = 120


def install(environment: Environment) -> None:
    """Until its webhook answers. A cluster that has Tekton keeps the one it has."""
    if not _there(environment):
        images.push(environment.registry, images.tekton())
        environment.apply(*_objects(environment.registry))
    wait("Tekton's webhook", lambda: _answers(environment), _READY_SECONDS)


def _there(environment: Environment) -> bool:
    try:
        environment.get("deployment", NAMESPACE, "tekton-pipelines-webhook")
    except subprocess.CalledProcessError:
        return False
    return True


def _answers(environment: Environment) -> bool:
    """Whether it refuses a Task without steps, which nobody else would."""
    task = {"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "empty"}, "spec": {"steps": []}}
    try:
        environment.kubectl("create", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(task))
    except subprocess.CalledProcessError as error:
        available = [
            each.get("status", {}).get("availableReplicas", 0)
            for each in environment.get("deployments", NAMESPACE)["items"]
        ]
        return "missing field(s)" in error.stderr and all(available)
    return False


def _objects(registry: str) -> Iterator[dict[str, Any]]:
    config = go_module("tekton", _MODULE) / "config"
    files = [*config.glob("100-namespace/*.yaml"), *config.glob("300-crds/*.yaml"), *sorted(config.glob("*.yaml"))]
    for file in files:
        if file.name in _LEFT_OUT:
            continue
        text = file.read_text().replace(f"ko://{_MODULE}/cmd/", f"{registry}/tests/tekton-")
        for each in filter(None, yaml.safe_load_all(text)):
            if each["kind"] == "Deployment":
                _adapt(each["spec"]["template"]["spec"]["containers"][0], registry)
            elif each["metadata"]["name"] == "feature-flags":
                # what it adds to a pod passes the restricted standard, too
                each["data"]["set-security-context"] = "true"
            yield each


def _adapt(container: dict[str, Any], registry: str) -> None:
    """Name the images that are here, and look more often whether it is ready."""
    tag, words = ":1", container.get("args", [])
    container["image"] += tag
    for at, word in enumerate(words):
        if word == "-shell-image":
            words[at + 1] = f"{registry}/{images.BUSYBOX}"
        elif word == "-sidecarlogresults-image":  # of no use here, but it has to be named
            words[at + 1] = f"{registry}/tests/tekton-nop{tag}"
        elif word in ("-entrypoint-image", "-nop-image", "-workingdirinit-image"):
            words[at + 1] += tag
    container["readinessProbe"] |= {"initialDelaySeconds": 0, "periodSeconds": 1}
