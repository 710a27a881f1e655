"""Pull requests on a real Gitea."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelpack.definition import PullRequestStyle
from modelpack.errors import InputError, NotFoundError, RefusedError
from modelpack.forge import Forge, State, open_forge
from tests.integration.servers.gitea import OWNER, PAGE, REVIEWER, ROBOT, Gitea, Project

BRANCH = "modelpack/mpg"
STYLE = PullRequestStyle(forge="gitea")
MARK = "<!-- modelpack report -->"


@pytest.fixture
def project(gitea: Gitea, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with a branch that wants to be merged; its robot's token is in the environment."""
    monkeypatch.delenv("GITEA_SERVER_URL", raising=False)
    monkeypatch.setenv("GITEA_TOKEN", gitea.tokens[ROBOT])
    made = gitea.create(f"models-{uuid.uuid4().hex[:8]}", {"serving.yaml": "image: mpg:v1\n"})
    made.put("new.yaml", "image: mpg:v2\n", branch=BRANCH, start="main")
    return made


@pytest.fixture
def forge(project: Project) -> Forge:
    return _open(project.url)


def _open(url: str) -> Forge:
    return open_forge(url, STYLE, lambda _: "")


def test_a_pull_request_is_opened_found_and_updated(project: Project, forge: Forge) -> None:
    opened = forge.create(BRANCH, "main", "mpg: v1 -> v2", "A table\n\n<!-- modelpack {} -->")
    assert (opened.number, opened.state, opened.branch, opened.base) == (1, State.OPEN, BRANCH, "main")
    assert opened.head == project.head(BRANCH)
    assert opened.url == f"{project.server.url}/{project.path}/pulls/1"
    assert forge.find(BRANCH) == (opened,)
    updated = forge.update(1, "mpg: v1 -> v3", "Another table")
    assert (updated.title, updated.body) == ("mpg: v1 -> v3", "Another table")
    assert forge.find(BRANCH) == (updated,)
    assert forge.find("modelpack/other") == ()


def test_an_open_one_is_given_instead_of_a_second(forge: Forge) -> None:
    first = forge.create(BRANCH, "main", "one", "body")
    assert forge.create(BRANCH, "main", "two", "body") == first
    assert len(forge.find(BRANCH)) == 1


def test_those_that_are_opened_at_once_end_as_one(project: Project) -> None:
    """Gitea lets two pass that it is asked for in the same moment."""
    forges = [_open(project.url) for _ in range(4)]
    with ThreadPoolExecutor(len(forges)) as pool:
        made = list(pool.map(lambda forge: forge.create(BRANCH, "main", "one", "body"), forges))
    standing = [each.number for each in forges[0].find(BRANCH) if each.state is State.OPEN]
    assert {each.number for each in made} == set(standing) and len(standing) == 1


def test_what_people_did_to_it_is_seen(project: Project, forge: Forge) -> None:
    forge.create(BRANCH, "main", "one", "")
    project.close(1)
    assert [each.state for each in forge.find(BRANCH)] == [State.CLOSED]
    second = forge.create(BRANCH, "main", "two", "")
    project.merge(second.number)
    project.delete_branch(BRANCH)
    assert [(each.number, each.state, each.branch) for each in forge.find(BRANCH)] == [
        (2, State.MERGED, BRANCH),
        (1, State.CLOSED, BRANCH),
    ]


def test_a_closed_one_is_not_taken_for_updated(project: Project, forge: Forge) -> None:
    forge.create(BRANCH, "main", "one", "")
    project.close(1)
    with pytest.raises(RefusedError, match="closed meanwhile"):
        forge.update(1, "two", "")


def test_a_forks_branch_of_the_same_name_is_not_ours(project: Project, forge: Forge) -> None:
    project.api("POST", "/forks", {}, REVIEWER)
    fork = Project(project.server, f"{REVIEWER}/{project.path.split('/')[1]}")
    fork.put("theirs.yaml", "x: 1\n", branch="modelpack/theirs", start="main", user=REVIEWER)
    body = {"head": f"{REVIEWER}:modelpack/theirs", "base": "main", "title": "theirs"}
    project.api("POST", "/pulls", body, REVIEWER)
    assert len(project.pulls()) == 1
    assert forge.find("modelpack/theirs") == forge.find(f"{REVIEWER}:modelpack/theirs") == ()


def test_all_pages_are_read(project: Project, forge: Forge) -> None:
    forge.create(BRANCH, "main", "ours, long ago", "")
    for number in range(PAGE + 1):
        project.put(f"{number}.txt", "", branch=f"b{number}", start="main")
        project.api("POST", "/pulls", {"head": f"b{number}", "base": "main", "title": str(number)})
    assert [each.title for each in forge.find(BRANCH)] == ["ours, long ago"]


def test_a_branch_without_a_difference_and_one_that_is_not_there(project: Project, forge: Forge) -> None:
    with pytest.raises((RefusedError, NotFoundError)) as caught:
        forge.create("modelpack/none", "main", "none", "")
    assert project.path in str(caught.value)


def test_labels_are_made_and_added(project: Project, forge: Forge) -> None:
    project.api("POST", "/labels", {"name": "model", "color": "#ff0000"})
    forge.create(BRANCH, "main", "one", "")
    forge.label(1, ["model", "urgent"])
    forge.label(1, ["urgent", "late"])
    assert {each["name"] for each in project.pull(1)["labels"]} == {"model", "urgent", "late"}
    assert len(project.api("GET", "/labels")) == 3


def test_labels_of_the_organization_are_used(gitea: Gitea, monkeypatch: pytest.MonkeyPatch) -> None:
    project = gitea.create(f"models-{uuid.uuid4().hex[:8]}", {"a": "b\n"}, organization="acme")
    gitea.api("POST", "/orgs/acme/labels", {"name": "model", "color": "#ff0000"})
    project.put("new", "x\n", branch=BRANCH, start="main")
    monkeypatch.setenv("GITEA_TOKEN", gitea.tokens[ROBOT])
    forge = _open(project.url)
    forge.create(BRANCH, "main", "one", "")
    forge.label(1, ["model"])
    assert [each["name"] for each in project.pull(1)["labels"]] == ["model"]
    assert project.api("GET", "/labels") == []


def test_reviews_are_asked_for_once(project: Project, forge: Forge) -> None:
    forge.create(BRANCH, "main", "one", "")
    forge.request_reviews(1, [REVIEWER, ROBOT])  # the robot opened it: nobody reviews their own
    forge.request_reviews(1, [REVIEWER])
    assert [each["login"] for each in project.pull(1)["requested_reviewers"]] == [REVIEWER]
    project.approve(1)
    forge.request_reviews(1, [REVIEWER, OWNER])
    timeline = project.api("GET", "/issues/1/timeline?limit=50")
    assert [each["assignee"]["login"] for each in timeline if each["type"] == "review_request"] == [REVIEWER, OWNER]


def test_a_team_is_asked(gitea: Gitea, monkeypatch: pytest.MonkeyPatch) -> None:
    project = gitea.create(f"models-{uuid.uuid4().hex[:8]}", {"a": "b\n"}, organization="teams")
    team = {"name": "reviewers", "permission": "write", "units": ["repo.code", "repo.pulls"]}
    number = gitea.api("POST", "/orgs/teams/teams", {**team, "includes_all_repositories": True})["id"]
    gitea.api("PUT", f"/teams/{number}/members/{REVIEWER}")
    project.put("new", "x\n", branch=BRANCH, start="main")
    monkeypatch.setenv("GITEA_TOKEN", gitea.tokens[ROBOT])
    forge = _open(project.url)
    forge.create(BRANCH, "main", "one", "")
    for _ in range(2):
        forge.request_reviews(1, ["teams/reviewers"])
    assert [each["name"] for each in project.pull(1)["requested_reviewers_teams"]] == ["reviewers"]


def test_an_unknown_reviewer_is_a_sentence(forge: Forge) -> None:
    forge.create(BRANCH, "main", "one", "")
    with pytest.raises(NotFoundError, match="nobody"):
        forge.request_reviews(1, ["nobody"])


def test_nothing_in_the_way_means_merged_now(project: Project, forge: Forge) -> None:
    forge.create(BRANCH, "main", "one", "")
    forge.merge_when_green(1)
    _until_merged(project)
    forge.merge_when_green(1)


def test_a_protected_branch_is_merged_when_its_checks_and_approvals_are_there(project: Project, forge: Forge) -> None:
    project.protect(approvals=1, checks=["ci"])
    pull = forge.create(BRANCH, "main", "one", "")
    forge.merge_when_green(1)
    forge.merge_when_green(1)
    project.approve(1)
    assert not project.pull(1)["merged"]
    project.check(pull.head)
    _until_merged(project)


def test_who_may_not_merge_is_told(project: Project, forge: Forge) -> None:
    project.protect(merge=[])
    forge.create(BRANCH, "main", "one", "")
    with pytest.raises(RefusedError, match="not allowed to merge"):
        forge.merge_when_green(1)


def test_a_conflict_is_a_sentence(project: Project, forge: Forge) -> None:
    project.overwrite("serving.yaml", "image: mpg:v2\n", branch=BRANCH)
    project.overwrite("serving.yaml", "image: mpg:v9\n")
    forge.create(BRANCH, "main", "one", "")
    with pytest.raises(RefusedError, match="pulls/1: it conflicts with main"):
        forge.merge_when_green(1)
    assert not project.pull(1)["merged"]


def test_a_comment_is_rewritten(project: Project, forge: Forge) -> None:
    forge.create(BRANCH, "main", "one", "")
    project.api("POST", "/issues/1/comments", {"body": f"I quote {MARK}"}, REVIEWER)
    first = forge.comment(1, "First", MARK)
    assert forge.comment(1, f"{MARK}\nSecond", MARK) == first
    said = [(each["user"]["login"], each["body"]) for each in project.api("GET", "/issues/1/comments")]
    assert said == [(REVIEWER, f"I quote {MARK}"), (ROBOT, f"{MARK}\nSecond")]
    assert first.startswith(f"{project.server.url}/{project.path}/pulls/1#issuecomment-")


def test_text_calls_nobody_closes_nothing_and_comes_back_as_it_was(project: Project, forge: Forge) -> None:
    project.api("POST", "/issues", {"title": "a bug"})
    body = f"Thanks @{REVIEWER} and @{OWNER}.\n\nFixes #1\n/merge\n\nmpg:v2@sha256:ab"
    pull = forge.create(BRANCH, "main", f"closes #1 @{REVIEWER}", body)
    assert (pull.title, pull.body) == (f"closes #1 @{REVIEWER}", body)
    assert "mpg:v2@sha256:ab" in project.pull(2)["body"]
    project.merge(2)
    assert project.api("GET", "/issues/1")["state"] == "open"
    told = project.server.api("GET", "/notifications?all=true", user=REVIEWER)
    assert not [each for each in told if project.path == each["repository"]["full_name"]]


def test_a_renamed_project_is_still_found(project: Project, forge: Forge) -> None:
    forge.create(BRANCH, "main", "one", "")
    project.api("PATCH", "", {"name": f"{project.path.split('/')[1]}-new"})
    again = _open(project.url)
    assert [each.number for each in again.find(BRANCH)] == [1]
    assert again.update(1, "two", "").title == "two"


def test_a_login_in_the_url_is_enough(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITEA_TOKEN")
    assert _open(project.with_login()).find(BRANCH) == ()


def test_git_is_asked_for_a_login_last(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITEA_TOKEN")
    asked = []
    forge = open_forge(project.url, STYLE, lambda url: asked.append(url) or project.server.tokens[ROBOT])
    assert forge.find(BRANCH) == ()
    assert asked == [project.url]


def test_a_wrong_token_and_a_wrong_project(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError, match="alice/none: not found"):
        _open(project.url.replace(project.path, "alice/none")).find(BRANCH)
    monkeypatch.setenv("GITEA_TOKEN", "0" * 40)
    with pytest.raises(RefusedError, match="does not accept the token") as caught:
        _open(project.url).find(BRANCH)
    assert "$GITEA_TOKEN" in str(caught.value)
    assert "0" * 40 not in str(caught.value)


def test_without_a_forges_name_an_unknown_host_is_refused(project: Project) -> None:
    with pytest.raises(InputError, match=r"pullRequest\.forge"):
        open_forge(project.url, PullRequestStyle(), lambda _: "")


def _until_merged(project: Project, number: int = 1, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not project.pull(number)["merged"]:
        assert time.monotonic() < end, project.pull(number)
        time.sleep(0.2)
