"""GitHub as its documentation tells: one repository, `acme/models`, called `acme/old` before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.described import Reply, Request, paged

_USERS = {"robot": 1, "bob": 2, "carol": 3, "actions[bot]": 4, "acme": 5}
_MENTION = re.compile(r"(?<!\w)@([a-z][a-z/-]*)")
_CLOSES = re.compile(r"\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):?\s+#(\d+)", re.IGNORECASE)


@dataclass
class GitHub:
    """`branches` are those with commits of their own, `forked` those of a fork; `mergeable_state` is every PR's.

    `asked`: who got a request for a review, as often as they got it. `app`: the token is an app's, which has no user.
    """

    name: str = "github"
    prefix: str = "/api/v3"
    tokens: Mapping[str, str] = field(default_factory=lambda: {"good-token": "robot"})
    branches: set[str] = field(default_factory=lambda: {"modelpack/mpg"})
    pulls: list[dict[str, Any]] = field(default_factory=list)
    reviews: list[dict[str, Any]] = field(default_factory=list)
    comments: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    mergeable_state: str = "blocked"
    unknown: int = 0  # so many looks at a pull request find GitHub still working its state out
    auto_merge_allowed: bool = True
    methods: tuple[str, ...] = ("merge", "squash", "rebase")
    app: bool = False

    def answer(self, request: Request) -> Reply:
        name = request.names.get("repo")
        if name == "old":
            return Reply(301, {"message": "Moved"}, {"Location": f"{request.origin}{self.prefix}/repos/acme/models"})
        if name not in (None, "models"):
            return Reply(404, {"message": "Not Found"})
        method, path = request.operation.split(" ")
        answers = {
            "GET /user": self._me,
            "GET /repos/{owner}/{repo}": lambda _: Reply(200, self._repository(1)),
            "GET /repos/{owner}/{repo}/pulls": self._list,
            "POST /repos/{owner}/{repo}/pulls": self._create,
            "GET /repos/{owner}/{repo}/pulls/{number}": self._look,
            "PATCH /repos/{owner}/{repo}/pulls/{number}": self._change,
            "PUT /repos/{owner}/{repo}/pulls/{number}/merge": self._merge,
            "POST /repos/{owner}/{repo}/pulls/{number}/requested_reviewers": self._ask,
            "GET /repos/{owner}/{repo}/pulls/{number}/reviews": lambda _: Reply(200, self.reviews),
            "POST /repos/{owner}/{repo}/issues/{number}/labels": self._label,
            "GET /repos/{owner}/{repo}/issues/{number}/comments": lambda each: paged(
                each, self.comments, self._here(each)
            ),
            "POST /repos/{owner}/{repo}/issues/{number}/comments": self._comment,
            "PATCH /repos/{owner}/{repo}/issues/comments/{number}": self._rewrite,
            "POST /graphql": self._enable,
        }
        return answers[f"{method} {path}"](request)

    # what people do, and what they see

    def add(
        self, branch: str, *, fork: bool = False, state: str = "open", merged: bool = False, base: str = "main"
    ) -> None:
        number = len(self.pulls) + 1
        self.pulls.append(self._pull(number, branch, base, "theirs", None, fork=fork))
        self.pulls[-1] |= {"state": state, "merged": merged, "merged_at": "2026-01-02T00:00:00Z" if merged else None}

    def review(self, login: str) -> None:
        """Somebody reviews, and so is no longer asked."""
        self.reviews.append({"id": len(self.reviews) + 1, "user": user(login), "state": "APPROVED"})
        self.pulls[0]["requested_reviewers"] = []

    def pinged(self) -> list[str]:
        """Whom the texts call, and which issues a merge would close."""
        texts = [each["body"] or "" for each in (*self.pulls, *self.comments)]
        return [name for text in texts for name in (*_MENTION.findall(text), *_CLOSES.findall(text))]

    # the answers

    def _me(self, request: Request) -> Reply:
        return (
            Reply(403, {"message": "Resource not accessible by integration"}) if self.app else Reply(200, user("robot"))
        )

    def _here(self, request: Request) -> str:
        return self.prefix + f"/repositories/1/issues/{request.names['number']}/comments"

    def _list(self, request: Request) -> Reply:
        owner, _, branch = request.query["head"].partition(":")
        found = [each for each in self.pulls if each["head"]["label"] == f"{owner}:{branch}"]
        # a fork in the same organization has the same owner
        return paged(request, found[::-1], f"{self.prefix}/repositories/1/pulls")

    def _create(self, request: Request) -> Reply:
        branch, base = request.body["head"], request.body["base"]
        if branch not in self.branches:
            return _invalid({"resource": "PullRequest", "field": "head", "code": "invalid"})
        there = [each for each in self.pulls if each["head"]["ref"] == branch and each["head"]["repo"]["id"] == 1]
        if any(each["state"] == "open" and each["base"]["ref"] == base for each in there):
            return _invalid({"code": "custom", "message": f"A pull request already exists for acme:{branch}."})
        number = len(self.pulls) + 1
        self.pulls.append(self._pull(number, branch, base, request.body["title"], request.body["body"] or None))
        return Reply(201, self.pulls[-1])

    def _look(self, request: Request) -> Reply:
        pull = self._one(request)
        if pull is None:
            return Reply(404, {"message": "Not Found"})
        self.unknown -= 1
        return Reply(200, {**pull, "mergeable_state": "unknown" if self.unknown >= 0 else self.mergeable_state})

    def _change(self, request: Request) -> Reply:
        pull = self._one(request) or {}
        pull.update(request.body)
        return Reply(200, pull)

    def _merge(self, request: Request) -> Reply:
        pull = self._one(request) or {}
        if request.body["sha"] != pull["head"]["sha"]:
            return Reply(409, {"message": "Head branch was modified. Review and try the merge again."})
        if self.mergeable_state not in ("clean", "unstable") or request.body["merge_method"] not in self.methods:
            return Reply(405, {"message": "Pull Request is not mergeable"})
        pull.update({"state": "closed", "merged": True, "merged_at": "2026-01-02T00:00:00Z"})
        return Reply(200, {"sha": "f" * 40, "merged": True, "message": "Pull Request successfully merged"})

    def _ask(self, request: Request) -> Reply:
        pull, people = self._one(request) or {}, request.body.get("reviewers", [])
        if pull["user"]["login"] in people:
            return Reply(422, {"message": "Review cannot be requested from pull request author."})
        if not set(people) <= _USERS.keys():
            return Reply(422, {"message": "Reviews may only be requested from collaborators."})
        self.asked += people + request.body.get("team_reviewers", [])
        pull["requested_reviewers"] += [user(each) for each in people]
        pull["requested_teams"] += [{"slug": each, "name": each} for each in request.body.get("team_reviewers", [])]
        return Reply(201, pull)

    def _label(self, request: Request) -> Reply:
        labels = (self._one(request) or {})["labels"]
        labels += [
            {"id": 1, "name": each} for each in request.body["labels"] if each not in [x["name"] for x in labels]
        ]
        return Reply(200, labels)

    def _comment(self, request: Request) -> Reply:
        self.say("actions[bot]" if self.app else "robot", request.body["body"])
        return Reply(201, self.comments[-1])

    def say(self, login: str, body: str) -> None:
        number = len(self.comments) + 1
        url = f"https://github.example/acme/models/pull/1#issuecomment-{number}"
        self.comments.append({"id": number, "html_url": url, "body": body, "user": user(login)})

    def _rewrite(self, request: Request) -> Reply:
        comment = self.comments[int(request.names["number"]) - 1]
        comment["body"] = request.body["body"]
        return Reply(200, comment)

    def _enable(self, request: Request) -> Reply:
        wanted = request.body["variables"]
        pull = next(each for each in self.pulls if each["node_id"] == wanted["pull"])
        if not self.auto_merge_allowed:
            return _graphql_error("Auto merge is not allowed for this repository")
        if self.mergeable_state in ("clean", "unstable"):
            return _graphql_error(f"Pull request Pull request is in {self.mergeable_state} status")
        if wanted["how"].lower() not in self.methods:
            return _graphql_error("Merge method is not allowed for this repository")
        pull["auto_merge"] = {"merge_method": wanted["how"].lower()}
        return Reply(200, {"data": {"enablePullRequestAutoMerge": {"clientMutationId": None}}})

    def _one(self, request: Request) -> dict[str, Any] | None:
        number = int(request.names["number"])
        return self.pulls[number - 1] if number <= len(self.pulls) else None

    def _repository(self, number: int) -> dict[str, Any]:
        name = "acme/models" if number == 1 else "acme/models-fork"
        keys = {"merge": "allow_merge_commit", "squash": "allow_squash_merge", "rebase": "allow_rebase_merge"}
        allowed = {key: how in self.methods for how, key in keys.items()}
        return {"id": number, "full_name": name, "owner": user("acme"), **allowed}

    def _pull(
        self, number: int, branch: str, base: str, title: str, body: str | None, *, fork: bool = False
    ) -> dict[str, Any]:
        def side(ref: str, repository: int) -> dict[str, Any]:
            whole = {"label": f"acme:{ref}", "ref": ref, "sha": f"{number:040x}", "user": user("acme")}
            return {**whole, "repo": self._repository(repository)}

        return {
            "id": 100 + number, "node_id": f"PR_{number}", "number": number, "state": "open", "title": title,
            "body": body,
            "html_url": f"https://github.example/acme/models/pull/{number}", "user": user("robot"), "labels": [],
            "head": side(branch, 2 if fork else 1), "base": side(base, 1), "merged_at": None, "auto_merge": None,
            "requested_reviewers": [], "requested_teams": [], "merged": False, "mergeable": None,
            "mergeable_state": "unknown",
        }  # fmt: skip


def user(login: str) -> dict[str, Any]:
    return {"login": login, "id": _USERS[login], "type": "Bot" if login.endswith("[bot]") else "User"}


def _invalid(error: dict[str, str]) -> Reply:
    return Reply(422, {"message": "Validation Failed", "errors": [error]})


def _graphql_error(message: str) -> Reply:
    return Reply(200, {"data": None, "errors": [{"type": "UNPROCESSABLE", "message": message}]})
