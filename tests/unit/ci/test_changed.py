"""Which models a push changed, from its paths alone and from a real checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from modelpack.definition import parse
from modelpack.errors import InputError, NotFoundError
from modelpack.gitops.changed import changed, changed_since
from modelpack.gitops.models import Model

MODEL = """\
apiVersion: modelpack.dev/v1
kind: Model
metadata: {{name: {name}}}
source: {source}
image: registry.example.com/models/{name}
"""


def model(source: str, name: str = "mpg") -> Model:
    folder = f"model-images/{name}"
    return Model(parse(MODEL.format(name=name, source=source).encode(), f"{folder}/model.yaml"), folder)


@pytest.mark.parametrize(
    ("source", "path", "versions"),
    [
        ("./artifacts/{version}", "model-images/mpg/artifacts/v7/sub dir/model.bin", ["v7"]),
        ("../../artifacts/{version}", "artifacts/v7/model.bin", ["v7"]),
        ("../../artifacts/{version}", "artifacts/v7", ["v7"]),
        ("../../artifacts/{version}", "artifacts2/v7/model.bin", []),
        ("../../artifacts/{version}", "artifacts/v7\n/model.bin", []),
        ("../../artifacts/{version}", "artifacts/$(touch x)/model.bin", []),
        ("../../a+b/mpg-{version}.bin", "a+b/mpg-1.2.bin", ["1.2"]),
        ("../../a+b/mpg-{version}.bin", "aab/mpg-1.2.bin", []),
        ("../../{version}/mpg-{version}", "v1/mpg-v1/x", ["v1"]),
        ("../../{version}/mpg-{version}", "v1/mpg-v2/x", []),
        ("./artifacts/{version}", "model-images/mpg/gate.yaml", []),
        ("../../weights", "weights/model.bin", [""]),
        ("../../weights", "weights2/model.bin", []),
        ("../../weights", "model-images/mpg/golden.jsonl", [""]),
        ("../../weights", "model-images/mpg/rejected.yaml", []),
        ("../../weights", "model-images/mpg2/model.yaml", []),
        ("s3://models/mpg/v7", "model-images/mpg/model.yaml", [""]),
        ("s3://models/mpg/{version}", "model-images/mpg/model.yaml", []),
        ("/srv/models", "srv/models/x", []),
        ("../../../outside", "outside/x", []),
    ],
)
def test_a_path_changes_a_model(source: str, path: str, versions: list[str]) -> None:
    assert [each.version for each in changed([model(source)], [path], lambda path: True)] == versions


def test_several_versions_and_models_at_once() -> None:
    models = [model("../../mpg/{version}"), model("../../weights", "tips")]
    found = changed(models, ["mpg/v2/a", "mpg/v1/a", "mpg/v1/b", "weights/w"], lambda path: True)
    assert [(each.model, each.version) for each in found] == [("mpg", "v1"), ("mpg", "v2"), ("tips", "")]


def test_a_version_that_was_removed_is_not_packaged_but_a_smaller_model_is() -> None:
    gone = ["mpg/v1/a", "weights/w"]
    models = [model("../../mpg/{version}"), model("../../weights", "tips")]
    assert [each.model for each in changed(models, gone, lambda path: False)] == ["tips"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, {"README.md": "x"})
    return tmp_path


def test_a_push_of_several_commits_since_it_left_the_base(checkout: Path) -> None:
    models = {"mpg": "../../w/{version}", "tips": "../../weights"}
    texts = {f"model-images/{name}/model.yaml": MODEL.format(name=name, source=where) for name, where in models.items()}
    base = commit(checkout, texts)
    assert [each.model for each in changed_since(checkout, "HEAD^")] == ["tips"]
    commit(checkout, {"w/v1/b c": "1", "w/v1/new\nline": "2"})
    commit(checkout, {"other": "3"})
    head = git(checkout, "rev-parse", "HEAD")
    assert [vars(each) for each in changed_since(checkout, base)] == [
        {"model": "mpg", "folder": "model-images/mpg", "version": "v1"}
    ]
    git(checkout, "checkout", "-q", "-b", "elsewhere", base)
    ahead = commit(checkout, {"weights/theirs": "x"})
    git(checkout, "checkout", "-q", head)
    assert [each.model for each in changed_since(checkout, ahead)] == ["mpg"], "what the base did since is not ours"


def test_the_first_commit_brings_everything_but_a_shallow_clone_does_not_know(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main", "origin")
    commit(tmp_path / "origin", {"model-images/tips/model.yaml": MODEL.format(name="tips", source="../../w")})
    assert [each.model for each in changed_since(tmp_path / "origin", "HEAD^")] == ["tips"]
    commit(tmp_path / "origin", {"README.md": "x"})
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{tmp_path}/origin", "shallow")
    with pytest.raises(NotFoundError, match="fetch more history"):
        changed_since(tmp_path / "shallow", "HEAD^")


def test_a_broken_model_yaml_stops_only_who_broke_it(checkout: Path) -> None:
    commit(checkout, {"model-images/bad/model.yaml": "x: 1\n"})
    with pytest.raises(InputError, match=r"model-images/bad/model.yaml:1"):
        changed_since(checkout, "HEAD^")
    commit(checkout, {"model-images/tips/model.yaml": MODEL.format(name="tips", source="../../w")})
    assert [each.model for each in changed_since(checkout, "HEAD^")] == ["tips"]


@pytest.mark.parametrize("base", ["0" * 40, "nowhere", "--output=x", "$(touch x)"])
def test_a_base_that_is_not_there(checkout: Path, base: str) -> None:
    with pytest.raises(NotFoundError, match="fetch more history"):
        changed_since(checkout, base)
    assert sorted(each.name for each in checkout.iterdir()) == [".git", "README.md"]


def test_outside_of_a_repository(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="not a Git repository"):
        changed_since(tmp_path, "HEAD^")


def commit(folder: Path, files: dict[str, str]) -> str:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "-qm", "a person's commit")
    return git(folder, "rev-parse", "HEAD")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()
