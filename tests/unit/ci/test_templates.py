"""The templates fit the forges' schemas, run nothing that came as text, and ask for few rights."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ci import ACTION, EXAMPLES, GITLAB, interpolated, run_blocks

WORKFLOWS = sorted(EXAMPLES.glob("github-*.yml"))


@pytest.mark.parametrize(
    ("schema", "files"),
    [("github-actions", [ACTION]), ("github-workflows", WORKFLOWS), ("gitlab-ci", [EXAMPLES / "gitlab-model.yml"])],
)
def test_schema(schema: str, files: list[Path]) -> None:
    check(schema, *files)


def test_the_components_two_documents_fit_gitlabs_schema(tmp_path: Path) -> None:
    header, _ = yaml.safe_load_all(GITLAB.read_text())
    given = {"source": "https://gitlab.example.com/m.git", "ref": "v1", "notebooks": True, "speed": 2.5}
    for name, value in (("header", header), ("jobs", interpolated(given))):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
        check("gitlab-ci", tmp_path / f"{name}.json")


def test_every_input_is_used_and_every_use_is_an_input() -> None:
    header, _ = yaml.safe_load_all(GITLAB.read_text())
    used = set(re.findall(r"\$\[\[ inputs\.(\w+) \]\]", GITLAB.read_text()))
    assert used | {"source", "ref"} == set(header["spec"]["inputs"])
    action = yaml.safe_load(ACTION.read_text())
    assert set(re.findall(r"inputs\.(\w+)", ACTION.read_text())) == set(action["inputs"])


@pytest.mark.parametrize("file", [ACTION, *WORKFLOWS, GITLAB], ids=lambda file: file.name)
def test_no_expression_is_put_into_a_script(file: Path) -> None:
    blocks = run_blocks(file)
    assert blocks or file in WORKFLOWS
    for block in blocks:
        assert "${{" not in block and "$[[" not in block, block


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_rights_are_named_job_by_job_and_actions_are_pinned(file: Path) -> None:
    workflow = yaml.safe_load(file.read_text())
    assert workflow["permissions"] == {}
    assert True in workflow, "on: pull_request_target would give a fork's programs our token"
    assert "pull_request_target" not in workflow[True] and "workflow_run" not in workflow[True]
    for name, job in workflow["jobs"].items():
        writes = {right for right, level in job["permissions"].items() if level != "read"}
        allowed = {"package": {"packages"}, "comment": {"pull-requests"}, "bump": {"contents"}}
        assert writes == allowed.get(name, set()), name
        for step in job["steps"]:
            action, _, version = step["uses"].partition("@")
            ours = action == "YOUR-ORG/modelpack" and version == "COMMIT"
            assert ours or re.fullmatch(r"actions/(checkout|setup-python)@[0-9a-f]{40}", step["uses"])
            if action == "actions/checkout" and name not in ("bump", "comment"):
                assert step["with"]["persist-credentials"] is False, name


def test_only_the_jobs_without_foreign_programs_see_gitlabs_token() -> None:
    jobs = interpolated({"source": "x", "ref": "x"})
    scoped = {name for name, job in jobs.items() if isinstance(job, dict) and "environment" in job}
    assert scoped == {"modelpack-comment", "modelpack-bump", "modelpack-train"}
    assert jobs["modelpack-train"]["environment"]["name"] != jobs["modelpack-bump"]["environment"]["name"]


def check(schema: str, *files: Path) -> None:
    words: list[Any] = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    if schema == "gitlab-ci":
        words += ["--data-transform", "gitlab-ci"]
    done = subprocess.run([*words, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
