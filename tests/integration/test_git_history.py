"""What served when, from real repositories: folders that were renamed, merges, environments, a clone without files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelpack import gitops
from modelpack.cli import main
from modelpack.errors import NotFoundError
from modelpack.gitops.history import Entry, history
from tests.fakes import git_serving as serving
from tests.fakes.git_serving import DEPLOYMENT, git

MODEL = "model-images/mpg/model.yaml"


def told(location: Path, environment: str = "", limit: int = 0, name: str = "mpg") -> list[Entry]:
    with gitops.open_repository(str(location)) as repository:
        return list(history(repository, name, environment, limit))


def steps(entries: list[Entry]) -> list[tuple[str, str, str]]:
    return [(gitops.version_of(each.old) or "-", gitops.version_of(each.new), each.why) for each in entries]


def bump(folder: Path, *versions: str) -> None:
    with gitops.open_repository(str(folder)) as repository:
        for version in versions:
            gitops.bump(repository, serving.wanted(version))


def test_each_change_of_the_target_is_told_and_nothing_else(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work", "v0")
    bump(folder, "v1", "v2")
    serving.commit(folder, {"README.md": "another file\n"})
    serving.commit(folder, {DEPLOYMENT: serving.served(folder).replace("server:1", "server:2")})
    with gitops.open_repository(str(folder)) as repository:
        gitops.rollback(repository, "mpg")
    serving.commit(folder, {DEPLOYMENT: serving.deployment("v3")})
    assert steps(told(folder)) == [
        ("v1", "v3", "edit"),
        ("v2", "v1", "rollback"),
        ("v1", "v2", "bump"),
        ("v0", "v1", "bump"),
        ("-", "v0", "edit"),
    ]
    assert steps(told(folder, limit=2)) == steps(told(folder))[:2]
    newest = told(folder)[0]
    assert newest.commit == git(folder, "rev-parse", "HEAD")
    assert (newest.by, newest.at) == (
        git(folder, "log", "-1", "--format=%an"),
        int(git(folder, "log", "-1", "--format=%ct")),
    )


def test_the_history_goes_on_before_a_rename(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work", "v0")
    bump(folder, "v1")
    serving.commit(folder, {"model-images/mpg/rejected.yaml": "- {version: v7, reason: old}\n"})
    (folder / "apps/fuel").mkdir(parents=True)
    git(folder, "mv", DEPLOYMENT, "apps/fuel/serving.yaml")
    git(folder, "mv", "model-images/mpg", "model-images/fuel")
    model = (folder / "model-images/fuel/model.yaml").read_text().replace(DEPLOYMENT, "apps/fuel/serving.yaml")
    serving.commit(folder, {"model-images/fuel/model.yaml": model}, "a new home")
    bump(folder, "v2")
    expected = [("v1", "v2", "bump"), ("-", "", "reject"), ("v0", "v1", "bump"), ("-", "v0", "edit")]
    assert steps(told(folder)) == expected


def test_what_stood_before_model_yaml_is_told_too(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work", "v0")
    model = (folder / MODEL).read_text()
    git(folder, "rm", "-q", MODEL)
    serving.commit(folder, {DEPLOYMENT: serving.deployment("v1")})
    serving.commit(folder, {MODEL: model})
    bump(folder, "v2")
    assert steps(told(folder)) == [("v1", "v2", "bump"), ("v0", "v1", "edit"), ("-", "v0", "edit")]


def test_a_pull_request_is_told_as_its_merge(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work", "v0")
    git(folder, "switch", "-qc", "modelpack/mpg")
    with gitops.open_repository(str(folder), "modelpack/mpg") as repository:
        gitops.bump(repository, serving.wanted("v1"))
        gitops.bump(repository, serving.wanted("v2"), style=gitops.Style(report="https://gate.example.com/rollouts/r"))
    git(folder, "switch", "-q", "main")
    serving.commit(folder, {"README.md": "meanwhile\n"})
    git(folder, "-c", "user.name=Grace", "merge", "-q", "--no-ff", "-m", "Merge pull request #3", "modelpack/mpg")
    merge, _ = told(folder)
    assert (merge.commit, merge.by, merge.why) == (git(folder, "rev-parse", "HEAD"), "Grace", "bump")
    assert (merge.subject, merge.report) == ("Merge pull request #3", "https://gate.example.com/rollouts/r")
    assert steps([merge]) == [("v0", "v2", "bump")]


def test_a_clone_brings_what_it_needs(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare", "v0")
    bump(bare, "v1", "v2")
    git(bare, "config", "uploadpack.allowFilter", "true")
    git(bare, "config", "uploadpack.allowAnySHA1InWant", "true")
    assert steps(told(bare)) == [("v1", "v2", "bump"), ("v0", "v1", "bump"), ("-", "v0", "edit")]
    with gitops.open_repository(f"file://{bare}") as repository:
        assert steps(list(history(repository, "mpg"))) == steps(told(bare))


def test_environments_are_told_apart(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work", "v1")
    target = "{file: NAME.yaml, kind: Deployment, name: mpg, initContainer: model}"
    overlays = "".join(
        f"- name: {name}\n  targets: [{target.replace('NAME', name)}]\n" for name in ("staging", "production")
    )
    model = (folder / MODEL).read_text().partition("targets:")[0] + f"environments:\n{overlays}"
    both = {f"{name}.yaml": serving.deployment("v1") for name in ("staging", "production")}
    serving.commit(folder, {MODEL: model, **both})
    bump(folder, "v2")
    newest = told(folder)[0]
    assert (newest.environment, newest.why) == ("staging", "bump")
    assert steps(told(folder, "production")) == [("-", "v1", "edit")]
    with pytest.raises(NotFoundError, match="known there: staging, production"):
        told(folder, "elsewhere")
    with pytest.raises(NotFoundError, match="did you mean mpg"):
        told(folder, name="mgp")


def test_names_with_control_characters_do_nothing_to_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = serving.worktree(tmp_path / "work", "v1")
    (folder / DEPLOYMENT).write_text(serving.deployment("v2"))
    git(folder, "commit", "-qa", "-m", "x", "--author", "Eve\x1b[31m\x07 <eve@example.com>")
    monkeypatch.chdir(folder)
    for words in (["history", "mpg"], ["history", "mpg", "--json"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
    table, _, rest = capsys.readouterr().out.partition("{")
    assert "v1 -> v2" in table and "\x1b" not in table and "\x07" not in table
    newest = json.loads("{" + rest)["entries"][0]
    assert (newest["from"]["version"], newest["to"]["digest"], newest["why"]) == ("v1", serving.digest("v2"), "edit")
