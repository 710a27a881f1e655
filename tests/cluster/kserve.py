"""KServe's manager in the cluster, when a test asks for it: its own manifests, from the module that tests/tools/kserve
pins, in RawDeployment mode with modelcars. Neither Knative, Istio nor cert-manager: an authority made here signs for
its webhooks, all of which are there."""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import certificates, images
from tests.cluster.certificates import Certificates
from tests.cluster.environment import Environment
from tests.cluster.world import wait
from tests.integration.servers.gotools import go_module

NAMESPACE = "kserve"
DOMAIN = "example.com"
"""A model NAME of a namespace is served at NAME-NAMESPACE.DOMAIN, by the ingress."""

_MANAGER = "kserve-controller-manager"
_HOOKS = f"kserve-webhook-server-service.{NAMESPACE}.svc"
# what of its configuration is otherwise
_SETTINGS = {
    "deploy": {"defaultDeploymentMode": "RawDeployment"},
    "ingress": {"ingressClassName": "contour", "ingressDomain": DOMAIN, "disableIstioVirtualHost": True},
    "storageInitializer": {"enableModelcar": True},
}
_READY_SECONDS = 120


def install(environment: Environment) -> None:
    """Until its webhooks answer. A cluster that has KServe keeps the one it has."""
    if not _deployment(environment):
        images.push(environment.registry, images.kserve())
        with tempfile.TemporaryDirectory() as folder:
            made = certificates.make(Path(folder), [_HOOKS])
            first, then = _split(_objects(environment, made))
        environment.apply(*first)
        environment.kubectl("wait", "--for=condition=Established", "customresourcedefinitions", "--all")
        environment.apply(*then)
    wait(
        "KServe's manager", lambda: _deployment(environment).get("status", {}).get("availableReplicas"), _READY_SECONDS
    )


def _deployment(environment: Environment) -> dict[str, Any]:
    try:
        return environment.get("deployment", NAMESPACE, _MANAGER)
    except subprocess.CalledProcessError:
        return {}


def _split(objects: Iterator[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The kinds and the namespace, and what needs them."""
    first, then = [], []
    for each in objects:
        (first if each["kind"] in ("CustomResourceDefinition", "Namespace") else then).append(each)
    return first, then


def _objects(environment: Environment, made: Certificates) -> Iterator[dict[str, Any]]:
    folder = go_module("kserve", "github.com/kserve/kserve") / "config" / "default"
    for each in yaml.safe_load_all(environment.kubectl("kustomize", str(folder))):
        name = each["metadata"]["name"]
        if each["apiVersion"].startswith("cert-manager.io/") or ("localmodel" in name and each["kind"] not in _KINDS):
            continue
        if each["kind"] == "Deployment":
            _adapt(each["spec"]["template"]["spec"], environment.registry)
        elif name == "inferenceservice-config":
            each["data"] = dict(_settings(each["data"]))
        elif each["kind"] in _KINDS:
            for hook in each.get("webhooks", ()):
                hook["clientConfig"]["caBundle"] = _encoded(made.authority.certificate)
        yield each
    pair = {"tls.crt": _encoded(made.server.certificate), "tls.key": _encoded(made.server.key)}
    metadata = {"name": "kserve-webhook-server-cert", "namespace": NAMESPACE}
    yield {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": pair}


_KINDS = ("CustomResourceDefinition", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")


def _adapt(pod: dict[str, Any], registry: str) -> None:
    """The manager alone, without the proxy before its metrics; more than a tenth of a core, which takes it a minute."""
    (manager,) = [each for each in pod["containers"] if each["name"] == "manager"]
    manager["image"] = f"{registry}/tests/kserve:1"
    manager["imagePullPolicy"] = "IfNotPresent"
    manager["resources"]["limits"].pop("cpu")
    manager["readinessProbe"] |= {"initialDelaySeconds": 0, "periodSeconds": 1, "failureThreshold": 60}
    pod["containers"] = [manager]


def _settings(data: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key, text in data.items():
        if key != "_example":
            yield key, json.dumps({**json.loads(text), **_SETTINGS.get(key, {})})


def _encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
