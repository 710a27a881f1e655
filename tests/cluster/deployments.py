"""Plays the Deployment controller and the kubelet where an API server has neither: Deployments are ready at once.

`stuck` names those that never get ready; they keep the pods that they had, as a rolling update does, and pass their
progress deadline like real ones.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

Deployment = Mapping[str, Any]  # as the API server writes it
_LOOK_SECONDS = 0.5
_DEADLINE = 600  # Kubernetes' default


@contextmanager
def mark_ready(kubeconfig: Path, stuck: Callable[[Deployment], bool] = lambda deployment: False) -> Iterator[None]:
    """While entered, every Deployment of the API server that a kubeconfig names is kept up to date."""
    api = client.AppsV1Api(config.new_client_from_config(str(kubeconfig)))
    leave = threading.Event()

    def keep() -> None:
        while not leave.wait(_LOOK_SECONDS):
            listed = api.list_deployment_for_all_namespaces(_preload_content=False)
            for deployment in json.loads(listed.data)["items"]:
                status = status_of(deployment, stuck(deployment), datetime.now(timezone.utc))
                if not _is(deployment.get("status", {}), status):
                    _write(api, deployment, status)

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        leave.set()
        thread.join()


def status_of(deployment: Deployment, stuck: bool, now: datetime) -> dict[str, Any]:
    """What the Deployment controller would write: all pods up, or none of the new ones."""
    spec, before = deployment["spec"], deployment.get("status", {})
    wanted = int(spec.get("replicas", 1))
    status = {"observedGeneration": deployment["metadata"]["generation"], "updatedReplicas": wanted}
    if not stuck or not wanted:
        up = {"replicas": wanted, "readyReplicas": wanted, "availableReplicas": wanted, "unavailableReplicas": 0}
        conditions = [
            _condition("Progressing", True, "NewReplicaSetAvailable", now),
            _condition("Available", True, "MinimumReplicasAvailable", now),
        ]
        return {**status, **up, "conditions": conditions}
    kept = before.get("availableReplicas", 0)
    known = {each["type"]: each for each in before.get("conditions", ())}
    began = known.get("Progressing", {})
    since = began["lastUpdateTime"] if began.get("reason") in ("ReplicaSetUpdated", "ProgressDeadlineExceeded") else ""
    start = datetime.fromisoformat(since.replace("Z", "+00:00")) if since else now
    late = (now - start).total_seconds() > spec.get("progressDeadlineSeconds", _DEADLINE)
    down = {"replicas": wanted + kept, "readyReplicas": kept, "availableReplicas": kept, "unavailableReplicas": wanted}
    available = "MinimumReplicasAvailable" if kept else "MinimumReplicasUnavailable"
    conditions = [
        _condition("Progressing", not late, "ProgressDeadlineExceeded" if late else "ReplicaSetUpdated", start),
        _condition("Available", bool(kept), available, start),
    ]
    return {**status, **down, "conditions": conditions}


def _condition(kind: str, true: bool, reason: str, at: datetime) -> dict[str, str]:
    time = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": kind,
        "status": str(true),
        "reason": reason,
        "message": reason,
        "lastUpdateTime": time,
        "lastTransitionTime": time,
    }


def _is(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    def told(status: Mapping[str, Any]) -> list[tuple[str, str]]:
        return sorted((each["type"], each["reason"]) for each in status.get("conditions", ()))

    numbers = all(present.get(key, 0) == value for key, value in wanted.items() if key != "conditions")
    return numbers and told(present) == told(wanted)


def _write(api: client.AppsV1Api, deployment: Deployment, status: Mapping[str, Any]) -> None:
    name, namespace = deployment["metadata"]["name"], deployment["metadata"]["namespace"]
    try:
        api.patch_namespaced_deployment_status(name, namespace, {"status": status})
    except ApiException as error:
        if error.status != 404:  # deleted meanwhile
            raise
