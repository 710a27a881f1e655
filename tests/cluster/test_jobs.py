"""Runs as Jobs on a real cluster: what ends well, what fails and what is cancelled, told by the backend."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.cluster import training
from tests.cluster.environment import Environment
from tests.cluster.training import JOB, NAMESPACE, Project
from tests.cluster.world import wait
from tests.integration.servers.s3 import S3

pytestmark = pytest.mark.xdist_group("cluster")

SECONDS = 120


@pytest.fixture(name="project", scope="module")
def _project(training_cluster: Environment, s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The example, with its first data."""
    found = training.project(training_cluster, s3, tmp_path_factory.mktemp("project"))
    found.prepare(JOB)
    return found


def test_the_examples_notebook_becomes_a_model_container(project: Project) -> None:
    told = project.train()
    version = told["run"]["version"]
    assert told["result"]["image"].startswith(f"{project.image}:{version}@sha256:")
    assert project.stored("models") == [f"{version}/{name}" for name in ("metadata.json", "model.json")]
    assert {f"{told['run']['id']}/notebook.html"} <= set(project.stored("notebooks"))
    (pod,) = pods(project, told["run"]["id"])
    assert project.env["AWS_SECRET_ACCESS_KEY"] not in json.dumps(pod)


def test_a_run_that_is_cancelled_ends_and_is_removed_without_a_trace(project: Project) -> None:
    project.change("production.ipynb", lambda text: text.replace("import json", "import time; time.sleep(300)", 1))
    done = project.modelpack("train", project.name, "--repo", project.url, "--branch", "main", "--detach", "--json")
    assert done.code == 0, done.err
    run = json.loads(done.out)["run"]["id"]

    def trains() -> bool:
        return "--- train" in project.modelpack("runs", "log", run).out

    wait("the notebook to run", trains, SECONDS)
    assert project.modelpack("runs", "cancel", run).code == 0

    def state() -> str:
        return str(json.loads(project.modelpack("runs", "show", run, "--json").out)["state"])

    wait("the run to be cancelled", lambda: state() == "cancelled", SECONDS)
    wait("its pod to end", lambda: not pods(project, run), SECONDS)
    assert project.modelpack("runs", "remove", run).code == 0
    with pytest.raises(subprocess.CalledProcessError):
        project.environment.get("jobs", NAMESPACE, run)


def test_a_notebook_that_fails_says_where_and_is_kept(project: Project) -> None:
    project.change("production.ipynb", lambda text: text.replace("time.sleep(300)", "nothing_by_this_name"))
    told = project.train(2)
    assert "nothing_by_this_name" in told["message"]
    assert told["retryable"] is False
    assert f"{told['run']['id']}/notebook.html" in project.stored("notebooks")


def pods(project: Project, run: str) -> list[dict[str, object]]:
    words = ["pods", f"--namespace={NAMESPACE}", f"--selector=modelpack.dev/run={run}", "--output=json"]
    found: list[dict[str, object]] = json.loads(project.environment.kubectl("get", *words))["items"]
    return found
