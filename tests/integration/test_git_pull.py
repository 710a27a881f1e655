"""Pull requests on real Git and a forge in memory: one branch, one open pull request, nobody's commits lost."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from modelpack.definition import PullRequestStyle
from modelpack.errors import RefusedError, RemoteError
from modelpack.forge import State
from modelpack.gitops import Change, Repository, propose_bump
from modelpack.gitops.commit import Style
from modelpack.gitops.proposal import Kind, write
from tests.fakes import git_serving as serving
from tests.fakes.forge import FakeForge
from tests.fakes.git_pulls import BRANCH, NOTES, World
from tests.fakes.git_serving import DEPLOYMENT, git, wanted


@pytest.fixture
def world(tmp_path: Path) -> World:
    serving.bare(tmp_path / "bare")
    return World(tmp_path, FakeForge())


def test_a_proposal_is_one_branch_and_one_pull_request(world: World) -> None:
    main = world.head("main")
    pulled = world.bump("v2", requested=PullRequestStyle(labels=("model",), reviewers=("bob",), auto_merge=True))
    assert (pulled.action, pulled.branch, pulled.commit) == ("opened", BRANCH, world.head())
    assert pulled.pull is not None and pulled.pull.number == 1
    assert world.says(1) == ("mpg: v1 -> v2", serving.digest("v2"))
    assert (world.head("main"), world.head(f"{BRANCH}^")) == (main, main)
    assert serving.served(world.bare, BRANCH) == serving.deployment("v2")
    assert (world.forge.labels[1], world.forge.reviewers[1], world.forge.auto_merge) == (["model"], ["bob"], [1])


def test_the_same_again_changes_nothing(world: World) -> None:
    first = world.bump("v2")
    world.commit({NOTES: "the base went on\n"})
    second = world.bump("v2")
    assert (second.action, second.commit, len(world.forge.pulls)) == ("unchanged", first.commit, 1)
    assert "update" not in world.forge.calls


def test_a_newer_version_replaces_the_proposal(world: World) -> None:
    world.bump("v2")
    pulled = world.bump("v3")
    assert (pulled.action, len(world.forge.pulls)) == ("updated", 1)
    assert world.says(1) == ("mpg: v1 -> v3", serving.digest("v3"))
    assert world.log() == ["mpg: v1 -> v3"]
    assert serving.served(world.bare, BRANCH) == serving.deployment("v3")


def test_an_older_version_does_not(world: World) -> None:
    world.bump("v3")
    head = world.head()
    with pytest.raises(RefusedError, match="mpg v2: pull request 1 proposes v3, which is newer"):
        world.bump("v2")
    assert (world.head(), world.says(1)[0]) == (head, "mpg: v1 -> v3")


def test_a_stale_branch_is_recomputed(world: World) -> None:
    world.bump("v2")
    world.commit({DEPLOYMENT: serving.deployment("v1").replace("# served by", "# still served by")})
    assert world.bump("v2").action == "updated"
    assert world.head(f"{BRANCH}^") == world.head("main")
    assert serving.served(world.bare, BRANCH).startswith("# still served by")


def test_what_the_base_has_is_not_proposed(world: World) -> None:
    world.bump("v2")
    world.commit({DEPLOYMENT: serving.deployment("v3")})
    pulled = world.bump("v3")
    assert (pulled.action, pulled.commit, pulled.pull) == ("none", "", world.forge.pulls[1])
    assert world.says(1) == ("mpg: v1 -> v2", serving.digest("v2"))


def test_a_persons_commit_stays_below_ours(world: World) -> None:
    world.bump("v2")
    theirs = world.commit({NOTES: "asked Ada\n"}, BRANCH)
    pulled = world.bump("v3", requested=PullRequestStyle(auto_merge=True))
    assert (pulled.action, world.head(f"{BRANCH}^")) == ("updated", theirs)
    assert world.log() == ["mpg: v2 -> v3", "a person's commit", "mpg: v1 -> v2"]
    assert serving.served(world.bare, BRANCH) == serving.deployment("v3")
    assert world.says(1) == ("mpg: v1 -> v3", serving.digest("v3"))
    assert world.forge.auto_merge == []  # a person is at work there
    head = world.head()
    assert (world.bump("v3").action, world.head()) == ("unchanged", head)


def test_an_amended_commit_is_a_persons(world: World) -> None:
    world.bump("v2")
    clone = world.folder / "amends"
    git(world.folder, "clone", "--quiet", "--branch", BRANCH, str(world.bare), str(clone))
    serving.commit(clone, {NOTES: "beside it\n"})
    git(clone, "reset", "--quiet", "--soft", "HEAD~1")
    git(clone, "commit", "--quiet", "--amend", "--no-edit")
    git(clone, "push", "--quiet", "--force", "origin", BRANCH)
    theirs = world.head()
    world.bump("v3")
    assert world.head(f"{BRANCH}^") == theirs


def test_a_rollback_is_proposed_too(world: World) -> None:
    world.commit({DEPLOYMENT: serving.deployment("v2")})
    world.pull(None, Kind.ROLLBACK)
    assert world.says(1) == ("mpg: roll back v2 -> v1", serving.digest("v1"))
    theirs = world.commit({NOTES: "asked Ada\n"}, BRANCH)
    again = world.pull(None, Kind.ROLLBACK)
    assert (again.action, world.head()) == ("unchanged", theirs)
    theirs = world.commit({DEPLOYMENT: serving.served(world.bare, BRANCH) + "# ours\n"}, BRANCH)
    again = world.pull(None, Kind.ROLLBACK)
    assert (again.action, world.head()) == ("unchanged", theirs)


def test_people_who_are_in_the_way_are_told(world: World) -> None:
    world.bump("v2")
    theirs = world.commit({DEPLOYMENT: "kind: Deployment\n"}, BRANCH)
    with pytest.raises(RefusedError, match=rf"mpg: the commits on {BRANCH} are in the way of v3: {DEPLOYMENT}:1: "):
        world.bump("v3")
    assert world.head() == theirs


def test_what_a_person_closed_is_not_proposed_again(world: World) -> None:
    world.bump("v2")
    world.forge.close(1)
    with pytest.raises(RefusedError, match="pull request 1 proposed it, and was closed"):
        world.bump("v2")
    assert len(world.forge.pulls) == 1
    assert (world.bump("v2", again=True).action, world.bump("v3").action) == ("opened", "updated")
    assert world.says(2) == ("mpg: v1 -> v3", serving.digest("v3"))


@pytest.mark.parametrize("how", ["merge", "squash"])
@pytest.mark.parametrize("edited", [False, True], ids=["as it was", "edited"])
@pytest.mark.parametrize("deleted", [False, True], ids=["branch left", "branch deleted"])
def test_after_a_merge_the_next_one_starts_anew(world: World, how: str, edited: bool, deleted: bool) -> None:
    world.bump("v2")
    if edited:
        world.commit({NOTES: "asked Ada\n"}, BRANCH)
    world.merge(1, how)
    if deleted:
        git(world.bare, "branch", "--quiet", "-D", BRANCH)
    assert world.bump("v2").action == "none"
    pulled = world.bump("v3")
    assert (pulled.action, pulled.branch) == ("opened", BRANCH)
    assert world.says(2) == ("mpg: v2 -> v3", serving.digest("v3"))
    assert world.head(f"{BRANCH}^") == world.head("main")


def test_work_that_went_on_after_a_merge_is_left_alone(world: World) -> None:
    world.bump("v2")
    world.merge(1)
    theirs = world.commit({NOTES: "more\n"}, BRANCH)
    pulled = world.bump("v3")
    assert (pulled.branch, world.head()) == (f"{BRANCH}-2", theirs)
    assert world.bump("v4").branch == f"{BRANCH}-2"
    assert [each.branch for each in world.forge.pulls.values()] == [BRANCH, f"{BRANCH}-2"]


def test_a_deleted_branch_comes_back_under_its_pull_request(world: World) -> None:
    world.bump("v2")
    git(world.bare, "branch", "--quiet", "-D", BRANCH)
    assert (world.bump("v3").action, world.log(), len(world.forge.pulls)) == ("updated", ["mpg: v1 -> v3"], 1)


def test_a_branch_that_proposes_elsewhere_is_left_alone(world: World) -> None:
    world.bump("v2")
    head = world.head()
    world.forge.pulls[1] = dataclasses.replace(world.forge.pulls[1], base="release")
    assert (world.bump("v3").branch, world.head()) == (f"{BRANCH}-2", head)


def test_nine_branches_of_people_are_enough(world: World) -> None:
    theirs = world.commit({NOTES: "mine\n"}, "main")
    for number in range(1, 10):
        clone = world.folder / "person"
        serving.commit(clone, {NOTES: f"mine {number}\n"})
        name = BRANCH if number == 1 else f"{BRANCH}-{number}"
        git(clone, "push", "--quiet", "origin", f"HEAD:refs/heads/{name}")
    assert theirs
    with pytest.raises(RefusedError, match=f"{BRANCH} to {BRANCH}-9 all hold"):
        world.bump("v2")


@pytest.mark.parametrize("method", ["create", "label", "request_reviews", "merge_when_green", "update"])
@pytest.mark.parametrize("lost", [False, True], ids=["not done", "done, answer lost"])
def test_the_next_run_ends_what_was_begun(world: World, method: str, lost: bool) -> None:
    requested = PullRequestStyle(labels=("model",), reviewers=("bob",), auto_merge=True)
    if method == "update":
        world.bump("v1.5", requested=requested)
    (world.forge.lost if lost else world.forge.failures)[method] = RemoteError("the forge", "does not answer")
    with pytest.raises(RemoteError, match="the forge: does not answer"):
        world.bump("v2", requested=requested)
    pulled = world.bump("v2", requested=requested)
    assert pulled.pull is not None and len(world.forge.pulls) == 1
    assert world.says(1) == ("mpg: v1 -> v2", serving.digest("v2"))
    assert (world.forge.labels[1], world.forge.reviewers[1], world.forge.auto_merge) == (["model"], ["bob"], [1])
    assert world.log() == ["mpg: v1 -> v2"]


def test_a_label_that_fails_does_not_hold_up_the_rest(world: World) -> None:
    world.forge.failures["label"] = RefusedError("label model", "may not be made", "ask the owner")
    problem = "pulls/1: stands, but label model: may not be made; ask the owner"
    with pytest.raises(RefusedError, match=problem):
        world.bump("v2", requested=PullRequestStyle(labels=("model",), reviewers=("bob",)))
    assert world.forge.reviewers[1] == ["bob"]


def test_two_at_once_make_one_pull_request(world: World) -> None:
    """Between our look and our push somebody else proposes: a newer version stays, an older one is replaced."""
    for other, refused in (("v3", True), ("v1.5", False)):
        state = {"fresh": True}

        def propose(tip: Repository, other: str = other, state: dict[str, bool] = state) -> Change:
            if state["fresh"] and tip.tip == world.head("main"):
                state["fresh"] = False
                change = propose_bump(tip, wanted("v2"))
                world.bump(other, again=True)
                return change
            return propose_bump(tip, wanted("v2"))

        if refused:
            with pytest.raises(RefusedError, match="proposes v3, which is newer"):
                world.pull(propose)
            assert (world.says(1)[0], world.log()) == ("mpg: v1 -> v3", ["mpg: v1 -> v3"])
            world.forge.close(1)
        else:
            world.pull(propose)
            assert (world.says(2)[0], world.log()) == ("mpg: v1 -> v2", ["mpg: v1 -> v2"])
    assert [each.state for each in world.forge.pulls.values()] == [State.CLOSED, State.OPEN]


class Interrupting(FakeForge):
    """Somebody else does something in the middle of one of our calls, once."""

    def __init__(self, method: str, act: Callable[[], object]) -> None:
        super().__init__()
        self.method, self.act = method, act

    def _begin(self, method: str) -> None:
        if method == self.method:
            self.method = ""
            self.act()
        super()._begin(method)


@pytest.mark.parametrize("method", ["create", "update"])
def test_a_newer_version_that_comes_in_the_middle_stays(tmp_path: Path, method: str) -> None:
    serving.bare(tmp_path / "bare")
    forge = Interrupting("", lambda: world.bump("v3"))
    world = World(tmp_path, forge)
    if method == "update":
        world.bump("v1.5")
    forge.method = method
    with pytest.raises(RefusedError, match="proposes v3, which is newer"):
        world.bump("v2")
    assert (len(forge.pulls), world.says(1)) == (1, ("mpg: v1 -> v3", serving.digest("v3")))
    assert world.log() == ["mpg: v1 -> v3"]


def test_a_newer_version_whose_pull_request_was_about_to_open_stays(tmp_path: Path) -> None:
    """Its branch was there and nothing else when we looked: we replace it, and put it back."""
    serving.bare(tmp_path / "bare")
    text = write(Change("mpg", serving.image("v1"), serving.image("v3"), ""))
    forge = Interrupting("create", lambda: FakeForge.create(forge, BRANCH, "main", text.title, text.body))
    world = World(tmp_path, forge)
    _, theirs = world.put_aside("v3", BRANCH)
    with pytest.raises(RefusedError, match="proposes v3, which is newer"):
        world.bump("v2")
    assert (world.head(), world.says(1)) == (theirs, ("mpg: v1 -> v3", serving.digest("v3")))


def test_a_push_that_loses_is_made_again(world: World) -> None:
    """A person pushes to our branch between our look and our push: their commit is not lost."""
    world.bump("v2")
    theirs: list[str] = []
    find = world.forge.find

    def find_once(branch: str) -> object:
        found = find(branch)
        if not theirs:
            theirs.append(world.commit({NOTES: "asked Ada\n"}, BRANCH))
        return found

    world.forge.find = find_once  # type: ignore[assignment,method-assign]
    assert world.bump("v3").action == "updated"
    assert world.head(f"{BRANCH}^") == theirs[0]


def test_a_dry_run_decides_and_does_nothing(world: World) -> None:
    pulled = world.bump("v2", dry_run=True)
    assert (pulled.action, pulled.pull, pulled.text.title) == ("opened", None, "mpg: v1 -> v2")
    assert world.forge.pulls == {}
    assert subprocess.run(["git", "rev-parse", BRANCH], cwd=world.bare, capture_output=True).returncode
    world.bump("v2")
    head = world.head()
    assert (world.bump("v3", dry_run=True).action, world.head(), world.says(1)[0]) == ("updated", head, "mpg: v1 -> v2")


def test_what_people_wrote_into_it_stays(world: World) -> None:
    world.bump("v2")
    there = world.forge.pulls[1]
    body = f"Please wait for Ada.\r\n\r\n{there.body}\r\n\r\n- [x] asked"
    world.forge.pulls[1] = dataclasses.replace(there, title=f"WIP: {there.title}", body=body)
    assert world.bump("v2").action == "unchanged"
    world.bump("v3")
    there = world.forge.pulls[1]
    assert there.title == "WIP: mpg: v1 -> v3"
    assert there.body.startswith("Please wait for Ada.\n\n<!-- modelpack") and there.body.endswith("\n\n- [x] asked")


def test_the_style_reaches_the_side_branch(world: World) -> None:
    world.bump("v2", style=Style(author="Ada <ada@example.com>", signoff=True, report="https://ci.example.com/7"))
    assert git(world.bare, "log", "-1", "--format=%an %ae", BRANCH) == "Ada ada@example.com"
    trailers = git(world.bare, "log", "-1", "--format=%(trailers:key=Report)%(trailers:key=Signed-off-by)", BRANCH)
    assert trailers.splitlines() == ["Report: https://ci.example.com/7", "Signed-off-by: Tests <tests@example.com>"]
