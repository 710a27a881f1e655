"""Where training runs take place: this machine, a Kubernetes Job, Tekton, Kubeflow Pipelines, a managed service.

In: a `Run`. Out: how it stands, its log, its result. Each backend is asked again and again; none remembers anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from modelpack.registry import Via
from modelpack.training.definition import Training
from modelpack.training.run import Run, Seen

NAMESPACE = "modelpack-training"
"""Where runs take place in a cluster, unless training.yaml says otherwise."""


class Backend(Protocol):
    """One place. Every method may raise RemoteError; each may be repeated after a crash and does no harm."""

    def start(self, run: Run, training: Training) -> None:
        """Start a run, or do nothing if one with its id is there."""

    def look(self, run: Run) -> Seen:
        """How it stands; LOST if nothing by its id is there."""

    def cancel(self, run: Run) -> None:
        """End it, if it goes on."""

    def log(self, run: Run) -> str:
        """What it wrote so far, "" if that is not kept any more."""

    def remove(self, run: Run) -> None:
        """Forget an ended run and all that belongs to it there."""

    def runs(self, model: str) -> tuple[Run, ...]:
        """The model's runs that are known there, in no order; none where a place keeps no list."""


def open_backend(training: Training, folder: Path, via: Via, *, repository: str = "") -> Backend:
    """The place that a training.yaml names. `folder` is where runs of this machine are kept, each in its own folder.

    `repository` is the location with a login, for a run here whose `Run.repository` may not hold one. Raises InputError
    where the library for a place is not installed.
    """
    runs = training.runs
    if runs.backend == "local":
        from modelpack.runs.local import Local

        return Local(folder, via, repository)
    if runs.backend == "remote":
        from modelpack.runs.remote import Remote

        return Remote(runs.url)
    if runs.backend == "kfp":
        from modelpack.runs.kubeflow import Kubeflow

        return Kubeflow.connect(runs.url, runs.namespace)
    from modelpack.runs.cluster import Cluster

    cluster = Cluster.connect(runs.namespace or NAMESPACE)
    if runs.backend == "job":
        from modelpack.runs.job import Job

        return Job(cluster)
    from modelpack.runs.tekton import Tekton

    return Tekton(cluster)
