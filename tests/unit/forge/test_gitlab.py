"""GitLab, against a server that is held to its documented API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelpack.errors import InputError, NotFoundError, RefusedError
from modelpack.forge.gitlab import GitLab
from modelpack.forge.http import Access, Api, Patience
from modelpack.forge.pull import State
from tests.fakes import gitlab
from tests.fakes.described import serve

BRANCH = "modelpack/mpg"
MARK = "<!-- modelpack report -->"


@pytest.fixture
def there() -> gitlab.GitLab:
    return gitlab.GitLab()


@pytest.fixture
def forge(there: gitlab.GitLab) -> Iterator[GitLab]:
    with serve(there) as origin:
        api = Api(Access(f"{origin}/api/v4", "acme/serving/models", "good-token"), Patience(sleep=lambda _: None))
        yield GitLab(api, "acme/serving/models")


def test_one_is_opened_found_and_updated(forge: GitLab) -> None:
    opened = forge.create(BRANCH, "main", "mpg: v1 -> v2", "table")
    assert (opened.number, opened.state, opened.branch, opened.base) == (1, State.OPEN, BRANCH, "main")
    assert forge.find(BRANCH) == (opened,)
    updated = forge.update(1, "mpg: v1 -> v3", "")
    assert forge.find(BRANCH) == (updated,)
    assert forge.create(BRANCH, "main", "again", "") == updated


def test_all_pages_newest_first_and_no_fork(forge: GitLab, there: gitlab.GitLab) -> None:
    for state in ["closed"] * 52 + ["merged", "locked"]:
        there.add(BRANCH, state=state)
    there.add(BRANCH, fork=True)
    found = forge.find(BRANCH)
    assert [each.number for each in found] == list(range(54, 0, -1))
    assert [each.state for each in found[:3]] == [State.OPEN, State.MERGED, State.CLOSED]


def test_a_closed_one_is_not_taken_for_updated(forge: GitLab, there: gitlab.GitLab) -> None:
    there.add(BRANCH, state="closed")
    with pytest.raises(RefusedError, match="closed meanwhile"):
        forge.update(1, "x", "")


def test_labels_are_added(forge: GitLab, there: gitlab.GitLab) -> None:
    there.add(BRANCH)
    forge.label(1, ["model"])
    forge.label(1, ["model", "urgent"])
    forge.label(1, [])
    assert there.merges[0]["labels"] == ["model", "urgent"]
    with pytest.raises(InputError, match="comma"):
        forge.label(1, ["a,b"])


def test_reviewers_join_those_that_are_there(forge: GitLab, there: gitlab.GitLab) -> None:
    there.add(BRANCH)
    forge.request_reviews(1, ["bob", "robot"])  # the robot opened it
    forge.request_reviews(1, ["Carol"])
    assert [each["username"] for each in there.merges[0]["reviewers"]] == ["bob", "carol"]
    with pytest.raises(NotFoundError, match="nobody"):
        forge.request_reviews(1, ["nobody"])
    with pytest.raises(InputError, match="group"):
        forge.request_reviews(1, ["acme/ml"])


@pytest.mark.parametrize("preparing", [0, 2])
def test_auto_merge_waits_for_the_pipeline(forge: GitLab, there: gitlab.GitLab, preparing: int) -> None:
    there.add(BRANCH)
    there.preparing = preparing  # asked now, GitLab would merge: there is no pipeline yet
    forge.merge_when_green(1)
    assert there.merges[0]["merge_when_pipeline_succeeds"]
    forge.merge_when_green(1)
    assert there.merges[0]["state"] == "opened"


def test_what_nothing_holds_back_is_merged_now(forge: GitLab, there: gitlab.GitLab) -> None:
    there.add(BRANCH)
    there.pipeline = ""
    forge.merge_when_green(1)
    forge.merge_when_green(1)
    assert there.merges[0]["state"] == "merged"


@pytest.mark.parametrize(
    ("status", "pipeline", "may", "says"),
    [
        ("conflict", "success", True, r"405 \(conflict\)"),
        ("draft_status", "success", True, "draft status"),
        ("mergeable", "failed", True, "pipeline is failed"),
        ("mergeable", "success", False, "may not merge"),
    ],
)
def test_what_cannot_be_merged_is_a_sentence(
    forge: GitLab, there: gitlab.GitLab, status: str, pipeline: str, may: bool, says: str
) -> None:
    there.add(BRANCH)
    there.status, there.pipeline, there.may_merge = status, pipeline, may
    with pytest.raises(RefusedError, match=f"auto-merge of https://.*{says}"):
        forge.merge_when_green(1)
    assert there.merges[0]["state"] == "opened"


def test_a_comment_of_ours_is_rewritten(forge: GitLab, there: gitlab.GitLab) -> None:
    there.add(BRANCH)
    for number in range(51):
        there.say("bob", f"{number} {MARK}")
    there.say("robot", f"changed the description {MARK}", system=True)
    first = forge.comment(1, "First", MARK)
    assert forge.comment(1, "Second", MARK) == first
    assert first.endswith("/merge_requests/1#note_53")
    assert len(there.notes) == 53
    assert there.notes[-1]["body"] == f"Second\n\n{MARK}"


def test_text_runs_no_quick_action_and_calls_nobody(forge: GitLab, there: gitlab.GitLab) -> None:
    body = "A table\n/merge\n/label ~urgent\n\n```\n/close\n```\n@bob and @all"
    pull = forge.create(BRANCH, "main", "t", body)
    forge.update(1, "t", f"{body}\n/approve")
    forge.comment(1, f"/unlock\n@carol {MARK}", MARK)
    forge.comment(1, f"/lock\n@carol {MARK}", MARK)
    assert there.actions == there.pinged() == []
    assert pull.body == body
