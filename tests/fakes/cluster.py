"""A Kubernetes API server as a function: objects by path, as `modelpack.rollout.cluster.Get` asks for them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

from modelpack.errors import RemoteError
from modelpack.rollout.cluster import Cluster

Json = dict[str, Any]
CANARIES = "/apis/flagger.app/v1beta1/namespaces/{}/canaries"


class FakeApi:
    """`objects` are what it holds by path; `before` is called with each path, and may change them or raise."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.queries: list[tuple[str, dict[str, str]]] = []
        self.refusal: tuple[int, str] | None = None
        self.away = False
        self.before: Callable[[str], None] = lambda path: None
        self.cluster = Cluster(self.get)

    def get(self, path: str, query: Mapping[str, str], timeout: float) -> tuple[int, bytes]:
        self.before(path)
        self.queries.append((path, dict(query)))
        if self.away:
            raise RemoteError("https://api", "the API server cannot be reached")
        status, value = self.refusal or (200, self.objects.get(path))
        if status != 200 or value is None:
            message = value if isinstance(value, str) else f"{path} not found"
            return status if status != 200 else 404, json.dumps({"kind": "Status", "message": message}).encode()
        return 200, value if isinstance(value, bytes) else json.dumps(value).encode()

    def put(self, value: Json) -> Json:
        """Keep an object under the path that its kind has."""
        namespace, name = value["metadata"]["namespace"], value["metadata"]["name"]
        roots = {
            "Canary": CANARIES.format(namespace),
            "Deployment": f"/apis/apps/v1/namespaces/{namespace}/deployments",
            "DaemonSet": f"/apis/apps/v1/namespaces/{namespace}/daemonsets",
            "ConfigMap": f"/api/v1/namespaces/{namespace}/configmaps",
        }
        self.objects[f"{roots[value['kind']]}/{name}"] = value
        return value


def canary(namespace: str = "default", name: str = "mpg", kind: str = "Deployment", **status: Any) -> Json:
    """The example's Canary with Flagger's status."""
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": kind, "name": name},
            "service": {"port": 8080},
            "analysis": {"interval": "10s", "threshold": 3, "stepWeights": [10, 25, 50]},
        },
        "status": {
            "phase": "Progressing",
            "canaryWeight": 0,
            "failedChecks": 0,
            "iterations": 0,
            "lastAppliedSpec": "b",
            "lastPromotedSpec": "a",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
            **status,
        },
    }


def workload(
    image: str, name: str = "mpg", namespace: str = "default", kind: str = "Deployment", **template: Any
) -> Json:
    """A Deployment whose init container `model` has this image."""
    pod = {
        "initContainers": [{"name": "model", "image": image}],
        "containers": [{"name": "server", "image": "server:v1"}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"template": {"metadata": copy.deepcopy(template), "spec": pod}},
    }


def config_map(name: str, files: Mapping[str, str], namespace: str = "default") -> Json:
    return {"kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name}, "data": dict(files)}
