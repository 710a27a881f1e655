"""Runs as Kubernetes Jobs: one pod that does all steps, and says how it ended in its termination message.

A Job's name is the run's id, so creating it twice is creating it once. Nothing in the object is secret: what a run
needs to get at data, registry and Git comes from Secrets of the namespace, by their names.
"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from modelpack.errors import ModelpackError
from modelpack.runs.cluster import (
    ANNOTATION_RUN,
    LABEL_MODEL,
    LABEL_RUN,
    RESTRICTED,
    RESTRICTED_CONTAINER,
    Cluster,
    Json,
)
from modelpack.training.definition import Training
from modelpack.training.folder import read_compact
from modelpack.training.run import Run, Seen, State, from_json, to_json

API = "/apis/batch/v1"
CONTAINER = "train"
SECRET, SECRET_REGISTRY, SECRET_GIT = "modelpack-train", "modelpack-registry", "modelpack-git"
ANNOTATION_CANCELLED = "modelpack.dev/cancelled"
LOG_BYTES = 4 << 20
_KEPT_SECONDS = 7 * 86400
"""For how long an ended Job is there for nobody: whoever started it removes it sooner."""
_CREDENTIALS = '!f() {{ [ "$1" != get ] || git credential-store --file={} get; }}; f'
"""Git's own credential store, which is only read: it would try to write into the Secret too."""
_STUCK = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError")


@dataclass(frozen=True)
class Job:
    """Jobs of one namespace."""

    cluster: Cluster

    def start(self, run: Run, training: Training) -> None:
        self.cluster.create(self._jobs(), manifest(run, training))

    def look(self, run: Run) -> Seen:
        found = self.cluster.read(self._jobs(run.id))
        if found is None:
            return Seen(State.LOST, "there is no such Job", retryable=True)
        return seen(found, self._pods(run))

    def cancel(self, run: Run) -> None:
        """A suspended Job's pods are ended, and the Job stays to tell of it."""
        found = self.cluster.read(self._jobs(run.id))
        if found is not None and not _over(found):
            mark = {"metadata": {"annotations": {ANNOTATION_CANCELLED: "true"}}, "spec": {"suspend": True}}
            self.cluster.patch(self._jobs(run.id), mark)

    def log(self, run: Run) -> str:
        pods = [each["metadata"]["name"] for each in self._pods(run)]
        return "".join(self.cluster.log(each, CONTAINER, LOG_BYTES) for each in pods)

    def remove(self, run: Run) -> None:
        self.cluster.delete(self._jobs(run.id))

    def runs(self, model: str) -> tuple[Run, ...]:
        return runs_of(self.cluster.list(self._jobs(), labelSelector=f"{LABEL_MODEL}={model}"))

    def _jobs(self, name: str = "") -> str:
        return self.cluster.path(API, "jobs", name)

    def _pods(self, run: Run) -> tuple[Json, ...]:
        found = self.cluster.list(self.cluster.path("/api/v1", "pods"), labelSelector=f"{LABEL_RUN}={run.id}")
        return tuple(sorted(found, key=lambda each: str(each["metadata"].get("creationTimestamp"))))


def manifest(run: Run, training: Training) -> Json:
    """The Job of a run. The same run gives the same Job."""
    runs = training.runs
    labels = {"app.kubernetes.io/managed-by": "modelpack", LABEL_MODEL: run.model, LABEL_RUN: run.id}
    folder, scratch, logins = "/run/modelpack", "/tmp", "/run/secrets/modelpack"  # noqa: S108  (in the pod)
    container: Json = {
        "name": CONTAINER,
        "image": runs.image,
        "command": ["modelpack"],
        "args": ["step", "all", "--folder", folder, "--run", to_text(run), "--result", "/dev/termination-log"],
        "env": [
            {"name": "HOME", "value": scratch},
            {"name": "DOCKER_CONFIG", "value": f"{logins}/registry"},
            {"name": "MODELPACK_HOME", "value": f"{scratch}/modelpack"},
            {"name": "GIT_CONFIG_COUNT", "value": "1"},
            {"name": "GIT_CONFIG_KEY_0", "value": "credential.helper"},
            {"name": "GIT_CONFIG_VALUE_0", "value": _CREDENTIALS.format(f"{logins}/git/credentials")},
        ],
        "envFrom": [{"secretRef": {"name": SECRET, "optional": True}}],
        "resources": runs.resources.of_container(),
        "securityContext": RESTRICTED_CONTAINER,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "run", "mountPath": folder},
            {"name": "scratch", "mountPath": scratch},
            {"name": "registry", "mountPath": f"{logins}/registry", "readOnly": True},
            {"name": "git", "mountPath": f"{logins}/git", "readOnly": True},
        ],
    }
    pod: Json = {
        **runs.resources.of_pod(),
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": RESTRICTED,
        "containers": [container],
        "volumes": [
            {"name": "run", "emptyDir": {}},
            {"name": "scratch", "emptyDir": {}},
            {
                "name": "registry",
                "secret": {
                    "secretName": SECRET_REGISTRY,
                    "optional": True,
                    "defaultMode": 0o440,
                    "items": [{"key": ".dockerconfigjson", "path": "config.json"}],
                },
            },
            {"name": "git", "secret": {"secretName": SECRET_GIT, "optional": True, "defaultMode": 0o440}},
        ],
    }
    if runs.service_account:
        pod["serviceAccountName"] = runs.service_account
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": run.id, "labels": labels, "annotations": {ANNOTATION_RUN: to_text(run)}},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": max(1, math.ceil(runs.timeout)),
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def to_text(run: Run) -> str:
    """A run's JSON for an object: neither Kubernetes' $(NAME) nor Tekton's $(params.name) means anything in it."""
    return json.dumps(to_json(run), sort_keys=True, separators=(",", ":")).replace("$", "\\u0024")


def runs_of(objects: tuple[Json, ...]) -> tuple[Run, ...]:
    """The runs that objects carry; what carries none that can be read is left out."""
    found = []
    for each in objects:
        with suppress(KeyError, TypeError, ValueError, RecursionError):
            found.append(from_json(json.loads(each["metadata"]["annotations"][ANNOTATION_RUN])))
    return tuple(found)


def seen(job: Json, pods: tuple[Json, ...]) -> Seen:
    """How a Job stands, from itself and its pods."""
    status = job.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or () if each.get("status") == "True"}
    started = unix_time(status.get("startTime"))
    failed = conditions.get("Failed")
    ended = unix_time(status.get("completionTime") or (failed or {}).get("lastTransitionTime"))
    told = _outcome(pods)
    if told is not None and told.result is not None:
        return replace(told, state=State.SUCCEEDED, started=started or told.started, ended=ended or told.ended)
    if (job["metadata"].get("annotations") or {}).get(ANNOTATION_CANCELLED):
        active = int(status.get("active") or 0)
        message = "is being cancelled" if active else "was cancelled"
        return Seen(State.RUNNING if active else State.CANCELLED, message, started, 0.0 if active else ended)
    if failed is not None and failed.get("reason") == "DeadlineExceeded":
        return Seen(State.FAILED, "took longer than it may", started, ended)
    if told is not None and failed is not None:
        return replace(told, started=started, ended=ended)
    if failed is not None:
        return Seen(State.FAILED, _why(pods) or str(failed.get("message", "")), started, ended, retryable=True)
    if "Complete" in conditions:
        return Seen(State.FAILED, "ended well, but left no outcome", started, ended)
    waits = _waits(pods)
    running = any((each.get("status") or {}).get("phase") == "Running" for each in pods)
    return Seen(State.RUNNING if running else State.PENDING, "" if running else waits, started)


def unix_time(text: Any) -> float:
    """Seconds of Kubernetes' RFC 3339; 0.0 for none."""
    with suppress(ValueError, TypeError):
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    return 0.0


def _over(job: Json) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(each.get("type") in ("Complete", "Failed") and each.get("status") == "True" for each in conditions)


def _ends(pods: tuple[Json, ...]) -> list[Json]:
    """How the pods' containers ended."""
    statuses = [each for pod in pods for each in (pod.get("status") or {}).get("containerStatuses") or ()]
    return [end for each in statuses if (end := (each.get("state") or {}).get("terminated"))]


def _outcome(pods: tuple[Json, ...]) -> Seen | None:
    for end in reversed(_ends(pods)):
        with suppress(ModelpackError):
            return read_compact(str(end.get("message") or ""), "its pod")
    return None


def _why(pods: tuple[Json, ...]) -> str:
    """Why a pod ended without an outcome: out of memory, evicted, its node gone."""
    for end in reversed(_ends(pods)):
        said = " ".join(str(end.get("message") or "").split())[-500:]
        return f"{end.get('reason') or 'ended'}, exit code {end.get('exitCode')}{f': {said}' if said else ''}"
    for pod in pods:
        status = pod.get("status") or {}
        if status.get("reason") or status.get("message"):
            return f"{status.get('reason', '')}: {status.get('message', '')}".strip(": ")
    return ""


def _waits(pods: tuple[Json, ...]) -> str:
    """What keeps a pod from running."""
    for pod in pods:
        status = pod.get("status") or {}
        for each in status.get("containerStatuses") or ():
            waiting = (each.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in _STUCK:
                return f"{waiting['reason']}: {waiting.get('message', '')}"[:500]
        for each in status.get("conditions") or ():
            if each.get("type") == "PodScheduled" and each.get("status") == "False":
                return str(each.get("message", ""))[:500]
    return ""
