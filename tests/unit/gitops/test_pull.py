"""What is decided about a branch and its pull requests, from values alone."""

from __future__ import annotations

import pytest

from modelpack.errors import RefusedError
from modelpack.forge.pull import Pull, State
from modelpack.gitops import Change, Side
from modelpack.gitops.beside import Action
from modelpack.gitops.proposal import write
from modelpack.gitops.pull import Step, branch_of, decide
from tests.fakes.git_serving import image

BRANCH = "modelpack/mpg"
OPEN, CLOSED, MERGED = State.OPEN, State.CLOSED, State.MERGED
OURS, THEIRS = Side(BRANCH, "1" * 40, True), Side(BRANCH, "2" * 40, False)


def change(version: str) -> Change:
    return Change("mpg", image("v1"), image(version), "", {"deployment.yaml": (b"old", b"new")})


def pull(number: int, version: str, state: State, base: str = "main", head: str = "") -> Pull:
    text = write(change(version))
    return Pull(number, f"https://forge.example.com/{number}", state, text.title, text.body, BRANCH, base, head)


@pytest.mark.parametrize(
    ("side", "pulls", "action", "number"),
    [
        (None, [], Action.REPLACE, 0),
        (OURS, [], Action.REPLACE, 0),  # killed before the pull request was opened
        (THEIRS, [], Action.NEXT, 0),
        (OURS, [pull(1, "v2", OPEN)], Action.REPLACE, 1),
        (OURS, [pull(1, "v1", OPEN)], Action.REPLACE, 1),
        (THEIRS, [pull(1, "v1", OPEN)], Action.APPEND, 1),
        (None, [pull(1, "v1", OPEN)], Action.REPLACE, 1),  # the branch was deleted
        (OURS, [pull(1, "v1", OPEN, "release")], Action.NEXT, 0),
        (OURS, [pull(2, "v1", OPEN, "release"), pull(1, "v1", OPEN)], Action.REPLACE, 1),
        (OURS, [pull(1, "v1", CLOSED)], Action.REPLACE, 0),
        (THEIRS, [pull(1, "v1", CLOSED)], Action.NEXT, 0),
        (OURS, [pull(1, "v2", CLOSED, "release")], Action.REPLACE, 0),
        (OURS, [pull(1, "v2", MERGED)], Action.REPLACE, 0),
        (OURS, [pull(2, "v2", MERGED), pull(1, "v2", CLOSED)], Action.REPLACE, 0),
        (THEIRS, [pull(1, "v2", MERGED)], Action.NEXT, 0),  # somebody went on working there
        (THEIRS, [pull(1, "v2", MERGED, head=THEIRS.tip)], Action.REPLACE, 0),
    ],
)
def test_every_state(side: Side | None, pulls: list[Pull], action: Action, number: int) -> None:
    here = next((each for each in pulls if each.number == number), None)
    assert decide(side, pulls, change("v2"), base="main") == Step(action, here)


@pytest.mark.parametrize(
    ("side", "pulls"),
    [(None, [pull(1, "v2", CLOSED)]), (THEIRS, [pull(2, "v3", CLOSED), pull(1, "v2", CLOSED)])],
)
def test_a_closed_proposal_is_not_repeated_unasked(side: Side | None, pulls: list[Pull]) -> None:
    with pytest.raises(RefusedError, match=r"mpg v2: pull request 1 proposed it, and was closed: https.*--again"):
        decide(side, pulls, change("v2"), base="main")
    decide(side, pulls, change("v2"), base="main", again=True)


@pytest.mark.parametrize(
    ("there", "wanted", "refused"),
    [("v3", "v2", True), ("v10", "v9", True), ("v2", "v3", False), ("nightly", "v2", False), ("v3", "main-1", False)],
)
@pytest.mark.parametrize("named", [True, False], ids=["by the branch", "by the mark"])
def test_an_open_proposal_is_never_made_older(there: str, wanted: str, refused: bool, named: bool) -> None:
    pulls = [pull(1, "v1" if named else there, OPEN)]
    if refused:
        with pytest.raises(RefusedError, match=f"pull request 1 proposes {there}, which is newer; merge or close it"):
            decide(OURS, pulls, change(wanted), base="main", named=image(there) if named else "")
    else:
        decide(OURS, pulls, change(wanted), base="main", named=image(there) if named else "")


def test_a_branch_that_names_a_digest_alone_has_the_marks_version() -> None:
    with pytest.raises(RefusedError, match="proposes v3, which is newer"):
        decide(OURS, [pull(1, "v3", OPEN)], change("v2"), base="main", named=f"@{'sha256:' + '0' * 64}")


def test_a_branch_for_each_model_and_environment() -> None:
    assert (branch_of("mpg"), branch_of("mpg", "production")) == ("modelpack/mpg", "modelpack/production/mpg")
