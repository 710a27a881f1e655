"""Where training runs take place: this machine, a Kubernetes Job, Tekton, Kubeflow Pipelines, a managed service.

In: a `Run`. Out: how it stands, its log, its result. Each backend is asked again and again; none remembers anything.
"""

from __future__ import annotations

from typing import Protocol

from modelpack.training.definition import Training
from modelpack.training.run import Run, Seen


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
