"""ModelSync objects and their runs for tests, as the API server gives them."""

from __future__ import annotations

from typing import Any

from modelpack.reconcile.modelsync import ModelSync, Run, State, parse
from modelpack.reconcile.sync import rfc3339

URL = "http://needs-sync.modelpack/needsTrain"
TEMPLATE: dict[str, Any] = {"spec": {"pipelineRef": {"name": "train"}}}
NOW = 1_800_000_000.0


def body(status: dict[str, Any] | None = None, *, original: bool = False, **spec: Any) -> dict[str, Any]:
    """An object of modelpack.dev/v1, or of the original group."""
    return {
        "apiVersion": "automl.cloudai.kubeflow.org/v1alpha1" if original else "modelpack.dev/v1",
        "kind": "ModelSync",
        "metadata": {"name": "mpg", "namespace": "default", "uid": "u-1", "generation": 1, "resourceVersion": "7"},
        "spec": {"needsSyncUrl": URL, "pipelineRunTemplate": TEMPLATE, **spec},
        "status": status or {},
    }


def sync(status: dict[str, Any] | None = None, **spec: Any) -> ModelSync:
    return parse(body(status, **spec))


def run(number: int, state: State = State.RUNNING, *, ended: float = NOW, attempt: int = 1, digest: str = "") -> Run:
    finished = 0.0 if state is State.RUNNING else ended
    return Run(f"mpg-{number}", f"r-{number}", "u-1", state, number, attempt, digest, 1, NOW + number, finished)


def last_run(state: State, *, number: int = 1, attempt: int = 1, digest: str = "", **more: Any) -> dict[str, Any]:
    """status.lastRun."""
    return {
        "name": f"mpg-{number}",
        "number": number,
        "attempt": attempt,
        "parameters": digest,
        "generation": 1,
        "state": state.value,
        "settled": False,
        **{key: rfc3339(value) if isinstance(value, float) else value for key, value in more.items()},
    }
