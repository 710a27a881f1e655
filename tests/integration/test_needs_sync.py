"""needsTrain and needsSync: what the loops would do, told over HTTP; never true where it cannot be told."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from modelpack.errors import RemoteError
from modelpack.forge import State as PullState
from modelpack.reconcile.needs_sync import SYNC, TRAIN, Answer, Answers, Server, ask
from tests.fakes import training
from tests.fakes.reconcile import Scene

YAML = f"{training.FOLDER}/training.yaml"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture
def pulls(tmp_path: Path) -> Scene:
    return Scene(tmp_path, propose="pull-request")


def trained(scene: Scene) -> None:
    scene.round()
    scene.end()


def asked(scene: Scene, what: str, model: str = "") -> Answer:
    with scene.memory() as memory:
        return ask(what, model, scene.rooms, memory, scene.request)


def test_needs_train_is_what_the_trainer_would_do(scene: Scene) -> None:
    first = asked(scene, TRAIN)
    assert first.needed and first == asked(scene, TRAIN, "line") and scene.started == []
    assert json.loads(first.parameters["run"])["id"] == first.parameters["id"]
    assert all(isinstance(each, str) and each for each in first.parameters.values())
    scene.round()
    assert scene.started == [first.parameters["id"]]
    assert not asked(scene, TRAIN).needed
    scene.end()
    scene.round()
    assert asked(scene, TRAIN) == Answer(False, {}, "its data and code are those of v1")


def test_needs_train_is_unsure_without_the_gate(scene: Scene) -> None:
    scene.change({YAML: f"{training.TRAINING}propose: commit\nstale: {{signals: true}}\n"})
    trained(scene)
    scene.round()
    scene.gate = "http://127.0.0.1:9"
    with pytest.raises(RemoteError, match="no signals"):
        asked(scene, TRAIN)


def test_needs_sync_ends_with_the_pull_request(pulls: Scene) -> None:
    assert not asked(pulls, SYNC).needed
    trained(pulls)
    needed = asked(pulls, SYNC)
    assert needed.needed and needed.parameters["version"] == "v1" and "@sha256:" in needed.parameters["image"]
    assert pulls.forge.pulls == {}
    pulls.round()
    assert asked(pulls, SYNC) == Answer(False, {}, "https://forge.example.com/project/pulls/1 proposes it")
    pulls.forge.pulls[1] = replace(pulls.forge.pulls[1], state=PullState.CLOSED)
    assert not asked(pulls, SYNC).needed


def test_needs_sync_over_http(scene: Scene) -> None:
    def find(what: str, model: str) -> Answer:
        return asked(scene, what, model)

    with Server(("127.0.0.1", 0), Answers(find)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            found = requests.get(f"{server.url}/models/line/needsTrain", timeout=30)
            value = found.json()
            assert (found.status_code, value["kind"], value["apiVersion"]) == (200, "NeedsSync", "v1alpha1")
            assert value["needsSync"] is True and value["parameters"]["version"] == "v1" and "errors" not in value
            assert requests.get(f"{server.url}/needsSync?model=line", timeout=30).json()["needsSync"] is False
            assert requests.get(f"{server.url}/healthz", timeout=30).status_code == 200
            for path, status in (("/", 404), ("/models/lin/needsSync", 404), ("/needsSync?model=" + "x" * 2000, 404)):
                wrong = requests.get(server.url + path, timeout=30)
                assert (wrong.status_code, wrong.json()["needsSync"]) == (status, False) and wrong.json()["errors"]
            (scene.worktree / ".git/HEAD").unlink()
            broken = requests.get(f"{server.url}/needsTrain", timeout=30)
            assert (broken.status_code, broken.json()["needsSync"]) == (500, False)
            assert broken.json()["errors"][0]["message"]
        finally:
            server.shutdown()
            thread.join(5)


def test_an_answer_is_found_once_for_those_in_a_hurry() -> None:
    calls: list[str] = []
    now = [0.0]

    def find(what: str, model: str) -> Answer:
        calls.append(model)
        if len(calls) > 1:
            raise RemoteError("registry", "is away")
        return Answer(True, {"version": "v2"})

    answers = Answers(find, lambda: now[0])
    assert [answers.answer("/models/a/needsSync")[0] for _ in range(3)] == [200] * 3 and calls == ["a"]
    now[0] = 10.1
    status, value = answers.answer("/models/a/needsSync")
    assert (status, value["needsSync"], value["parameters"]) == (500, False, {})
    assert value["errors"] == [{"message": "registry: is away"}]
