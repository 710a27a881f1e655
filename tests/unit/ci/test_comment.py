"""`modelpack comment`: the pipeline's pull request and page, and what is said without a forge."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelpack.cli import cli
from modelpack.cli.comment import pipeline_page, pull_number
from modelpack.errors import ModelpackError
from tests.unit.ci.test_report import REHEARSAL, ROLLOUT

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("GITHUB_REF", "GITHUB_RUN_ID", "CI_MERGE_REQUEST_IID", "CI_JOB_URL"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "report.json"
    file.write_text(json.dumps({"rehearsal": REHEARSAL | {"transitions": [1]}, "rollout": ROLLOUT | {"events": [1]}}))
    return lambda *words: CliRunner().invoke(cli, ["comment", str(file), *words])


def test_what_would_be_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    text = run("--dry-run", "--link", "https://ci.example.com/1").output
    assert text.startswith("<!-- modelpack report mpg -->\n### Model mpg: v2 → v4\n")
    assert text.endswith("[more](https://ci.example.com/1)\n")
    monkeypatch.setenv("CI_JOB_URL", "https://gitlab.example.com/-/jobs/3")
    value = json.loads(run("--dry-run", "--json", "--pr", "7").output)
    assert (value["model"], value["pullRequest"]) == ("mpg", 7)
    assert "[more](https://gitlab.example.com/-/jobs/3)" in value["markdown"]


def test_brief_is_one_line_without_what_grows(run: Run) -> None:
    line = run("--brief").output
    assert line.count("\n") == 1
    value = json.loads(line)
    assert (value["rollout"]["model"], len(value["rollout"]["checks"])) == ("mpg", 3)
    assert "events" not in value["rollout"] and "transitions" not in value["rehearsal"]


def test_without_a_pull_request_it_asks_for_one(run: Run) -> None:
    error = run().exception
    assert isinstance(error, ModelpackError)
    assert (str(error).startswith("--pr: is missing"), error.exit_code) == (True, 2)


@pytest.mark.parametrize("name", ["x --><b>", "../mpg", "", "MPG"])
def test_a_hostile_name_ends_no_mark(tmp_path: Path, name: str) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps(ROLLOUT | {"model": name}))
    error = CliRunner().invoke(cli, ["comment", str(file), "--dry-run"]).exception
    assert isinstance(error, ModelpackError)
    assert "names no model" in str(error)


def test_a_folder_is_the_report_in_it(run: Run, tmp_path: Path) -> None:
    found = CliRunner().invoke(cli, ["comment", str(tmp_path), "--dry-run"])
    assert (found.exit_code, found.output) == (0, run("--dry-run").output)


def test_a_missing_file(tmp_path: Path) -> None:
    error = CliRunner().invoke(cli, ["comment", str(tmp_path / "none.json"), "--dry-run"]).exception
    assert isinstance(error, ModelpackError)
    assert error.exit_code == 3


@pytest.mark.parametrize(
    ("environ", "number"),
    [
        ({"GITHUB_REF": "refs/pull/12/merge"}, 12),
        ({"GITHUB_REF": "refs/pull/12/head"}, 12),  # Gitea
        ({"CI_MERGE_REQUEST_IID": "3", "GITHUB_REF": ""}, 3),
        ({"GITHUB_REF": "refs/heads/main"}, None),
        ({"GITHUB_REF": "refs/heads/refs/pull/1/merge"}, None),
        ({"GITHUB_REF": "refs/pull/1/merge\n"}, None),
        ({"CI_MERGE_REQUEST_IID": "0"}, None),
        ({}, None),
    ],
)
def test_the_pipelines_pull_request(environ: dict[str, str], number: int | None) -> None:
    assert pull_number(environ) == number


def test_the_pipelines_page() -> None:
    github = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "o/r", "GITHUB_RUN_ID": "9"}
    assert pipeline_page(github) == "https://github.com/o/r/actions/runs/9"
    assert pipeline_page({"CI_JOB_URL": "https://gitlab.example.com/-/jobs/3"}).endswith("/3")
    assert pipeline_page({}) == ""
