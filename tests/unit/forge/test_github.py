"""GitHub, against a server that is held to its documented API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelpack.errors import NotFoundError, RefusedError
from modelpack.forge.github import GitHub
from modelpack.forge.http import Access, Api, Patience
from modelpack.forge.pull import State
from tests.fakes import github
from tests.fakes.described import serve

BRANCH = "modelpack/mpg"
MARK = "<!-- modelpack report -->"
QUICK = Patience(sleep=lambda _: None)


@pytest.fixture
def there() -> github.GitHub:
    return github.GitHub()


@pytest.fixture
def forge(there: github.GitHub) -> Iterator[GitHub]:
    with serve(there) as origin:
        yield _forge(origin, "acme/models")


def _forge(origin: str, project: str) -> GitHub:
    return GitHub(Api(Access(f"{origin}/api/v3", project, "good-token"), QUICK), project, f"{origin}/api/graphql")


def test_one_is_opened_found_and_updated(forge: GitHub) -> None:
    opened = forge.create(BRANCH, "main", "mpg: v1 -> v2", "")
    assert (opened.number, opened.state, opened.branch, opened.base, opened.body) == (1, State.OPEN, BRANCH, "main", "")
    assert forge.find(BRANCH) == (opened,)
    updated = forge.update(1, "mpg: v1 -> v3", "table")
    assert forge.find(BRANCH) == (updated,)
    assert (updated.title, updated.body) == ("mpg: v1 -> v3", "table")
    assert forge.create(BRANCH, "main", "again", "") == updated


def test_all_pages_newest_first_and_no_fork_of_the_same_owner(forge: GitHub, there: github.GitHub) -> None:
    for _ in range(60):
        there.add(BRANCH, state="closed")
    there.add(BRANCH, state="closed", merged=True)
    there.add(BRANCH, fork=True)
    there.add("other")
    found = forge.find(BRANCH)
    assert [each.number for each in found] == list(range(61, 0, -1))
    assert [each.state for each in found[:2]] == [State.MERGED, State.CLOSED]


def test_a_renamed_repository_is_searched_by_its_new_name(there: github.GitHub) -> None:
    there.add(BRANCH)
    with serve(there) as origin:
        assert [each.number for each in _forge(origin, "acme/old").find(BRANCH)] == [1]


def test_what_is_not_there_is_named(there: github.GitHub, forge: GitHub) -> None:
    with pytest.raises(RefusedError, match="Validation Failed; PullRequest; head; invalid"):
        forge.create("modelpack/none", "main", "none", "")
    with serve(there) as origin, pytest.raises(NotFoundError, match="acme/none"):
        _forge(origin, "acme/none").find(BRANCH)


def test_a_closed_one_is_not_taken_for_updated(forge: GitHub, there: github.GitHub) -> None:
    there.add(BRANCH, state="closed")
    with pytest.raises(RefusedError, match="closed meanwhile"):
        forge.update(1, "x", "")


def test_labels_are_added(forge: GitHub, there: github.GitHub) -> None:
    there.add(BRANCH)
    forge.label(1, ["model"])
    forge.label(1, ["model", "urgent"])
    forge.label(1, [])
    assert [each["name"] for each in there.pulls[0]["labels"]] == ["model", "urgent"]


def test_reviews_are_asked_for_once_of_people_and_teams(forge: GitHub, there: github.GitHub) -> None:
    there.add(BRANCH)
    forge.request_reviews(1, ["bob", "robot", "acme/ml"])  # the robot opened it
    forge.request_reviews(1, ["Bob", "acme/ml"])
    there.review("bob")
    forge.request_reviews(1, ["bob", "carol"])
    assert there.asked == ["bob", "ml", "carol"]
    with pytest.raises(RefusedError, match="collaborators"):
        forge.request_reviews(1, ["nobody"])


@pytest.mark.parametrize("unknown", [0, 2])
def test_auto_merge_waits_for_what_is_required(forge: GitHub, there: github.GitHub, unknown: int) -> None:
    there.add(BRANCH)
    there.unknown = unknown
    forge.merge_when_green(1)
    forge.merge_when_green(1)
    assert there.pulls[0]["auto_merge"] == {"merge_method": "merge"}


@pytest.mark.parametrize("allowed", [True, False])
def test_what_nothing_holds_back_is_merged_now(forge: GitHub, there: github.GitHub, allowed: bool) -> None:
    there.add(BRANCH)
    there.mergeable_state, there.auto_merge_allowed, there.methods = "clean", allowed, ("squash",)
    forge.merge_when_green(1)
    assert there.pulls[0]["merged"]
    forge.merge_when_green(1)


@pytest.mark.parametrize(
    ("state", "allowed", "says"), [("unstable", True, "unstable"), ("blocked", False, "not allowed")]
)
def test_what_cannot_wait_is_left_to_a_person(
    forge: GitHub, there: github.GitHub, state: str, allowed: bool, says: str
) -> None:
    there.add(BRANCH)
    there.mergeable_state, there.auto_merge_allowed = state, allowed
    with pytest.raises(RefusedError, match=f"auto-merge of https://.*{says}"):
        forge.merge_when_green(1)
    assert not there.pulls[0]["merged"]


@pytest.mark.parametrize("app", [False, True])
def test_a_comment_of_ours_is_rewritten(forge: GitHub, there: github.GitHub, app: bool) -> None:
    there.app = app
    there.add(BRANCH)
    for number in range(51):
        there.say("bob", f"{number} {MARK}")
    first = forge.comment(1, "First", MARK)
    assert forge.comment(1, "Second", MARK) == first
    assert len(there.comments) == 52
    assert there.comments[-1]["body"] == f"Second\n\n{MARK}"


def test_text_calls_nobody_and_closes_nothing(forge: GitHub, there: github.GitHub) -> None:
    body = "@bob, see @acme/ml\n\nFixes #3, closes: #4"
    there.add("other")
    pull = forge.create(BRANCH, "main", "t", body)
    forge.comment(pull.number, f"@carol {MARK}", MARK)
    assert there.pinged() == []
    assert pull.body == body


def test_what_people_write_into_a_body_is_theirs_and_stays(forge: GitHub, there: github.GitHub) -> None:
    pull = forge.create(BRANCH, "main", "t", "ours")
    there.pulls[0]["body"] = "Fixes #3\n\nours"
    forge.update(pull.number, "t", forge.find(BRANCH)[0].body.replace("ours", "ours anew"))
    assert there.pulls[0]["body"] == "Fixes #3\n\nours anew"
