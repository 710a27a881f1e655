"""A rehearsal's folder, as old, strange or finished as it may be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from modelpack.cli.status import status
from modelpack.errors import InputError, NotFoundError, RemoteError
from modelpack.rehearse.state import Cluster, State
from modelpack.rollout import Phase, Status
from modelpack.status import RehearsalScene
from modelpack.status.gate import newest, rollouts
from tests.fakes.rehearsal import serve
from tests.fakes.scene import V1, V2, rollout

TARGET: dict[str, Any] = {
    "namespace": "default", "name": "mpg", "phase": "Progressing", "weight": 20, "last_applied": "b",
    "canary": {"url": "", "image": V2}, "primary": {"url": "", "image": V1}, "metrics": "http://127.0.0.1:9/stats",
    "interval": 0.4, "speed": 25, "rollback": False,
}  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path)
    state.save(Cluster(Status(Phase.PROGRESSING, 1, 20, 0, "b", "a"), "a"))
    state.write_target(TARGET)
    return state


def report(state: State, name: str, changed: float, content: Any) -> None:
    state.write(f"reports/{name}/report.json", json.dumps(content).encode())
    os.utime(state.reports / name / "report.json", (changed, changed))


def test_what_a_rehearsal_keeps_is_a_canary(state: State) -> None:
    scene = RehearsalScene(state.folder)
    assert scene.canaries(None) == scene.canaries("default") == (("default", "mpg"),)
    assert scene.canaries("shop") == ()
    seen = scene.observe("default", "mpg")
    assert (seen.phase, seen.weight, seen.failed_checks, seen.interval) == ("Progressing", 20, 1, 0.4)
    assert (seen.primary_image, seen.canary_image, seen.steps) == (V1, V2, ())  # an older rehearsal told no steps
    assert seen.last_transition == (state.folder / "cluster.json").stat().st_mtime
    state.write_target({**TARGET, "steps": [20, 50], "iterations": 0, "threshold": 2})
    assert scene.observe("default", "mpg").steps == (20, 50)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"namespace": 1}', json.dumps({**TARGET, "interval": "x"}).encode()]
)
def test_a_folder_that_no_rehearsal_wrote_is_refused(state: State, content: bytes) -> None:
    state.write("target.json", content)
    with pytest.raises(InputError, match="is not what a rehearsal wrote"):
        RehearsalScene(state.folder).observe("default", "mpg")


def test_an_empty_folder_holds_no_rehearsal(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="holds no rehearsal"):
        RehearsalScene(tmp_path).canaries(None)


def test_while_a_rehearsal_runs_its_gate_is_asked_then_its_newest_report(state: State) -> None:
    scene = RehearsalScene(state.folder)
    assert rollouts(scene.gate) == []  # a Canary that asks no gate
    report(state, "old", 100, {"rollout": rollout(id="old")})
    report(state, "new", 300, {"rollout": rollout(id="new")})
    report(state, "without", 400, {"rollout": None})
    report(state, "other", 500, {"rollout": rollout(id="other", name="web")})
    state.write("reports/broken/report.json", b"{")
    assert [each["id"] for each in rollouts(scene.gate)] == ["new"]
    assert scene.stopped()
    with serve(lambda path, body: (200, json.dumps({"rollouts": [rollout(id="live")]}).encode())) as url:
        state.write_target({**TARGET, "gate": url, "metrics": f"{url}/stats"})
        assert [each["id"] for each in rollouts(scene.gate)] == ["live"]
        assert not scene.stopped()
        assert [each["id"] for each in rollouts(RehearsalScene(state.folder, url + "/").gate)] == ["live"]
    state.write_target({**TARGET, "phase": "Succeeded", "gate": url})
    assert not scene.stopped()


@pytest.mark.parametrize(("status", "problem"), [(500, "answered 500"), (302, "answered 302")])
def test_a_gate_that_fails_is_said_without_its_address(state: State, status: int, problem: str) -> None:
    with serve(lambda path, body: (status, b"")) as url, pytest.raises(RemoteError) as caught:
        RehearsalScene(state.folder, url).gate("/api/v1/rollouts")
    assert str(caught.value) == f"the gate: {problem}"


def test_of_nothing_there_is_no_newest() -> None:
    assert newest([], "default", "mpg") is None


def test_a_look_at_a_rehearsal_imports_nothing_heavy() -> None:
    heavy = "{'kubernetes', 'rich', 'numpy', 'fastapi', 'sqlalchemy', 'boto3', 'docker'}"
    program = f"import sys, modelpack.status, modelpack.cli.status; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_without_a_cluster_the_last_rehearsal_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path))
    state = tmp_path / "rehearsals" / "default-mpg-1"
    state.mkdir(parents=True)
    (state / "cluster.json").write_text("{}")
    with pytest.raises(InputError, match=f"look at the last rehearsal by --state {state}"):
        CliRunner().invoke(status, [], catch_exceptions=False)
