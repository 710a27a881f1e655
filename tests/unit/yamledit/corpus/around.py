"""What stands around a target: the rest of its object, and its neighbours in the file."""

from __future__ import annotations

import random
from typing import Any

from tests.unit.yamledit.corpus.style import Slot

RESOURCES = {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}}
TOLERATIONS = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
_SCRIPT = 'set -eu\nuntil nc -z db 5432; do\n  sleep 1  # patience\ndone\necho "ready: $HOSTNAME"\n'
_POLICY_TEXT = "p, role:reader, get, */*, allow\ng, serving, role:reader"
_APIS = {"Rollout": "argoproj.io/v1alpha1", "Pod": "v1", "Job": "batch/v1", "CronJob": "batch/v1"}


def metadata(chance: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {"name": "mpg", "namespace": "serving"}
    if chance.random() < 0.6:
        found["labels"] = {"app.kubernetes.io/name": "mpg", "app.kubernetes.io/part-of": "scoring", "tier": "backend"}
    if chance.random() < 0.5:
        found["annotations"] = {
            "prometheus.io/scrape": "true",
            "example.com/contact": "größe@example.com, #serving; *urgent*: page",
            "example.com/note": "a rather long line " * 12,
        }
    return found


def kustomization(chance: random.Random) -> dict[str, Any]:
    body: dict[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "serving",
        "resources": ["../../base", "route.yaml", "https://example.com/crds?ref=v1.2.3"],
    }
    if chance.random() < 0.5:
        body["configMapGenerator"] = [{"name": "gate", "files": ["gate.yaml"], "literals": ["LEVEL=info"]}]
    return body


def values(chance: random.Random) -> dict[str, Any]:
    every: dict[str, Any] = {
        "replicaCount": chance.randrange(1, 9),
        "service": {"type": "ClusterIP", "port": 80},
        "ingress": {"enabled": False, "annotations": {}, "hosts": [{"host": "mpg.example.com", "paths": ["/"]}]},
        "resources": RESOURCES,
        "nodeSelector": {},
        "image": {"repository": "registry.example.com/server", "tag": "1.10", "pullPolicy": "Always"},
        "config": _SCRIPT,
        "rbac": _POLICY_TEXT,
        "threshold": 0.25,
    }
    return {key: every[key] for key in chance.sample(sorted(every), chance.randrange(3, len(every)))}


def documents(chance: random.Random, body: dict[str, Any]) -> list[Any]:
    """The object, with neighbours before and after it."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "mpg"},
        "spec": {"selector": {"app": "mpg"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }
    settings = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "mpg"},
        "data": {"start.sh": _SCRIPT, "policy.csv": _POLICY_TEXT, "FLAG": "yes", "VERSION": "1.10"},
    }
    around = chance.choice([[], [], [service], [settings], [service, settings]])
    at = chance.randrange(len(around) + 1)
    return [*around[:at], body, *around[at:]]


def workload(chance: random.Random, kind: str, where: str, slot: Slot) -> dict[str, Any]:
    pod = _pod(chance, where, slot)
    labels = {"labels": {"app": "mpg"}, "annotations": {"example.com/at": "2024-01-31T00:00:00Z"}}
    template = {"metadata": labels, "spec": pod}
    spec: dict[str, Any] = {"selector": {"matchLabels": {"app": "mpg"}}, "template": template}
    if kind == "Pod":
        spec = pod
    elif kind == "Job":
        spec = {"backoffLimit": 2, "template": template}
    elif kind == "CronJob":
        spec = {"schedule": "*/15 * * * *", "jobTemplate": {"spec": {"template": template}}, "suspend": False}
    elif kind == "Rollout":
        spec["strategy"] = {"canary": {"steps": [{"setWeight": 20}, {"pause": {}}]}}
    elif kind == "StatefulSet":
        spec |= {"serviceName": "mpg", "volumeClaimTemplates": []}
    elif kind == "Deployment":
        spec = {"replicas": 3, "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}} | spec
    return {"apiVersion": _APIS.get(kind, "apps/v1"), "kind": kind, "metadata": metadata(chance), "spec": spec}


def _pod(chance: random.Random, where: str, slot: Slot) -> dict[str, Any]:
    model: dict[str, Any] = {"name": "model"}
    rest: dict[str, Any] = {"imagePullPolicy": "IfNotPresent", "volumeMounts": [{"name": "cache", "mountPath": "/mnt"}]}
    if chance.random() < 0.5:
        rest["resources"] = RESOURCES
    entry = {"image": slot, **model, **rest} if chance.random() < 0.3 else {**model, "image": slot, **rest}
    server = {
        "name": "server",
        "image": "registry.example.com/server:1.10",
        "args": ["--port=8080", "--models", "/mnt/models", "--log-format", "%(message)s: %(level)s"],
        "env": [
            {"name": "YES", "value": "yes"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5},
    }
    wait = {"name": "wait", "image": "models/mpg:1.10", "command": ["sh", "-c", _SCRIPT]}
    inits, containers, volumes = [wait], [server], [{"name": "cache", "emptyDir": {}}]
    if where == "init_container":
        inits.insert(chance.randrange(2), entry)
    elif where == "container":
        containers.insert(chance.randrange(2), entry)
    else:
        volumes.insert(chance.randrange(2), {"name": "model", "image": {"reference": slot, "pullPolicy": "Always"}})
    pod: dict[str, Any] = {"initContainers": inits, "containers": containers, "volumes": volumes}
    if chance.random() < 0.3:
        pod |= {"tolerations": TOLERATIONS, "securityContext": {"runAsUser": 1000, "fsGroup": None}}
    if chance.random() < 0.2:
        pod = {"serviceAccountName": "mpg", **pod, "terminationGracePeriodSeconds": 30}
    return pod
