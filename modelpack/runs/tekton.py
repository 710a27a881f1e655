"""Runs as Tekton PipelineRuns of a Pipeline that is there already, like the one in manifests/tekton.

The Pipeline takes the run's JSON as the parameter `run`, has a workspace `run`, and says how it ended in its result
`result`. Sources: Tekton Pipelines v1, pipelineruns.md (cancelling, timeouts, status, results).
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace

from modelpack.errors import ModelpackError, RemoteError
from modelpack.runs.cluster import ANNOTATION_RUN, LABEL_MODEL, LABEL_RUN, RESTRICTED, Cluster, Json
from modelpack.runs.job import LOG_BYTES, runs_of, to_text, unix_time
from modelpack.training.definition import Training
from modelpack.training.folder import read_compact
from modelpack.training.run import Run, Seen, State

API = "/apis/tekton.dev/v1"
RESULT = "result"
WORKSPACE = "run"
ASKING = ("train", "evaluate")
"""The Pipeline's tasks that get what `runs.resources` asks for: those in which models learn and answer."""
_CLAIM = "5Gi"
_TIMED_OUT = ("PipelineRunTimeout", "TaskRunTimeout")
_KILLED = 128  # exit codes above it are signals


@dataclass(frozen=True)
class Tekton:
    """PipelineRuns of one namespace."""

    cluster: Cluster

    def start(self, run: Run, training: Training) -> None:
        self.cluster.create(self._runs(), manifest(run, training))

    def look(self, run: Run) -> Seen:
        found = self.cluster.read(self._runs(run.id))
        if found is None:
            return Seen(State.LOST, "there is no such PipelineRun", retryable=True)
        seen_now = seen(found, ())
        return seen(found, self._tasks(run)) if seen_now.state is State.FAILED else seen_now

    def cancel(self, run: Run) -> None:
        found = self.cluster.read(self._runs(run.id))
        if found is not None and not seen(found, ()).state.over:
            self.cluster.patch(self._runs(run.id), {"spec": {"status": "Cancelled"}})

    def log(self, run: Run) -> str:
        """Of each step in its order, as far as its pod is still there."""
        pods = self.cluster.list(self.cluster.path("/api/v1", "pods"), labelSelector=f"tekton.dev/pipelineRun={run.id}")
        parts = []
        for pod in sorted(pods, key=lambda each: str(each["metadata"].get("creationTimestamp"))):
            names = [each["name"] for each in pod["spec"]["containers"] if each["name"].startswith("step-")]
            parts += [self.cluster.log(pod["metadata"]["name"], name, LOG_BYTES) for name in names]
        return "".join(parts)[-LOG_BYTES:]

    def remove(self, run: Run) -> None:
        self.cluster.delete(self._runs(run.id))

    def runs(self, model: str) -> tuple[Run, ...]:
        return runs_of(self.cluster.list(self._runs(), labelSelector=f"{LABEL_MODEL}={model}"))

    def _runs(self, name: str = "") -> str:
        return self.cluster.path(API, "pipelineruns", name)

    def _tasks(self, run: Run) -> tuple[Json, ...]:
        return self.cluster.list(self.cluster.path(API, "taskruns"), labelSelector=f"tekton.dev/pipelineRun={run.id}")


def manifest(run: Run, training: Training) -> Json:
    """The PipelineRun of a run. The same run gives the same one."""
    runs = training.runs
    params = [{"name": "run", "value": to_text(run)}]
    if runs.image:
        params.append({"name": "image", "value": runs.image})
    template: Json = {
        "podTemplate": {
            **runs.resources.of_pod(),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": RESTRICTED,
        }
    }
    if runs.service_account:
        template["serviceAccountName"] = runs.service_account
    asked = runs.resources.of_container()
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": _CLAIM}}}
    labels = {"app.kubernetes.io/managed-by": "modelpack", LABEL_MODEL: run.model, LABEL_RUN: run.id}
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": run.id, "labels": labels, "annotations": {ANNOTATION_RUN: to_text(run)}},
        "spec": {
            "pipelineRef": {"name": runs.pipeline},
            "params": params,
            "timeouts": {"pipeline": f"{max(1, math.ceil(runs.timeout))}s"},
            "taskRunTemplate": template,
            **(
                {"taskRunSpecs": [{"pipelineTaskName": each, "computeResources": asked} for each in ASKING]}
                if asked
                else {}
            ),
            "workspaces": [{"name": WORKSPACE, "volumeClaimTemplate": {"spec": claim}}],
        },
    }


def seen(pipeline_run: Json, tasks: tuple[Json, ...]) -> Seen:
    """How a PipelineRun stands; `tasks` are its TaskRuns, which say why one failed."""
    status = pipeline_run.get("status") or {}
    times = unix_time(status.get("startTime")), unix_time(status.get("completionTime"))
    conditions = [each for each in status.get("conditions") or () if each.get("type") == "Succeeded"]
    condition = conditions[0] if conditions else {}
    succeeded, reason = condition.get("status"), str(condition.get("reason", ""))
    message = " ".join(str(condition.get("message", "")).split())[:1000]
    if succeeded == "True":
        told = _told(status.get("results") or ())
        if told is not None and told.result is not None:
            return replace(told, state=State.SUCCEEDED, started=times[0], ended=times[1])
        return Seen(State.SUCCEEDED, message, *times)
    if succeeded == "False":
        if reason == "Cancelled" or (pipeline_run.get("spec") or {}).get("status") == "Cancelled":
            return Seen(State.CANCELLED, "was cancelled", *times)
        if reason in _TIMED_OUT:
            return Seen(State.FAILED, "took longer than it may", *times)
        return _failed(tasks, message, *times)
    return Seen(State.RUNNING if times[0] else State.PENDING, message, times[0])


def _failed(tasks: tuple[Json, ...], message: str, started: float, ended: float) -> Seen:
    """Why it failed: in the words of the step that did, and whether its exit code says that it may be tried again."""
    codes: list[int] = []
    said = None
    for task in tasks:
        status = task.get("status") or {}
        told = _told(status.get("results") or ())
        if told is not None and told.state is State.FAILED:
            said = told
        ends = [(each.get("terminated") or {}).get("exitCode") for each in status.get("steps") or ()]
        codes += [code for code in ends if isinstance(code, int) and code]
    if said is not None:
        return replace(said, started=started, ended=ended)
    retryable = any(code == RemoteError.exit_code or code > _KILLED for code in codes)
    return Seen(State.FAILED, message, started, ended, retryable=retryable)


def _told(results: object) -> Seen | None:
    """The outcome among results, None where there is none."""
    for each in results if isinstance(results, list) else ():
        if isinstance(each, dict) and each.get("name") == RESULT:
            with suppress(ModelpackError):
                return read_compact(str(each.get("value", "")), RESULT)
    return None
