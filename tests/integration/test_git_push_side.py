"""A change on a branch of its own without a pull request: what is there already stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modelpack.errors import InputError, ProtectedError, RefusedError
from modelpack.gitops import Wanted, open_repository, propose_bump
from modelpack.gitops.beside import push_side
from modelpack.reference import Reference
from tests.fakes import git_serving as serving
from tests.fakes.forge import FakeForge
from tests.fakes.git_pulls import NOTES, World
from tests.fakes.git_serving import git


@pytest.fixture
def world(tmp_path: Path) -> World:
    serving.bare(tmp_path / "bare")
    return World(tmp_path, FakeForge())


def test_a_branch_alone(world: World) -> None:
    _, commit = world.put_aside("v2")
    assert (commit, world.head("next^")) == (world.head("next"), world.head("main"))
    assert world.put_aside("v2")[1] == commit
    _, commit = world.put_aside("v3")
    assert (world.head("next"), world.head("next^")) == (commit, world.head("main"))
    theirs = world.commit({NOTES: "mine\n"}, "next")
    world.put_aside("v4")
    assert (world.head("next^"), serving.served(world.bare, "next")) == (theirs, serving.deployment("v4"))
    change, commit = world.put_aside("v5", dry_run=True)
    assert (bool(change.files), commit) == (True, "")
    assert world.put_aside("v1")[1] == ""


def test_the_base_is_no_branch_beside_it(world: World) -> None:
    with pytest.raises(InputError, match="main is the branch that the change is for"):
        world.put_aside("v2", "main")


def test_a_protected_side_branch_is_refused_at_once(world: World) -> None:
    serving.hook(world.bare, "echo 'no branches here' >&2; exit 1")
    with pytest.raises(ProtectedError, match="no branches here"):
        world.put_aside("v2")
    with pytest.raises(ProtectedError, match="no branches here"):
        world.bump("v2")
    assert world.forge.pulls == {}


def test_another_models_bump_on_the_branch_stays(world: World) -> None:
    mpg = serving.files().items()
    world.commit({path.replace("mpg", "tips"): text.replace("mpg", "tips") for path, text in mpg if "mpg" in path})
    world.put_aside("v2")
    for version in ("v5", "v6"):
        image = serving.image(version).replace("mpg", "tips")
        tips = Wanted(Reference.parse(image), version, "")
        with open_repository(str(world.bare)) as repository:
            push_side(repository, lambda tip, tips=tips: propose_bump(tip, tips), branch="next")  # type: ignore[misc]
    assert world.log("next") == ["tips: v5 -> v6", "tips: v1 -> v5", "mpg: v1 -> v2"]
    world.put_aside("v3")
    assert serving.served(world.bare, "next") == serving.deployment("v3")
    assert "tips:v6@" in git(world.bare, "show", "next:manifests/tips/deployment.yaml")


@pytest.mark.parametrize("make", [serving.bare, serving.worktree])
def test_a_branch_in_the_way_is_named_at_once(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """Git keeps `next/mpg` in a folder `next`: nobody was faster."""
    folder = make(tmp_path / "repository")
    git(folder, "branch", "next", "main")
    refused = pytest.raises(RefusedError, match="no branch next/mpg: the branch next is in the way")
    with open_repository(str(folder)) as repository, refused:
        push_side(repository, lambda tip: propose_bump(tip, serving.wanted("v2")), branch="next/mpg")
