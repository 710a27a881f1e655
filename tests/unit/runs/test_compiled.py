"""What was compiled of a notebook, started twice and followed to its end."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from modelpack import notebook as room
from modelpack.cli import cli
from modelpack.errors import InputError, NotFoundError, RemoteError
from modelpack.notebook import Place
from modelpack.runs.compiled import OnCluster, check, on_cluster, open_compiled, read
from modelpack.training.run import Seen, State
from tests.fakes.http import serve
from tests.fakes.kubeflow import FakeKubeflow
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.notebooks import WHOLE

PIPELINE = room.parse(WHOLE, "train.ipynb")
PLACE = Place("registry.example.com/train:1", "training")
JOBS, RUNS = "/apis/batch/v1/namespaces/training/jobs", "/apis/tekton.dev/v1/namespaces/training/pipelineruns"


def compiled(kubernetes: FakeKubernetes, folder: Path, data: bytes) -> OnCluster:
    file = folder / "compiled.yaml"
    file.write_bytes(data)
    return on_cluster(file, read(file), kubernetes.cluster)


def test_a_job_is_started_once_and_told_of(tmp_path: Path) -> None:
    kubernetes = FakeKubernetes()
    job = compiled(kubernetes, tmp_path, room.to_job(PIPELINE, PLACE))
    assert job.look().state is State.LOST
    job.start()
    job.start()
    place = f"{JOBS}/{job.name}"
    assert [each for each in kubernetes.objects if each.startswith(JOBS)] == [place]
    assert job.look().state is State.PENDING
    for status, state in (
        ({"active": 1, "startTime": "2026-11-22T10:00:00Z"}, State.RUNNING),
        ({"conditions": [{"type": "Complete", "status": "True"}]}, State.SUCCEEDED),
        ({"conditions": [{"type": "Failed", "status": "True", "message": "BackoffLimitExceeded"}]}, State.FAILED),
    ):
        kubernetes.objects[place]["status"] = status
        assert job.look().state is state
    pod = {"metadata": {"name": "pod", "labels": {"batch.kubernetes.io/job-name": job.name}}}
    spec = kubernetes.objects[place]["spec"]["template"]["spec"]
    kubernetes.put("/api/v1/namespaces/training/pods", {**pod, "spec": spec})
    kubernetes.logs["pod"] = "a block\n"
    assert job.log() == "a block\n" * len(PIPELINE.blocks)


def test_a_tekton_pipeline_is_what_it_was_compiled_to_last(tmp_path: Path) -> None:
    kubernetes = FakeKubernetes()
    first = compiled(kubernetes, tmp_path, room.to_tekton(PIPELINE, PLACE))
    first.start()
    other = compiled(kubernetes, tmp_path, room.to_tekton(PIPELINE, Place("registry.example.com/train:2", "training")))
    other.start()
    assert len([each for each in kubernetes.objects if each.startswith(RUNS)]) == 2 and first.name != other.name
    (pipeline,) = (each for each in kubernetes.objects.values() if each["kind"] == "Pipeline")
    assert "train:2" in yaml.safe_dump(pipeline) and "train:1" not in yaml.safe_dump(pipeline)
    run = kubernetes.objects[f"{RUNS}/{other.name}"]
    run["status"] = {"conditions": [{"type": "Succeeded", "status": "False", "reason": "Failed", "message": "x"}]}
    assert other.look() == Seen(State.FAILED, "x")


def test_a_kubeflow_pipeline_is_sent_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kfp")
    file = tmp_path / "kfp.yaml"
    file.write_bytes(room.to_kfp(PIPELINE, Place(PLACE.image)))
    kubeflow = FakeKubeflow()
    with serve(kubeflow.answer) as server:
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", server.url)
        found = open_compiled(file)
        found.start()
        found.start()
        assert [each["display_name"] for each in kubeflow.runs.values()] == [found.name]
        next(iter(kubeflow.runs.values()))["state"] = "SUCCEEDED"
        assert found.look().state is State.SUCCEEDED


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no objects"),
        ("- a\n", "holds no objects"),
        ("kind: Secret\nmetadata: {name: a}\n", "holds a Secret"),
        ("kind: Job\n", "holds a Job"),
        ("kind: ConfigMap\nmetadata: {name: a}\n", "does not end in the one Job"),
        ("kind: Job\nmetadata: {name: a}\n---\nkind: Job\nmetadata: {name: b}\n", "does not end in the one Job"),
        ("a: [", "compiled.yaml:2: is not YAML"),
        ("a: " + "[" * 2000, "compiled.yaml"),
    ],
)
def test_what_compile_does_not_write_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        compiled(FakeKubernetes(), tmp_path, text.encode())


def test_how_it_ended_is_the_exit_code() -> None:
    check("a", Seen(State.SUCCEEDED))
    with pytest.raises(InputError, match="a: a block failed"):
        check("a", Seen(State.FAILED, "a block failed"))
    with pytest.raises(RemoteError):
        check("a", Seen(State.LOST, "gone", retryable=True))


def test_the_command_names_what_is_missing(tmp_path: Path) -> None:
    found = CliRunner().invoke(cli, ["train", str(tmp_path / "none.yaml")])
    assert isinstance(found.exception, NotFoundError) and "modelpack compile" in str(found.exception)
    found = CliRunner().invoke(cli, ["train", "a.yaml", "-p", "n=1"])
    assert found.exit_code == 2 and "give them to modelpack compile" in found.output
