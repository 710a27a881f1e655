"""A changed experiment is compared once, and proposed by one pull request if it passes; over a real repository."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelpack.errors import InputError
from modelpack.forge import State as PullState
from modelpack.reconcile.loop import reconcile_once
from modelpack.reconcile.state import FILE, Memory
from modelpack.training.definition import parse
from tests.fakes import training
from tests.fakes.git_serving import git
from tests.fakes.reconcile import Scene, lines

TRAINING = training.TRAINING.replace(
    "train: {command: [python, fit.py], parameters: {slope: 2.0}}", "train: {command: [python, fit.py]}"
)
ASKED = "experiment: {command: [python, new.py], propose: pull-request}\n"
FIT, NEW = f"{training.FOLDER}/fit.py", f"{training.FOLDER}/new.py"
BRANCH = "modelpack/line-pipeline"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path, propose="pull-request")
    yaml = f"{TRAINING}propose: pull-request\n{ASKED}"
    scene.change({f"{training.FOLDER}/training.yaml": yaml, NEW: "print('first')\n"})
    scene.round()
    scene.end(passed=False)  # production itself is trained first, and is at rest
    return scene


def experiment(scene: Scene) -> list[tuple[str, str]]:
    return [(each.what, each.action) for each in scene.round() if each.what == "experiment"]


def test_one_that_passes_is_proposed_once_with_its_table_and_brought_up_to_date(scene: Scene) -> None:
    assert lines(scene.round()) == ["train ended", "train nothing", "experiment started", "deploy nothing"]
    assert lines(scene.round()) == ["train waiting", "experiment waiting", "deploy nothing"]
    assert scene.end().kind == "experiment"
    assert lines(scene.round()) == [
        "experiment ended", "train nothing", "experiment proposed", "deploy nothing",
    ]  # fmt: skip
    (pull,) = scene.forge.pulls.values()
    assert "goes into production" in pull.title and "| mae |" in pull.body
    assert git(Path(scene.location), "show", f"{BRANCH}:{FIT}") == "print('first')"
    tip = git(Path(scene.location), "rev-parse", BRANCH)
    scene.change(slope=2.5)  # other data trains the model, and compares nothing
    scene.round()
    scene.end(passed=False)
    assert lines(scene.rest()) == ["train ended"]
    assert git(Path(scene.location), "rev-parse", BRANCH) == tip
    scene.change({NEW: "print('second')\n"})
    assert experiment(scene) == [("experiment", "started")]
    scene.end()
    assert experiment(scene) == [("experiment", "ended"), ("experiment", "updated")]
    assert list(scene.forge.pulls) == [1]
    assert git(Path(scene.location), "show", f"{BRANCH}:{FIT}") == "print('second')"
    assert len(scene.started) == 4
    (scene.root / "home" / FILE).unlink()  # the run's own folder says so
    assert "experiment started" in lines(scene.rest())
    assert (len(scene.started), list(scene.forge.pulls)) == (4, [1])


def test_one_that_does_not_pass_is_neither_proposed_nor_compared_again(scene: Scene) -> None:
    scene.round()
    scene.end(passed=False)
    ended, _, rests, _ = scene.round()
    assert (ended.action, rests.action) == ("ended", "nothing")
    assert rests.reason == "its experiment did not pass: mae is worse by more than 0.05"
    scene.now += 9e6
    assert lines(scene.rest()) == [] and not scene.forge.pulls and len(scene.started) == 2


def test_what_was_merged_is_at_rest_and_what_was_closed_stays_closed(scene: Scene) -> None:
    scene.round()
    scene.end()
    scene.round()
    scene.forge.pulls[1] = replace(scene.forge.pulls[1], state=PullState.CLOSED)
    assert experiment(scene) == [("experiment", "held")]
    git(scene.worktree, "fetch", "--quiet", "origin")
    git(scene.worktree, "merge", "--quiet", f"origin/{BRANCH}")
    git(scene.worktree, "push", "--quiet", "origin", "main")
    scene.round()  # production is another pipeline now: it is trained
    scene.end(passed=False)
    (rests,) = [each for each in scene.round() if each.what == "experiment"]
    assert (rests.action, rests.reason) == ("nothing", "its experiment is what is in production")
    assert len(scene.started) == 3


def test_where_nothing_can_be_proposed_nothing_is_trained(scene: Scene) -> None:
    scene.open_forge = lambda url: (_ for _ in ()).throw(InputError(url, "no pull requests can be made there"))
    failed = next(each for each in scene.round() if each.what == "experiment")
    assert failed.error and failed.error.exit_code == 2 and len(scene.started) == 1
    scene.open_forge = None
    yaml = git(scene.worktree, "show", f"HEAD:{training.FOLDER}/training.yaml")
    other = yaml.replace("[python, new.py]", "[python, new.py], parameters: {a: 1}")
    scene.change({f"{training.FOLDER}/training.yaml": other})
    failed = next(each for each in scene.round() if each.what == "experiment")
    assert "other parameters than its train" in failed.reason and len(scene.started) == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("propose: pull-request}", "propose: commit}", "'commit' is not one of pull-request"),
        ("runs: {", "runs: {backend: remote, url: 'http://t', ", "needs runs with backend: local"),
    ],
)
def test_a_wish_that_cannot_be_met_is_one_sentence(old: str, new: str, words: str) -> None:
    text = f"{TRAINING}{ASKED}"
    assert parse(text.encode(), "training.yaml").propose_experiment and old in text
    with pytest.raises(InputError, match=words) as error:
        parse(text.replace(old, new).encode(), "training.yaml")
    assert "training.yaml:" in str(error.value)


def test_two_reconcilers_with_memories_of_their_own_compare_once_and_propose_once(scene: Scene) -> None:
    """On two machines: each has its own state, and both see the same runs, repository and forge."""

    def elsewhere() -> list[str]:
        with Memory(scene.root / "elsewhere") as memory:
            return lines(list(reconcile_once(scene.rooms, memory, (), ["train", "experiment"])))

    assert "experiment started" in lines(scene.round())
    assert elsewhere() == ["train nothing", "experiment waiting"]
    scene.end()
    scene.round()
    assert scene.forge.pulls.keys() == {1}
    for _ in range(4):
        elsewhere()
        scene.round()
    assert elsewhere() == ["train nothing", "experiment unchanged"]
    assert (len(scene.started), list(scene.forge.pulls)) == (2, [1])
