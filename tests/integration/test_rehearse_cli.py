"""`modelpack rehearse` as people call it: built images, a Git repository, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fakes import serving
from tests.fakes.scripted_gate import scripted_gate
from tests.integration.test_rehearse_left_behind import left_behind

MODELPACK = (sys.executable, "-m", "modelpack")


class Desk:
    """A repository that names versions, the images, and a state folder."""

    def __init__(self, folder: Path) -> None:
        self.repo = folder / "repo"
        self.state = folder / "state"
        self.environ = {**os.environ, "MODELPACK_VIA": f"registry.local/=oci:{folder / 'registry'}"}
        self.commit("v1")
        for version in ("v1", "v2"):
            model = self.repo / "model-images" / "mpg" / "artifacts" / version
            model.mkdir(parents=True)
            (model / "model.json").write_text(json.dumps({"version": version}))
            subprocess.run(
                [*MODELPACK, "build", "model-images/mpg", "--version", version, "--push"],
                cwd=self.repo, env=self.environ, check=True, capture_output=True,
            )  # fmt: skip

    def commit(self, version: str, **changes: str) -> None:
        if not self.repo.exists():
            subprocess.run(["git", "init", "-q", "-b", "main", self.repo], check=True)
        files = serving.files(version, **changes)
        for path, data in files.items():
            (self.repo / path).parent.mkdir(parents=True, exist_ok=True)
            (self.repo / path).write_bytes(data)
        subprocess.run(["git", "-C", self.repo, "add", *files], check=True)
        subprocess.run(["git", "-C", self.repo, "commit", "-qm", version], check=True)

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [*MODELPACK, "rehearse", "--repo", self.repo, "--state", self.state, "--speed", "25", *words]
        return subprocess.Popen(command, env=self.environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def rehearse(self, *words: str) -> tuple[int, str, str]:
        program = self.start(*words)
        out, err = program.communicate(timeout=60)
        return program.returncode, out, err


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    code, out, err = desk.rehearse()
    assert code == 0, err
    assert out.startswith("mpg v1: serves as the primary now")
    return desk


def test_a_rollback_is_exit_code_7_with_a_report(desk: Desk, tmp_path: Path) -> None:
    desk.commit("v2")
    with scripted_gate(lambda hook, body: True) as gate:
        code, out, err = desk.rehearse(
            "--gate", gate.url, "--no-settle", "--json", "--report", str(tmp_path / "report")
        )
    assert code == 7, err
    value = json.loads(out)
    assert (value["result"], value["exitCode"], value["reason"]) == ("rolled back", 7, "scripted")
    assert value["traffic"]["sent"] > 0
    assert f"The gate's page is {gate.url}/" in err
    assert json.loads((tmp_path / "report" / "report.json").read_text())["rehearsal"]["image"] == value["image"]
    assert (tmp_path / "report" / "report.html").exists()


def test_a_rollback_stays_one_where_git_cannot_be_set_right(desk: Desk) -> None:
    desk.commit("v2")
    with scripted_gate(lambda hook, body: True) as gate:  # it has no list of rollouts
        code, out, err = desk.rehearse("--gate", gate.url)
    assert code == 7, err
    first, second, third = out.splitlines()
    assert first.startswith("mpg v2: rolled back: scripted; ")
    assert second.startswith("Git was not set right: ") and third.startswith("report: ")


def test_a_reference_is_rehearsed_before_it_is_committed(desk: Desk) -> None:
    with scripted_gate() as gate:
        code, out, err = desk.rehearse(f"{serving.IMAGE}:v2", "--gate", gate.url)
    assert code == 0, err
    assert out.startswith("mpg v2: promoted: scripted; ")


def test_a_wrong_gate_yaml_ends_it_before_anything_rolls(desk: Desk) -> None:
    desk.commit("v2")
    with scripted_gate() as gate:
        gate.wrong = "mpg/gate.yaml:7: checks[0].flor: is not a known key"
        code, out, err = desk.rehearse("--gate", gate.url)
    assert (code, out, gate.calls) == (2, "", [])
    assert err.splitlines()[-1] == f"error: the gate: {gate.wrong}"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"gate": serving.GATE.replace("golden, path", "goldn, path")}, "gate.yaml:6: checks[0].type: "),
        ({"gate": serving.GATE.replace("mpg", "tips")}, "gate.yaml:3: metadata.name: is 'tips', not 'mpg'"),
        ({"golden": serving.GOLDEN + "{}\n"}, "golden.jsonl:3: "),
    ],
)
def test_what_the_gate_will_read_is_read_where_it_judges_nothing_yet(
    tmp_path: Path, changes: dict[str, str], problem: str
) -> None:
    desk = Desk(tmp_path)
    desk.commit("v1", **changes)
    code, out, err = desk.rehearse()
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"error: model-images/mpg/{problem}")
    assert not desk.state.exists()


def test_a_gate_yaml_that_no_gate_will_read_is_left_alone(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.commit("v1", gate="kind: Nonsense\n", canary=serving.canary().replace("/flagger/", "/others/"))
    assert desk.rehearse()[0] == 0
    assert desk.rehearse("--gate", "http://127.0.0.1:9")[0] == 2


def test_each_repository_has_a_cluster_of_its_own(desk: Desk, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["git", "clone", "-q", desk.repo, other], check=True)
    environ = {**desk.environ, "MODELPACK_HOME": str(tmp_path / "home")}
    for repo in (desk.repo, other):
        done = subprocess.run([*MODELPACK, "rehearse", "--repo", repo, "--json"], env=environ, capture_output=True)
        assert json.loads(done.stdout)["result"] == "initialized"


def test_ctrl_c_cleans_up(desk: Desk) -> None:
    desk.commit("v2")
    with scripted_gate(lambda hook, body: hook in ("confirm-rollout", "pre-rollout")) as gate:
        program = desk.start("--gate", gate.url)
        until = time.monotonic() + 30
        while "confirm-traffic-increase" not in gate.asked() and time.monotonic() < until:
            time.sleep(0.05)
        program.send_signal(signal.SIGINT)
        _, err = program.communicate(timeout=20)
    assert (program.returncode, err.splitlines()[-1]) == (130, "interrupted")
    assert left_behind(desk.state) == []


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        ((f"{serving.IMAGE}:v9",), 3, "no tag v9"),
        (("registry.local/models/other:v1",), 3, "no image layout"),
        (("--branch", "other"), 3, "no branch other"),
        (("--traffic", "none.jsonl"), 2, "cannot be read"),
        (("--speed", "0"), 2, "0.0 is not in the range"),
    ],
)
def test_wrong_input_is_one_sentence(desk: Desk, words: tuple[str, ...], code: int, problem: str) -> None:
    found, out, err = desk.rehearse(*words)
    assert (found, out) == (code, "")
    assert problem in err.splitlines()[-1]
