"""A run in Kubeflow Pipelines, by kfp's own client against a server that checks its API's models."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from modelpack.errors import NotFoundError, RefusedError, RemoteError
from modelpack.runs.kubeflow import Kubeflow
from modelpack.runs.remote import HOST, TOKEN
from modelpack.training.run import State, from_json
from tests.fakes.http import Server, serve
from tests.fakes.kubeflow import FakeKubeflow
from tests.fakes.training import run, training

TRAINING = training("kfp", url="http://kfp", pipeline="line")


@pytest.fixture
def kubeflow() -> FakeKubeflow:
    return FakeKubeflow()


@pytest.fixture
def server(kubeflow: FakeKubeflow, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: object) -> Iterator[Server]:
    with serve(kubeflow.answer) as found:
        yield found


def test_started_twice_it_is_one_run(kubeflow: FakeKubeflow, server: Server) -> None:
    backend = Kubeflow.connect(server.url, "")
    assert backend.look(run()).state is State.LOST
    backend.start(run(), TRAINING)
    backend.start(run(), TRAINING)
    (started,) = kubeflow.runs.values()
    assert started["display_name"] == run().id
    assert from_json(json.loads(started["runtime_config"]["parameters"]["run"])) == run()
    assert backend.look(run()).state is State.PENDING
    assert backend.runs("line") == (run(),) and backend.runs("other") == ()


def test_of_two_that_started_at_once_the_older_counts(kubeflow: FakeKubeflow, server: Server) -> None:
    backend = Kubeflow.connect(server.url, "")
    backend.start(run(), TRAINING)
    kubeflow.add(run().id, state="FAILED")
    assert backend.look(run()).state is State.PENDING


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ("RUNNING", State.RUNNING),
        ("CANCELING", State.RUNNING),
        ("SUCCEEDED", State.SUCCEEDED),
        ("FAILED", State.FAILED),
        ("CANCELED", State.CANCELLED),
        ("SOMETHING_NEW", State.PENDING),
    ],
)
def test_how_it_stands(kubeflow: FakeKubeflow, server: Server, told: str, state: State) -> None:
    kubeflow.add(
        run().id, state=told, finished_at="2026-11-22T10:01:00Z", error={"code": 2, "message": "a step failed"}
    )
    seen = Kubeflow.connect(server.url, "").look(run())
    assert seen.state is state and "a step failed" in seen.message
    assert (seen.ended - seen.started == 60.0) == state.over


def test_cancelled_and_removed(kubeflow: FakeKubeflow, server: Server) -> None:
    backend = Kubeflow.connect(server.url, "")
    backend.start(run(), TRAINING)
    backend.remove(run())  # what goes on is not removed
    assert len(kubeflow.runs) == 1
    assert run().id not in backend.log(run()) and "/#/runs/details/id-0" in backend.log(run())
    backend.cancel(run())
    assert backend.look(run()).state is State.CANCELLED
    backend.remove(run())
    assert not kubeflow.runs


def test_a_pipeline_that_is_not_uploaded(server: Server) -> None:
    with pytest.raises(NotFoundError, match=r"kubeflow/train\.py"):
        Kubeflow.connect(server.url, "").start(run(), training("kfp", url="x", pipeline="other"))


def test_a_server_that_fails(server: Server) -> None:
    backend = Kubeflow.connect(server.url, "")
    server.answer = lambda request: (500, b'{"error": "down"}')
    with pytest.raises(RemoteError, match="500"):
        backend.look(run())


def test_the_token_goes_to_its_host_alone(
    kubeflow: FakeKubeflow, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, "hush")
    with pytest.raises(RefusedError, match="does not say for which host"):
        Kubeflow.connect(server.url, "")
    monkeypatch.setenv(HOST, server.url.removeprefix("http://"))
    Kubeflow.connect(server.url, "").look(run())
    assert "hush" in server.seen[-1].headers["authorization"]
    monkeypatch.setenv(HOST, "kubeflow.example.com")
    Kubeflow.connect(server.url, "").look(run())
    assert "hush" not in str(server.seen[-1].headers)


def test_a_redirect_takes_the_token_nowhere(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "hush")
    monkeypatch.setenv(HOST, server.url.removeprefix("http://"))
    backend = Kubeflow.connect(server.url, "")
    with serve(lambda request: (200, b"{}")) as other:
        server.answer = lambda request: (307, b"")
        server.headers["Location"] = f"{other.url}/runs"
        backend.look(run())
        assert other.seen and "hush" not in str(other.seen)
