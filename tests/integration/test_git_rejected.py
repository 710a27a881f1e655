"""What is rejected gets in by no door: another tag, another repository, --target, a rollback, a misread entry."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack import gitops
from modelpack.errors import InputError, RefusedError
from modelpack.gitops import Repository, Wanted, open_repository, propose_bump
from modelpack.gitops.models import every
from modelpack.gitops.program import Answer, Git
from modelpack.gitops.reject import propose_reject
from modelpack.reference import Reference
from modelpack.target import parse_target
from tests.fakes import git_serving as serving
from tests.fakes.git_serving import REJECTED, git, wanted

TARGET = parse_target("file: manifests/mpg/deployment.yaml, kind: Deployment, name: mpg, initContainer: model")


def packaged(tag: str, content: str, model: str, name: str = "registry.local/models/mpg") -> Wanted:
    image = Reference.parse(f"{name}:{tag}@{serving.digest(content)}")
    return Wanted(image, tag, serving.digest(model))


def reject(folder: Path, what: Wanted) -> None:
    with open_repository(str(folder)) as repository:
        gitops.land(repository, lambda tip: propose_reject(tip, what, "wrong data"))


def test_a_version_under_another_tag(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work")
    serving.commit(folder, {REJECTED: "- {version: v2, reason: wrong data}\n"})
    latest = Wanted(Reference.parse(serving.image("v2").replace(":v2@", ":latest@")), "v2", "")
    with (
        open_repository(str(folder)) as repository,
        pytest.raises(RefusedError, match="mpg latest: was rejected as v2"),
    ):
        propose_bump(repository, latest)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{model: mpg, version: v2}", "'mpg' is no model digest; write version: v2"),
        ("{reason: wrong data}", "does not say what is rejected"),
        ("{image: registry.local/models/mpg}", "does not say what is rejected"),
    ],
)
def test_an_entry_that_would_count_for_nothing_is_an_error(tmp_path: Path, entry: str, problem: str) -> None:
    folder = serving.worktree(tmp_path / "work")
    serving.commit(folder, {REJECTED: f"- {{version: v1}}\n- {entry}\n"})
    with open_repository(str(folder)) as repository, pytest.raises(InputError, match=f"{REJECTED}:2: {problem}"):
        propose_bump(repository, wanted("v2"))


@pytest.mark.parametrize(
    ("content", "model"), [("v2", "another"), ("v2 again", "model v2")], ids=["its image", "its model"]
)
def test_a_copy_in_another_repository_by_target(tmp_path: Path, content: str, model: str) -> None:
    """No model.yaml says whose image it is, nor the image what its model is called."""
    folder = serving.worktree(tmp_path / "work")
    reject(folder, wanted("v2"))
    with open_repository(str(folder)) as repository:
        with pytest.raises(RefusedError, match=f"autos v7: was rejected as v2: wrong data.*{REJECTED}"):
            propose_bump(repository, packaged("v7", content, model, "mirror.local/autos"), "", (TARGET,))
        assert propose_bump(repository, packaged("v2", "other", "other", "mirror.local/autos"), "", (TARGET,)).files


@pytest.mark.parametrize("merged", [False, True], ids=["pushed", "by pull request"])
def test_a_rollback_to_the_same_model_in_another_image(tmp_path: Path, merged: bool) -> None:
    folder = serving.worktree(tmp_path / "work", "v0")
    for number, content in enumerate(("v1", "v2"), 1):
        if merged:
            git(folder, "switch", "--quiet", "--create", f"side-{number}")
        with open_repository(str(folder), f"side-{number}" if merged else "main") as repository:
            gitops.bump(repository, packaged(f"v{number}", content, f"model v{number}"))
        if merged:
            git(folder, "switch", "--quiet", "main")
            git(folder, "merge", "--quiet", "--no-ff", f"side-{number}")
    reject(folder, packaged("v1-again", "v1 again", "model v1"))
    with open_repository(str(folder)) as repository:
        assert gitops.rollback(repository, "mpg", dry_run=True)[0].new == serving.image("v0")


def test_a_version_can_be_rejected_whose_target_is_not_there_yet(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work")
    git(folder, "rm", "--quiet", serving.DEPLOYMENT)
    reject(folder, wanted("v2"))
    assert serving.digest("v2") in (folder / REJECTED).read_text()


def test_all_models_are_read_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request to git is one to the server where the repository is a URL."""
    folder = serving.worktree(tmp_path / "work")
    model = serving.files()["model-images/mpg/model.yaml"]
    names = [f"m{number}" for number in range(20)]
    files = {f"model-images/{name}/model.yaml": model.replace("mpg", name) for name in names}
    serving.commit(folder, files | {f"model-images/{name}/rejected.yaml": f"- {{version: {name}}}\n" for name in names})
    asked: list[str] = []
    ask = Git.ask

    def counted(git: Git, *arguments: str, **options: object) -> Answer:
        asked.append(arguments[0])
        return ask(git, *arguments, **options)  # type: ignore[arg-type]

    def read(repository: Repository) -> list[str]:
        return [entry.label for each in every(repository) for entry in gitops.rejected(repository, each)]

    with open_repository(str(folder)) as repository:
        monkeypatch.setattr(Git, "ask", counted)
        assert read(repository) == sorted(names)
    assert asked.count("cat-file") == 1
