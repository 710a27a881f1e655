"""A compiled notebook on the real cluster: judged by its API server and Tekton's webhook, and run as pods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from modelpack import notebook as room
from modelpack.notebook import Place
from tests.cluster import images, volumes
from tests.cluster.environment import Environment
from tests.command import modelpack
from tests.fakes.blocks import run_blocks
from tests.fakes.notebooks import WHOLE

pytestmark = pytest.mark.xdist_group("cluster")

SECONDS = 240


@pytest.fixture(name="place", scope="module")
def _place(training_cluster: Environment) -> Iterator[Place]:
    """A namespace of its own, which lets restricted pods in alone."""
    cluster = training_cluster
    name = f"notebook-{uuid4().hex[:6]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield Place(f"{cluster.registry}/{images.versions()['train']}", name)
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def trained(cluster: Environment, data: bytes, folder: Path) -> str:
    """The name of what `modelpack train` started and followed to a good end."""
    file = folder / "compiled.yaml"
    file.write_bytes(data)
    env = {"KUBECONFIG": str(cluster.kubeconfig)}
    done = modelpack("train", file, "--json", cwd=folder, env=env, timeout=SECONDS)
    assert done.code == 0, done.err
    assert json.loads(done.out)["state"] == "succeeded"
    return str(json.loads(done.out)["name"])


def test_a_job_runs_the_blocks_one_after_another(cluster: Environment, place: Place, tmp_path: Path) -> None:
    data = room.to_job(room.parse(WHOLE, "train.ipynb"), place)
    name = trained(cluster, data, tmp_path)
    assert cluster.get("job", place.namespace, name)["status"].get("succeeded") == 1
    assert trained(cluster, data, tmp_path) == name  # which ended before


def test_tekton_runs_a_task_for_each_block_and_keeps_the_result(
    cluster: Environment, place: Place, tmp_path: Path
) -> None:
    volumes.add(cluster, 1)
    pipeline = room.parse(WHOLE, "train.ipynb")
    data = room.to_tekton(pipeline, place)
    cluster.kubectl("apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", "-", stdin=data.decode())
    status = cluster.get("pipelinerun", place.namespace, trained(cluster, data, tmp_path))["status"]
    results = {each["name"]: float(each["value"]) for each in status["results"]}
    assert results == run_blocks(pipeline, tmp_path)
    tasks = {each["pipelineTaskName"] for each in status["childReferences"]}
    assert tasks == {"load", "fit", "stats", "join"}
