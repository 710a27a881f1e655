"""A failed rollout on a protected branch: one pull request, whatever was killed in between; a person decides on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from modelpack import gitops
from modelpack.errors import ModelpackError, RefusedError, RemoteError
from modelpack.forge import State
from modelpack.reconcile.settle import Action, Outcome, settle_once
from modelpack.registry import Via
from tests.fakes import git_serving as serving
from tests.fakes.forge import FakeForge
from tests.fakes.gate import FakeGate, fake_gate
from tests.fakes.git_serving import DEPLOYMENT, REJECTED, git

BRANCH = "modelpack/revert/r1"
PROTECT = 'while read -r old new ref; do [ "$ref" != refs/heads/main ] || { echo protected >&2; exit 1; }; done'


class Scene:
    """A repository whose main nobody may push to, v2 named there, and a gate that saw v2 fail."""

    def __init__(self, root: Path, gate: FakeGate) -> None:
        self.bare, self.gate, self.forge = serving.bare(root / "bare", "v2"), gate, FakeForge()
        self.via = Via.from_environ((f"registry.local/=oci:{root}/registry",))
        self.protected(True)

    def protected(self, yes: bool) -> None:
        serving.hook(self.bare, PROTECT if yes else "exit 0")

    def settle(self) -> list[Outcome]:
        found = settle_once(self.gate.url, str(self.bare), "main", self.via, serving.digest, lambda *_: self.forge)
        return list(found)

    def merge(self, number: int = 1) -> None:
        """What the forge does on a person's click."""
        git(self.bare, "update-ref", "refs/heads/main", f"refs/heads/{self.forge.pulls[number].branch}")
        self.forge.merge(number)

    @property
    def settled(self) -> bool:
        return bool(self.gate.rollouts[0]["settled"])


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with fake_gate() as gate:
        gate.add(image=serving.image("v2"), primary_image=serving.image("v1"), checks=[])
        yield Scene(tmp_path, gate)


def test_a_pull_request_says_what_the_commit_would_have_and_the_gate_is_told_once_it_is_merged(scene: Scene) -> None:
    (outcome,) = scene.settle()
    (pull,) = scene.forge.pulls.values()
    assert (outcome.action, outcome.pull, outcome.commit) == (
        Action.PROPOSE,
        pull.url,
        git(scene.bare, "rev-parse", BRANCH),
    )
    assert (pull.branch, pull.base, pull.title) == (BRANCH, "main", "mpg: back from failed v2 -> v1")
    assert "errors rose to 20" in pull.body and "/rollouts/r1" in pull.body and "another image" not in pull.body
    assert serving.served(scene.bare, BRANCH) == serving.deployment("v1")
    (entry,) = yaml.safe_load(git(scene.bare, "show", f"{BRANCH}:{REJECTED}"))
    assert entry["version"] == "v2"
    assert serving.served(scene.bare) == serving.deployment("v2") and not scene.settled
    scene.merge()
    (outcome,) = scene.settle()
    assert (outcome.action, scene.settled, scene.settle()) == (Action.ACKNOWLEDGE, True, [])


def test_an_open_one_is_told_each_time_and_not_multiplied(scene: Scene) -> None:
    first, again, once_more = scene.settle(), scene.settle(), scene.settle()
    assert first == again == once_more and [each.action for each in again] == [Action.PROPOSE]
    assert len(scene.forge.pulls) == 1 and not scene.settled
    assert serving.count(scene.bare, BRANCH) == 2


def test_a_closed_one_is_a_persons_no(scene: Scene) -> None:
    scene.settle()
    scene.forge.close(1)
    (outcome,) = scene.settle()
    assert (outcome.action, outcome.pull) == (Action.HOLD, scene.forge.pulls[1].url)
    assert scene.settled and len(scene.forge.pulls) == 1


@pytest.mark.parametrize(
    ("method", "lost"), [("create", False), ("create", True), ("update", False), ("find", False), ("find", True)]
)
def test_killed_at_any_step_the_next_run_ends_it(scene: Scene, method: str, lost: bool) -> None:
    (scene.forge.lost if lost else scene.forge.failures)[method] = RemoteError("the forge", "went away")
    with suppress(ModelpackError):
        scene.settle()
    assert [each.action for each in scene.settle()] == [Action.PROPOSE]
    assert len(scene.forge.pulls) == 1 and serving.count(scene.bare, BRANCH) == 2 and not scene.settled


def test_killed_after_the_branch_was_pushed_it_opens_the_pull_request(scene: Scene) -> None:
    scene.settle()
    scene.forge.pulls.clear()
    assert [each.action for each in scene.settle()] == [Action.PROPOSE]
    assert [each.branch for each in scene.forge.pulls.values()] == [BRANCH]


def test_what_is_bumped_meanwhile_stays_and_the_pull_request_rejects_alone(scene: Scene) -> None:
    scene.settle()
    scene.protected(False)
    with gitops.open_repository(str(scene.bare)) as repository:
        gitops.bump(repository, serving.wanted("v3"))
    scene.protected(True)
    (outcome,) = scene.settle()
    (pull,) = scene.forge.pulls.values()
    assert (outcome.action, pull.title, pull.state) == (Action.PROPOSE, "mpg: reject v2", State.OPEN)
    assert serving.served(scene.bare, BRANCH) == serving.deployment("v3")
    assert "Git names v3 already" in pull.body


def test_git_that_names_another_and_rejected_it_needs_no_pull_request(scene: Scene) -> None:
    scene.protected(False)
    with gitops.open_repository(str(scene.bare)) as repository:
        gitops.bump(repository, serving.wanted("v3"))
    work = scene.bare.parent / "work"
    git(scene.bare.parent, "clone", "-q", str(scene.bare), str(work))
    serving.commit(work, {REJECTED: f"- image: {serving.image('v2')}\n"})
    git(work, "push", "-q")
    scene.protected(True)
    assert [each.action for each in scene.settle()] == [Action.ACKNOWLEDGE]
    assert not scene.forge.pulls and scene.settled


def test_a_branch_that_a_person_edited_keeps_their_commits(scene: Scene) -> None:
    scene.settle()
    work = scene.bare.parent / "work"
    git(scene.bare.parent, "clone", "-q", "-b", BRANCH, str(scene.bare), str(work))
    mine = serving.commit(work, {"notes.md": "why\n"})
    git(work, "push", "-q")
    assert [each.action for each in scene.settle()] == [Action.PROPOSE]
    assert git(scene.bare, "rev-parse", BRANCH) == mine and len(scene.forge.pulls) == 1


def test_without_a_forge_both_refusals_are_told(scene: Scene) -> None:
    with pytest.raises(RefusedError, match=r"protected.*nor can a pull request be opened"):
        list(settle_once(scene.gate.url, str(scene.bare), "main", scene.via, serving.digest))
    assert not scene.settled


def test_two_failed_rollouts_have_a_pull_request_each(scene: Scene) -> None:
    folder = scene.bare.parent / "work"
    scene.protected(False)
    git(scene.bare.parent, "clone", "-q", str(scene.bare), str(folder))
    model = (folder / "model-images/mpg/model.yaml").read_text()
    line = model.splitlines()[-1].replace("mpg/", "canada/").replace("name: mpg", "name: canada") + "\n"
    canada = serving.deployment("v3").replace("name: mpg", "name: canada")
    serving.commit(folder, {"model-images/mpg/model.yaml": model + line, "manifests/canada/deployment.yaml": canada})
    git(folder, "push", "-q")
    scene.protected(True)
    scene.gate.add(image=serving.image("v3"), primary_image=serving.image("v1"), name="canada")
    assert [each.action for each in scene.settle()] == [Action.PROPOSE] * 2
    assert {each.branch for each in scene.forge.pulls.values()} == {BRANCH, "modelpack/revert/r2"}
    assert git(scene.bare, "diff", "--name-only", "main", "modelpack/revert/r2").split() == [
        "manifests/canada/deployment.yaml",
        REJECTED,
    ]
    assert DEPLOYMENT in git(scene.bare, "diff", "--name-only", "main", BRANCH)
