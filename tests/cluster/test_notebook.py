"""A compiled notebook on the real cluster: judged by its API server and Tekton's webhook, and run as pods."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from modelpack import notebook as room
from modelpack.notebook import Place
from tests.cluster import images, tekton, volumes
from tests.cluster.environment import Environment
from tests.cluster.world import wait
from tests.fakes.blocks import run_blocks
from tests.fakes.notebooks import WHOLE

pytestmark = pytest.mark.xdist_group("cluster")

SECONDS = 240


@pytest.fixture(name="place", scope="module")
def _place(cluster: Environment) -> Iterator[Place]:
    """A namespace of its own, which lets restricted pods in alone."""
    tekton.install(cluster)
    images.push(cluster.registry, images.training())
    name = f"notebook-{uuid4().hex[:6]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield Place(f"{cluster.registry}/{next(iter(images.training()))}", name)
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def created(cluster: Environment, data: bytes) -> str:
    """The name of what was applied; applied again it stays as it is."""
    for _ in range(2):
        cluster.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", stdin=data.decode())
    return str(list(yaml.safe_load_all(data))[-1]["metadata"]["name"])


def test_a_job_runs_the_blocks_one_after_another(cluster: Environment, place: Place) -> None:
    name = created(cluster, room.to_job(room.parse(WHOLE, "train.ipynb"), place))

    def ended() -> dict[str, Any] | None:
        status = cluster.get("job", place.namespace, name).get("status", {})
        return status if status.get("succeeded") or status.get("failed") else None

    assert wait("the Job", ended, SECONDS).get("succeeded") == 1


def test_tekton_runs_a_task_for_each_block_and_keeps_the_result(
    cluster: Environment, place: Place, tmp_path: Path
) -> None:
    volumes.add(cluster, 1)
    pipeline = room.parse(WHOLE, "train.ipynb")
    name = created(cluster, room.to_tekton(pipeline, place))

    def ended() -> dict[str, Any] | None:
        status: dict[str, Any] = cluster.get("pipelinerun", place.namespace, name).get("status", {})
        return status if status.get("completionTime") else None

    status = wait("the PipelineRun", ended, SECONDS)
    assert status["conditions"][0]["status"] == "True", status
    results = {each["name"]: float(each["value"]) for each in status["results"]}
    assert results == run_blocks(pipeline, tmp_path)
    tasks = {each["pipelineTaskName"] for each in status["childReferences"]}
    assert tasks == {"load", "fit", "stats", "join"}
