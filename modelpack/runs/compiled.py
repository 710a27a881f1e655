"""What `modelpack compile` made of a notebook, started and watched: a Job, a Tekton pipeline, a Kubeflow pipeline.

Its name ends in a digest of all that it depends on, so that starting it twice is starting it once. Here is no quality
gate and no version: the notebook is what was compiled, and what it does with its model is its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from modelpack.errors import InputError, ModelpackError, NotFoundError, RemoteError
from modelpack.fields import nodes
from modelpack.runs.cluster import Cluster, Json
from modelpack.runs.job import API as JOBS
from modelpack.runs.job import LOG_BYTES, unix_time
from modelpack.runs.tekton import API as TEKTON
from modelpack.runs.tekton import seen as pipeline_seen
from modelpack.training.run import Seen, State

if TYPE_CHECKING:
    from modelpack.runs.kubeflow import Uploaded

NAMESPACE = "default"
_LARGEST = 8 << 20  # bytes
_PATHS = {
    "ConfigMap": ("/api/v1", "configmaps"),
    "Job": (JOBS, "jobs"),
    "Pipeline": (TEKTON, "pipelines"),
    "PipelineRun": (TEKTON, "pipelineruns"),
}
_RUNS = ("Job", "PipelineRun")


def read(file: Path) -> tuple[Json, ...]:
    """The objects of a file. Raises NotFoundError, or InputError for what `modelpack compile` does not write."""
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(file, "there is no such file", "modelpack compile NOTEBOOK -o FILE writes one") from error
    except OSError as error:
        raise InputError(file, f"cannot be read: {error.strerror}") from error
    if len(data) > _LARGEST:
        raise InputError(file, f"has {len(data)} bytes, {_LARGEST} at most are read")
    nodes(data, str(file))  # says where it is no YAML, and refuses what is nested without end
    found = [each for each in yaml.safe_load_all(data) if each is not None]
    if not found or not all(isinstance(each, dict) for each in found):
        raise InputError(file, "holds no objects", "modelpack compile NOTEBOOK -o FILE writes them")
    return tuple(found)


def open_compiled(file: Path) -> OnCluster | Uploaded:
    """What a file holds, to be started, looked at and read: at the cluster of $KUBECONFIG, or the server of
    $KF_PIPELINES_ENDPOINT. Raises InputError."""
    found = read(file)
    if "pipelineInfo" in found[0]:
        from modelpack.runs.kubeflow import Uploaded

        return Uploaded(file, str(found[0]["pipelineInfo"].get("name") or file.stem))
    return on_cluster(file, found)


def on_cluster(file: Path, objects: tuple[Json, ...], cluster: Cluster | None = None) -> OnCluster:
    """Objects for Kubernetes, of which the last one runs. Raises InputError for any that compile does not make."""
    for each in objects:
        metadata = each.get("metadata")
        if (
            each.get("kind") not in _PATHS
            or not isinstance(metadata, dict)
            or not isinstance(metadata.get("name"), str)
        ):
            raise InputError(file, f"holds a {each.get('kind')}, which is none of {', '.join(_PATHS)}")
    last = objects[-1]
    if last["kind"] not in _RUNS or any(each["kind"] in _RUNS for each in objects[:-1]):
        raise InputError(file, "does not end in the one Job or PipelineRun that is to run")
    namespace = str(last["metadata"].get("namespace") or NAMESPACE)
    return OnCluster(cluster or Cluster.connect(namespace), objects, str(last["metadata"]["name"]))


@dataclass(frozen=True)
class OnCluster:
    """Objects of one namespace."""

    cluster: Cluster
    objects: tuple[Json, ...]
    name: str

    def start(self) -> None:
        for each in self.objects:
            if not self.cluster.create(self._path(each), each) and each["kind"] == "Pipeline":
                # one Pipeline for all of a notebook's runs: it is what it was compiled to last
                self.cluster.patch(self._path(each, each["metadata"]["name"]), {"spec": each["spec"]})

    def look(self) -> Seen:
        last = self.objects[-1]
        found = self.cluster.read(self._path(last, self.name))
        if found is None:
            return Seen(State.LOST, f"there is no such {last['kind']}", retryable=True)
        return _job_seen(found) if last["kind"] == "Job" else pipeline_seen(found, ())

    def log(self) -> str:
        label = "batch.kubernetes.io/job-name" if self.objects[-1]["kind"] == "Job" else "tekton.dev/pipelineRun"
        pods = self.cluster.list(self.cluster.path("/api/v1", "pods"), labelSelector=f"{label}={self.name}")
        parts = []
        for pod in sorted(pods, key=lambda each: str(each["metadata"].get("creationTimestamp"))):
            spec = pod["spec"]
            names = [each["name"] for each in (*(spec.get("initContainers") or ()), *spec["containers"])]
            blocks = [each for each in names if label.startswith("batch") or each.startswith("step-")]
            parts += [self.cluster.log(pod["metadata"]["name"], each, LOG_BYTES) for each in blocks]
        return "".join(parts)[-LOG_BYTES:]

    def _path(self, value: Json, name: str = "") -> str:
        return self.cluster.path(*_PATHS[value["kind"]], name)


def _job_seen(job: Json) -> Seen:
    status = job.get("status") or {}
    ends = {each["type"]: each for each in status.get("conditions") or () if each.get("status") == "True"}
    started = unix_time(status.get("startTime"))
    if "Complete" in ends:
        return Seen(State.SUCCEEDED, "", started, unix_time(status.get("completionTime")))
    if failed := ends.get("Failed"):
        return Seen(State.FAILED, str(failed.get("message", "")), started, unix_time(failed.get("lastTransitionTime")))
    return Seen(State.RUNNING if status.get("active") else State.PENDING, "", started)


def check(name: str, seen: Seen) -> None:
    """Raise the error that belongs to an end, nothing where it is a good one."""
    if seen.state is State.SUCCEEDED:
        return
    error: type[ModelpackError] = RemoteError if seen.retryable else InputError
    raise error(name, seen.message or seen.state.value)
