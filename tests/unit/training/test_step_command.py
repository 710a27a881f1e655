"""`modelpack step` as pipelines call it: exit codes, and where it leaves how a run stands."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from modelpack.cli import main
from modelpack.gitops import open_repository
from modelpack.training.ask import ask
from modelpack.training.folder import read_compact
from modelpack.training.run import State, to_json
from tests.fakes import training as fake


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELPACK_VIA", f"registry.local/=oci:{tmp_path / 'images'}")
    fake.repository(tmp_path / "repo")
    return tmp_path


def run_file(place: Path, **parameters: float) -> Path:
    with open_repository(str(place / "repo")) as repository:
        words = {"parameters": parameters, "known": (), "reason": "asked for", "now": 1.0}
        asked = ask(repository, str(place / "repo"), "line", fake.via(place), **words)  # type: ignore[arg-type]
    path = place / "run.json"
    path.write_text(json.dumps(to_json(asked.run)))
    return path


def step(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["step", *map(str, words)])
    return int(ended.value.code or 0)


def test_step_after_step_in_one_folder(place: Path) -> None:
    run, folder, results = run_file(place).read_text(), place / "run", place / "results"
    for name in ("fetch", "validate", "test", "train", "evaluate"):
        assert step(name, "--folder", folder, "--run", run, "--results", results) == 0
        told = read_compact((results / "result").read_text(), "result")
        assert (told.state, told.message) == (State.RUNNING, name)
        assert (results / "passed").read_text() == (results / "image").read_text() == ""
    assert step("package", "--folder", folder, "--results", results) == 0
    assert (results / "passed").read_text() == "true"
    assert (results / "image").read_text().startswith("registry.local/models/line:v1@sha256:")


@pytest.mark.parametrize(("option", "code"), [("--result", 4), ("--results", 0)])
def test_not_to_pass_is_an_exit_code_unless_results_say_it(place: Path, option: str, code: int) -> None:
    out = place / "out"
    assert step("all", "--folder", place / "run", "--run", run_file(place, slope=1.0), option, out) == code
    told = read_compact((out if option == "--result" else out / "result").read_text(), "out")
    assert told.result is not None and not told.result.passed and "mae" in told.result.reason
    if option == "--results":
        assert (out / "passed").read_text() == "false" and (out / "image").read_text() == ""
        assert step("train", "package", "--folder", place / "run", option, out) == 0  # no more is done


def test_a_failure_is_told_too(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = json.loads(run_file(place).read_text())
    out = place / "out"
    lost = json.dumps({**run, "commit": "0" * 40})
    assert step("all", "--folder", place / "run", "--run", lost, "--result", out) == 3
    told = read_compact(out.read_text(), "out")
    assert told.state is State.FAILED and "no commit of main" in told.message and not told.retryable
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("run", "words"), [("{}", "is not a run"), ("no-such-file", "cannot be read"), ("", "give the run with --run")]
)
def test_what_is_no_run(place: Path, capsys: pytest.CaptureFixture[str], run: str, words: str) -> None:
    options = ["--run", run] if run else []
    assert step("fetch", "--folder", place / "run", *options) in (2, 3)
    assert words in capsys.readouterr().err


def test_a_login_in_the_runs_repository_is_written_nowhere(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPACK_REPOSITORY", "")
    run = json.loads(run_file(place).read_text()) | {"repository": "https://me:secret@127.0.0.1:1/x.git"}
    folder = place / "run"
    with pytest.raises(SystemExit):
        main(["step", "fetch", "--folder", str(folder), "--run", json.dumps(run)])
    assert json.loads((folder / "run.json").read_text())["repository"] == "https://127.0.0.1:1/x.git"
    assert os.environ["MODELPACK_REPOSITORY"] == run["repository"]  # git alone is told
    assert not [each for each in folder.rglob("*") if each.is_file() and b"secret" in each.read_bytes()]
