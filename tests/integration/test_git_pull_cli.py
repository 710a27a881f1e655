"""bump and rollback by pull request, as a person calls them, against a real Gitea whose main nobody pushes to."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.cli import main
from tests.command import argv
from tests.fakes import git_serving as serving
from tests.fakes.git_serving import DEPLOYMENT
from tests.integration.servers.gitea import REVIEWER, Gitea, Project

IMAGE = "registry.local/models/mpg"
BRANCH = "modelpack/mpg"
WISHES = f"pullRequest: {{forge: gitea, labels: [model], reviewers: [{REVIEWER}]}}\n"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command in a folder with v1 to v3 in a layout on disk, each with an evaluation; exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELPACK_VIA", f"registry.local/=oci:{tmp_path}/registry")
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path / "state"))

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([*arguments])
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    (tmp_path / "model-images/mpg").mkdir(parents=True)
    (tmp_path / "model-images/mpg/model.yaml").write_text(serving.files()["model-images/mpg/model.yaml"])
    for number, version in enumerate(("v1", "v2", "v3"), 1):
        (tmp_path / "artifacts" / version).mkdir(parents=True)
        (tmp_path / "artifacts" / version / "model").write_text(version)
        (tmp_path / "metrics.json").write_text(json.dumps({"mae": 4 - number, "rmse": 5 - number}))
        words = ("--metrics", "metrics.json", "--lineage", f"run={number}", "--push")
        assert run("build", "model-images/mpg", "--version", version, *words)[0] == 0
    return run


def project_of(gitea: Gitea, name: str, run: Run) -> Project:
    """A project that serves v1."""
    files = serving.files("v0")
    files["model-images/mpg/model.yaml"] += WISHES
    project = gitea.create(name, files)
    assert run("bump", f"{IMAGE}:v1", "--repo", project.with_login())[0] == 0
    project.protect()
    return project


def bump(run: Run, project: Project, version: str, *more: str) -> dict[str, Any]:
    code, out, err = run("bump", f"{IMAGE}:{version}", "--repo", project.with_login(), "--pr", "--json", *more)
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_the_life_of_a_proposal(gitea: Gitea, run: Run, tmp_path: Path) -> None:
    project = project_of(gitea, "life", run)
    url = project.with_login()
    code, _, err = run("bump", f"{IMAGE}:v2", "--repo", url)
    assert (code, err.endswith("; propose it with --pr\n"), gitea.tokens["robot"] in err) == (4, True, False)

    # shown, not done
    code, out, err = run("bump", f"{IMAGE}:v2", "--repo", url, "--pr", "--dry-run")
    assert (code, err, project.pulls()) == (0, "", [])
    assert (
        out.startswith(f"--- a/{DEPLOYMENT}")
        and "opens a new pull request, from modelpack/mpg\n\nmpg: v1 -> v2\n" in out
    )

    # opened
    report = {"model": "mpg", "image": "", "verdict": "accept", "checks": [{"name": "golden", "verdict": "accept"}]}
    (tmp_path / "report.json").write_text(json.dumps(report))
    told = bump(run, project, "v2", "--report", "report.json", "--report", "https://ci.example.com/run/7")
    pull = project.pull(1)
    assert told["pullRequest"].items() >= {"action": "opened", "number": 1, "url": pull["html_url"]}.items()
    assert (pull["title"], pull["head"]["ref"], pull["head"]["sha"]) == ("mpg: v1 -> v2", BRANCH, told["commit"])
    for row in ("| mae | 3 | 2 | −1 |", "| run | `1` | `2` |", "(https://ci.example.com/run/7)", "| golden |"):
        assert row in pull["body"]
    assert ([each["name"] for each in pull["labels"]], pull["mergeable"]) == (["model"], True)
    assert [each["login"] for each in pull["requested_reviewers"]] == [REVIEWER]
    commit = project.api("GET", f"/git/commits/{told['commit']}")["commit"]
    assert "\nReport: https://ci.example.com/run/7\n" in commit["message"]

    # the same again, and a newer one: the same pull request
    words = ("--report", "report.json", "--report", "https://ci.example.com/run/7")
    assert bump(run, project, "v2", *words)["pullRequest"]["action"] == "unchanged"
    told = bump(run, project, "v3")
    assert told["pullRequest"].items() >= {"action": "updated", "number": 1}.items()
    pull = project.pull(1)
    assert (pull["title"], pull["head"]["sha"], pull["changed_files"]) == ("mpg: v1 -> v3", told["commit"], 1)
    assert "| mae | 3 | 1 | −2 |" in pull["body"] and "Report" not in pull["body"]
    code, _, err = run("bump", f"{IMAGE}:v2", "--repo", url, "--pr")
    assert (code, "pull request 1 proposes v3, which is newer" in err) == (4, True)

    # a person writes into it
    project.put("notes.md", "asked Bob\n", branch=BRANCH)
    theirs = project.head(BRANCH)
    assert bump(run, project, "v3")["commit"] == theirs

    # merged: there is nothing to do, and the next one is a new pull request
    project.merge(1)
    code, out, _ = run("bump", f"{IMAGE}:v3", "--repo", url, "--pr")
    assert (code, out.startswith("mpg: already v3 (sha256:"), len(project.pulls())) == (0, True, 1)
    code, out, _ = run("rollback", "mpg", "--repo", url, "--pr")
    assert (code, "mpg: v3 -> v1 (" in out, f"opened pull request 2: {project.pull(2)['html_url']}" in out) == (
        0,
        True,
        True,
    )
    assert project.pull(2)["title"] == "mpg: roll back v3 -> v1"


def test_a_hand_edited_branch_gets_the_newer_version_on_top(gitea: Gitea, run: Run) -> None:
    project = project_of(gitea, "edited", run)
    bump(run, project, "v2")
    project.put("notes.md", "asked Bob\n", branch=BRANCH)
    theirs = project.head(BRANCH)
    told = bump(run, project, "v3")
    assert told["pullRequest"].items() >= {"action": "updated", "number": 1}.items()
    parents = project.api("GET", f"/git/commits/{told['commit']}")["parents"]
    assert [each["sha"] for each in parents] == [theirs]
    assert project.pull(1)["changed_files"] == 2


def test_a_closed_proposal_is_repeated_only_when_asked(gitea: Gitea, run: Run) -> None:
    project = project_of(gitea, "closed", run)
    bump(run, project, "v2")
    project.close(1)
    code, _, err = run("bump", f"{IMAGE}:v2", "--repo", project.with_login(), "--pr")
    assert (code, "pull request 1 proposed it, and was closed" in err, len(project.pulls())) == (4, True, 1)
    assert bump(run, project, "v2", "--again")["pullRequest"]["number"] == 2
    project.close(2)
    assert bump(run, project, "v3")["pullRequest"]["number"] == 3
    project.merge(3, how="squash")
    project.delete_branch(BRANCH)
    assert run("bump", f"{IMAGE}:v2", "--repo", project.with_login(), "--pr")[0] == 4
    assert bump(run, project, "v2", "--again")["pullRequest"]["number"] == 4


def test_auto_merge(gitea: Gitea, run: Run) -> None:
    files = serving.files("v0")
    files["model-images/mpg/model.yaml"] += "pullRequest: {forge: gitea, autoMerge: true}\n"
    project = gitea.create("auto", files)
    project.protect(checks=["ci"])
    told = bump(run, project, "v1")
    assert project.pull(1)["state"] == "open"
    project.check(told["commit"])
    deadline = time.monotonic() + 30
    while not project.pull(1)["merged"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert project.pull(1)["merged"]


def test_several_at_once_make_one_pull_request(gitea: Gitea, run: Run, tmp_path: Path) -> None:
    project = project_of(gitea, "race", run)
    words = ("--repo", project.with_login(), "--pr")
    running = [
        subprocess.Popen(
            argv("bump", f"{IMAGE}:{version}", *words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for version in ("v2", "v3", "v2", "v3")
    ]
    ended = [(each.communicate(timeout=120)[1], each.returncode) for each in running]
    assert [code for _, code in ended[1::2]] == [0, 0], ended
    assert all(code == 0 or "proposes v3, which is newer" in err for err, code in ended), ended
    assert [each["title"] for each in project.pulls() if each["state"] == "open"] == ["mpg: v1 -> v3"]
    file = project.api("GET", f"/contents/{DEPLOYMENT}?ref={BRANCH}")
    assert f"{IMAGE}:v3@".encode() in base64.b64decode(file["content"])


def test_each_model_and_environment_has_its_own(gitea: Gitea, run: Run) -> None:
    files = serving.files("v0")
    model, target = files["model-images/mpg/model.yaml"].split("targets:\n- ")
    target = target.strip()
    overlay = target.replace("manifests/mpg/", "manifests/production/")
    environments = "".join(
        f"- {{name: {name}, targets: [{each}]}}\n" for name, each in (("staging", target), ("production", overlay))
    )
    tips = model.replace("mpg", "tips") + f"targets: [{target.replace('manifests/mpg/', 'manifests/tips/')}]\n"
    files["model-images/mpg/model.yaml"] = f"{model}environments:\n{environments}{WISHES}"
    files["model-images/tips/model.yaml"] = tips + WISHES
    files["manifests/production/deployment.yaml"] = files["manifests/tips/deployment.yaml"] = serving.deployment("v0")
    project = gitea.create("several", files)
    other = "registry.local/models/tips:v1"
    assert run("build", "model-images/mpg", "--version", "v1", "--tag", other, "--push")[0] == 0
    code, out, _ = run("bump", f"{IMAGE}:v1", other, "--repo", project.with_login(), "--pr", "--json")
    told = json.loads(out)["changes"]
    assert (code, [each["pullRequest"]["branch"] for each in told]) == (0, ["modelpack/staging/mpg", "modelpack/tips"])
    assert bump(run, project, "v2", "--env", "production")["pullRequest"]["number"] == 3
    assert [each["title"] for each in reversed(project.pulls())] == [
        "mpg in staging: v0 -> v1",
        "tips: v0 -> v1",
        "mpg in production: v0 -> v2",
    ]


def test_an_environment_in_another_repository(run: Run, tmp_path: Path) -> None:
    folder, other = serving.worktree(tmp_path / "work", "v0"), serving.bare(tmp_path / "production", "v0")
    model = serving.files()["model-images/mpg/model.yaml"].split("targets:")[0]
    environments = f"environments:\n- {{name: production, repository: '{other}'}}\n"
    serving.commit(folder, {"model-images/mpg/model.yaml": model + environments})
    assert run("bump", f"{IMAGE}:v1", "--repo", str(folder), "--env", "production")[0] == 0
    assert (serving.count(folder), serving.count(other), f"{IMAGE}:v1@" in serving.served(other)) == (2, 2, True)
    assert run("rollback", "mpg", "--repo", str(folder), "--env", "production")[0] == 0
    assert f"{IMAGE}:v0@" in serving.served(other)


def test_a_checkout_stays_as_it_is(run: Run, tmp_path: Path) -> None:
    bare, folder = serving.bare(tmp_path / "bare", "v0"), tmp_path / "checkout"
    serving.git(tmp_path, "clone", "--quiet", str(bare), str(folder))
    (folder / DEPLOYMENT).write_text("half done\n")
    words = ("--repo", str(folder), "--pr-branch", "next")
    assert run("bump", f"{IMAGE}:v1", *words)[0] == 0
    assert f"{IMAGE}:v1@" in serving.served(bare, "next")
    assert (folder / DEPLOYMENT).read_text() == "half done\n"
    assert serving.git(folder, "branch", "--format=%(refname:short)") == "main"


def test_a_branch_beside_one_without_a_remote(run: Run, tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work", "v0")
    assert run("bump", f"{IMAGE}:v1", "--repo", str(folder), "--pr-branch", "next")[0] == 0
    assert f"{IMAGE}:v1@" in serving.served(folder, "next")
    assert (serving.served(folder), serving.git(folder, "status", "--porcelain")) == (serving.deployment("v0"), "")


def test_a_branch_alone(gitea: Gitea, run: Run) -> None:
    project = project_of(gitea, "aside", run)
    code, out, _ = run("bump", f"{IMAGE}:v2", "--repo", project.with_login(), "--pr-branch", "next")
    assert (code, out.endswith(" to next\n"), project.pulls()) == (0, True, [])
    assert project.head("next") != project.head()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["bump", f"{IMAGE}:v2", "--pr", "--pr-branch", "next"], 2, "exclude each other"),
        (["bump", f"{IMAGE}:v2", "--again"], 2, "--again goes with --pr"),
        (["bump", f"{IMAGE}:v2", "--pr-branch", "main"], 2, "main is the branch that the change is for"),
        (["bump", f"{IMAGE}:v2", "--pr-branch", "a..b"], 2, "is not a branch's name"),
        (["bump", f"{IMAGE}:v2", "--pr"], 2, "has no remote, and so no pull requests"),
        (["bump", f"{IMAGE}:v2", "--env", "production"], 3, "names no environments"),
        (["bump", f"{IMAGE}:v2", "--target", "file: nothing.yaml, path: image"], 3, "--target names it as a target"),
        (["bump", f"{IMAGE}:v2", "--target", "fil: nothing.yaml"], 2, "--target"),
        (["bump", f"{IMAGE}:v2", "--message", "nothing"], 2, "nothing: cannot be read"),
        (["bump", f"{IMAGE}:v2", "--report", "nothing"], 2, "nothing: cannot be read"),
        (["bump", f"{IMAGE}:v2", "--report", "ftp://x"], 2, "is neither a file nor a plain"),
        (
            ["bump", f"{IMAGE}:v2", "--report", "https://x.example", "--report", "https://y.example"],
            2,
            "more than once",
        ),
        (["rollback", "mpg", "--again"], 2, "--again goes with --pr"),
    ],
)
def test_mistakes_are_told(run: Run, tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    folder = serving.worktree(tmp_path / "work", "v1")
    head = serving.git(folder, "rev-parse", "HEAD")
    ended, out, err = run(*arguments, "--repo", str(folder))
    assert (ended, out) == (code, "")
    assert words in err
    assert serving.git(folder, "for-each-ref", "--format=%(objectname)").split() == [head]


def test_several_are_proposed_or_none(gitea: Gitea, run: Run) -> None:
    project = gitea.create("all-or-none", serving.files("v0"))
    url = project.with_login()
    assert run("reject", f"{IMAGE}:v3", "--repo", url)[0] == 0
    code, out, err = run("bump", f"{IMAGE}:v2", f"{IMAGE}:v3", "--repo", url, "--pr")
    assert (code, out, "mpg v3: was rejected" in err) == (4, "", True)
    target = "file: manifests/mpg/deployment.yaml, kind: Deployment, name: mpg, initContainer: model"
    code, out, err = run("bump", f"{IMAGE}:v1", f"{IMAGE}:v2", "--repo", url, "--pr", "--target", target)
    assert (code, out, "--target: goes with one version" in err) == (2, "", True)
    assert project.api("GET", "/pulls?state=all") == []
