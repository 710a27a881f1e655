"""`modelpack reconcile` and `modelpack needs-sync serve` as people call them; and the pull request on a real Gitea."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest
import requests

from modelpack.reconcile.look import Rooms
from modelpack.reconcile.loop import reconcile_once
from modelpack.reconcile.state import Memory
from tests.fakes import training
from tests.fakes.faults import faults
from tests.fakes.git_serving import commit, git
from tests.fakes.reconcile import NOW, FakeBackend
from tests.integration.servers.gitea import ROBOT, Gitea

YAML = f"{training.FOLDER}/training.yaml"


class Desk:
    """A repository whose model trains for as long as a test wants, and a home."""

    def __init__(self, root: Path, seconds: float = 0) -> None:
        self.root, self.repo = root, root / "repo"
        slow = f"import time; time.sleep({seconds})\n{training.FIT}"
        training.repository(self.repo, {"training.yaml": f"{training.TRAINING}propose: commit\n", "fit.py": slow})
        rules = f"registry.local/=oci:{root / 'images'}"
        self.environ = {**os.environ, "MODELPACK_HOME": str(root / "home"), "MODELPACK_VIA": rules}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "modelpack", *words, "--repo", str(self.repo)]

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = self.command("reconcile", *words)
        return subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=120)

    def start(self, *words: str) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(self.command(*words), env=self.environ, **pipes)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("lime", "--once"), 3, "did you mean line?"),
        (("--every", "5 minutes"), 2, "write it like 90s, 10m, 1h30m or 7d"),
        (("--only", "train,deplay"), 2, "'deplay' is not one of train, experiment, deploy, record"),
        (("--gate", "gate.example.com"), 2, "is not an http address"),
        (("--once", "--branch", "none"), 3, "there is no branch none"),
    ],
)
def test_wrong_words_are_one_sentence(desk: Desk, words: Sequence[str], code: int, said: str) -> None:
    done = desk.call(*words)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr.splitlines()[-1]


def test_the_exit_code_is_that_of_the_first_error_and_the_rest_is_done(desk: Desk) -> None:
    commit(desk.repo, {"model-images/broken/training.yaml": "kind: Training\nkimd: 1\n"})
    done = desk.call("--once")
    assert done.returncode == 2
    assert done.stdout.splitlines()[0].startswith("line: train: started line-v1-")
    assert "model-images/broken/training.yaml:1" in done.stderr.splitlines()[0]
    assert done.stderr.splitlines()[-1].startswith("error: model-images/broken/training.yaml:1")


def test_nothing_to_reconcile_is_said(desk: Desk) -> None:
    git(desk.repo, "rm", "--quiet", YAML)
    commit(desk.repo, {"README.md": "no training\n"})
    done = desk.call("--once")
    assert (done.returncode, done.stdout) == (0, "no model-images/*/training.yaml: nothing to reconcile\n")


def test_what_could_not_be_looked_at_is_said_once_for_all_models(desk: Desk) -> None:
    signals = f"{training.TRAINING}stale: {{signals: true}}\n"
    texts = {name: (desk.repo / training.FOLDER / name).read_text() for name in ("points.csv", "fit.py", "ask.py")}
    model = training.MODEL.partition("targets:")[0].replace("line", "other")
    texts |= {"model.yaml": model, "training.yaml": signals.replace("name: line", "name: other")}
    commit(desk.repo, {YAML: signals, **{f"model-images/other/{name}": text for name, text in texts.items()}})
    done = desk.call("--once", "--only", "train")
    assert (done.returncode, [each.split()[1:3] for each in done.stdout.splitlines()[:2]]) == (
        0, [["train:", "started"], ["train:", "started"]],
    ), done.stderr  # fmt: skip
    assert done.stdout.count("no gate is named") == 1
    assert done.stdout.splitlines()[2].startswith("note: no gate is named, so no signal of one counts")
    found = json.loads(desk.call("--once", "--only", "train", "--json").stdout)["outcomes"]
    assert any("no gate is named" in note for each in found for note in each["notes"])


def test_ctrl_c_ends_it_and_leaves_the_run_going(tmp_path: Path) -> None:
    desk = Desk(tmp_path, seconds=8)
    program = desk.start("reconcile", "--every", "1s")
    assert program.stdout is not None
    said = [program.stdout.readline() for _ in range(2)]
    assert said[0].startswith("line: train: started")
    time.sleep(2.5)
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=30)
    assert (program.returncode, err.splitlines()[-1]) == (130, "interrupted")
    assert len([each for each in out.splitlines() if "is under way" in each]) == 1  # said once, not each second
    until = time.monotonic() + 90
    while time.monotonic() < until:
        found = json.loads(desk.call("--once", "--json").stdout)["outcomes"]
        if any(each["action"] == "committed" for each in found):
            break
        time.sleep(1)
    assert git(desk.repo, "log", "-1", "--format=%s") == "line: v0 -> v1"


def test_needs_sync_is_served_until_it_is_told_to_stop(desk: Desk) -> None:
    program = desk.start("needs-sync", "serve", "--json")
    assert program.stdout is not None
    url = json.loads(program.stdout.readline())["url"]
    answer = requests.get(f"{url}/needsTrain", timeout=60).json()
    assert (answer["needsSync"], answer["parameters"]["version"]) == (True, "v1")
    program.send_signal(signal.SIGTERM)
    assert program.wait(20) == 0


def test_one_pull_request_on_a_real_forge(
    gitea: Gitea, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Trained, proposed with its table, left alone while it is right, brought up to date, merged, and at rest."""
    monkeypatch.setenv("GITEA_TOKEN", gitea.tokens[ROBOT])
    points = f"{training.FOLDER}/points.csv"
    with faults(gitea.url) as proxy:
        files = training.files()
        wishes = f"{{forge: gitea, url: {proxy.url}, labels: [model]}}"
        files[f"{training.FOLDER}/model.yaml"] += f"pullRequest: {wishes}\n"
        project = gitea.create(f"trained-{uuid.uuid4().hex[:8]}", files)
        via = training.via(tmp_path)
        (tmp_path / "backend").mkdir()
        backend = FakeBackend(tmp_path / "backend", via, automatic=True)
        rooms = Rooms(
            project.with_login(), "main", tmp_path / "runs", via, now=lambda: NOW, open_backend=lambda *_: backend
        )

        def rounds(number: int) -> list[str]:
            with Memory(tmp_path / "home") as memory:
                found = [each for _ in range(number) for each in reconcile_once(rooms, memory)]
            assert not [each.reason for each in found if each.error]
            return [f"{each.what} {each.action}" for each in found if not each.idle]

        assert rounds(2) == ["train started", "train ended", "deploy proposed"]
        (pull,) = project.pulls()
        assert pull["title"] == "line: v0 -> v1" and "Quality gate: ✅ passed" in pull["body"]
        assert gitea.tokens[ROBOT] not in json.dumps(pull)
        proxy.clear()
        assert rounds(2) == []
        assert {each.split()[0] for each in proxy.seen} == {"GET"}  # it is right: nothing is written
        project.put(points, training.points(slope=2.1), old=project.api("GET", f"/contents/{points}")["sha"])
        assert rounds(2) == ["train started", "train ended", "deploy updated"]
        (pull,) = project.pulls()
        assert pull["title"] == "line: v0 -> v2"
        project.merge(pull["number"])
        assert rounds(2) == []
        assert len(project.pulls()) == 1
