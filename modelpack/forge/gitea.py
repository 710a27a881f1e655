"""Gitea and Forgejo. Source: their API's own description, at /api/swagger of every server.

Seen on Gitea 1.25: no filter by branch, so all pull requests are read, the newest 2000 at most; where a branch was
deleted its name is only in `head.label`, in `head.ref` stands refs/pull/N/head; a merge that is asked for while Gitea
still works out whether it may be is answered 405 "Please try again later", or 500, and one in conflict likewise; two
that are opened in the same moment are both there; of two rewritten in the same moment one is answered 400.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from modelpack.errors import NotFoundError, RefusedError
from modelpack.forge.answer import Answer, at
from modelpack.forge.http import Api
from modelpack.forge.once import commented, opened, standing, still_open
from modelpack.forge.pull import Pull, State
from modelpack.forge.text import harmless, plain, title_of

_COLOR = "#ededed"


class Gitea:
    """Implements `forge.pull.Forge`."""

    def __init__(self, api: Api, project: str) -> None:
        self._api = api
        self._given = f"/repos/{project}"

    @cached_property
    def _repository(self) -> object:
        return self._api.ask("GET", self._given).data

    @cached_property
    def _path(self) -> str:
        """Where it is now, after a renaming too."""
        return f"/repos/{self._api.text(self._repository, 'full_name') or self._given.removeprefix('/repos/')}"

    def find(self, branch: str) -> tuple[Pull, ...]:
        listed = self._api.pages(f"{self._path}/pulls", {"state": "all", "limit": 50})
        found = [self._pull(each) for each in listed if self._own(each)]
        return tuple(sorted((each for each in found if each.branch == branch), key=lambda pull: -pull.number))

    def create(self, branch: str, base: str, title: str, body: str) -> Pull:
        wanted = {"head": branch, "base": base, "title": title_of(title), "body": harmless(body)}

        def look() -> Pull | None:
            return standing(self.find(branch), base)

        def read(data: object) -> Pull:
            made, first = self._pull(data), look()
            return self._withdrawn(made, first) if first and first.number < made.number else made

        return opened(self._api, f"{self._path}/pulls", wanted, look, read)

    def _withdrawn(self, twice: Pull, first: Pull) -> Pull:
        """Close one that was opened in the same moment as another, without the words that a person's no is told by."""
        closed = {"state": "closed", "body": f"Opened at the same time as {first.url}"}
        self._rewrite(f"{self._path}/pulls/{twice.number}", closed)
        return first

    def update(self, number: int, title: str, body: str) -> Pull:
        wanted = {"title": title_of(title), "body": body}
        return still_open(self._pull(self._rewrite(f"{self._path}/pulls/{number}", wanted)))

    def label(self, number: int, labels: Sequence[str]) -> None:
        if not labels:
            return
        known = self._labels(f"{self._path}/labels")
        if not set(labels) <= known.keys():
            owner = self._path.split("/")[2]
            known = {**self._labels(f"/orgs/{owner}/labels"), **known}
        for name in labels:
            if name not in known:
                known[name] = self._new_label(name)
        path = f"{self._path}/issues/{number}/labels"
        self._api.ask("POST", path, {"labels": [known[name] for name in labels]}, repeatable=True)

    def request_reviews(self, number: int, reviewers: Sequence[str]) -> None:
        pull = self._api.ask("GET", f"{self._path}/pulls/{number}").data
        teams_asked = {
            self._api.text(each, "name").lower() for each in self._api.items(pull, "requested_reviewers_teams")
        }
        asked = {self._login(each) for each in self._api.items(pull, "requested_reviewers")} | {
            self._login(at(pull, "user"))
        }
        for each in self._api.pages(f"{self._path}/pulls/{number}/reviews", {"limit": 50}):
            asked.add(self._login(at(each, "user")))
            teams_asked.add(self._api.text(each, "team", "name").lower())
        people = [each for each in reviewers if "/" not in each and each.lower() not in asked]
        teams = [each.partition("/")[2] for each in reviewers if "/" in each]
        teams = [each for each in teams if each.lower() not in teams_asked]
        if people or teams:
            path = f"{self._path}/pulls/{number}/requested_reviewers"
            self._api.ask("POST", path, {"reviewers": people, "team_reviewers": teams}, repeatable=True)

    def merge_when_green(self, number: int) -> None:
        pull = self._api.ask("GET", f"{self._path}/pulls/{number}").data
        wanted = {"Do": self._method(), "merge_when_checks_succeed": True, "head_commit_id": self._head(pull)}
        path = f"{self._path}/pulls/{number}/merge"
        for attempt in range(self._api.patience.tries):
            if self._state(pull) is State.MERGED:
                return
            answer = self._api.ask("POST", path, wanted, repeatable=True, accept=(405, 409))
            if answer.ok or "scheduled" in self._message(answer):
                return
            if "try again" not in self._message(answer):
                break
            self._api.patience.pause(attempt, 1)
            pull = self._api.ask("GET", f"{self._path}/pulls/{number}").data
        pull = self._api.ask("GET", f"{self._path}/pulls/{number}").data
        if self._state(pull) is not State.MERGED:
            if at(pull, "mergeable") is False and answer.status == 405 and "try again" in self._message(answer):
                base = self._api.text(pull, "base", "ref")
                raise RefusedError(
                    self._api.text(pull, "html_url"), f"it conflicts with {base}", "run the command again"
                )
            raise self._api.error(answer, f"auto-merge of {self._api.text(pull, 'html_url')}")

    def comment(self, number: int, body: str, mark: str) -> str:
        me = self._login(self._api.ask("GET", "/user", accept=(403,)).data)

        def is_ours(data: object) -> bool:
            return self._login(at(data, "user")) == me

        def rewrite(data: object, new: Mapping[str, str]) -> object:
            return self._rewrite(f"{self._path}/issues/comments/{self._api.number(data, 'id')}", new)

        listed = f"{self._path}/issues/{number}/comments"
        there = commented(self._api, listed, {}, body, mark, is_ours, rewrite)  # all at once: Gitea has no pages here
        return self._api.text(there, "html_url")

    def _rewrite(self, path: str, new: Mapping[str, str]) -> object:
        """Put new text where some is. Of two that do so in the same moment Gitea lets one through; ours goes again."""
        for attempt in range(self._api.patience.tries):
            answer = self._api.ask("PATCH", path, new, accept=(400,))
            if answer.ok:
                return answer.data
            if "already changed" not in self._message(answer):
                break
            self._api.patience.pause(attempt)
        raise self._api.error(answer)

    def _labels(self, path: str) -> dict[str, int]:
        try:
            found = list(self._api.pages(path, {"limit": 50}))
        except (NotFoundError, RefusedError):  # a person has no labels of an organization; or they are not for us
            return {}
        return {self._api.text(each, "name"): self._api.number(each, "id") for each in found}

    def _new_label(self, name: str) -> int:
        def post() -> int:
            made = self._api.ask("POST", f"{self._path}/labels", {"name": name, "color": _COLOR}).data
            return self._api.number(made, "id")

        return self._api.surely(post, lambda: self._labels(f"{self._path}/labels").get(name))

    def _message(self, answer: Answer) -> str:
        return self._api.text(answer.data, "message").lower()

    def _method(self) -> str:
        """The project's usual way to merge; `rebase-merge` and so on are words of the same list."""
        return self._api.text(self._repository, "default_merge_style") or "merge"

    def _login(self, data: object) -> str:
        return self._api.text(data, "login").lower()

    def _own(self, data: object) -> bool:
        """From a branch of this project, and from one at all (not AGit's refs/for)."""
        return at(data, "head", "repo_id") == at(data, "base", "repo_id")

    def _head(self, data: object) -> str:
        return self._api.text(data, "head", "sha")

    def _state(self, data: object) -> State:
        if at(data, "merged"):
            return State.MERGED
        return State.OPEN if at(data, "state") == "open" else State.CLOSED

    def _pull(self, data: object) -> Pull:
        return Pull(
            number=self._api.number(data, "number"),
            url=self._api.text(data, "html_url"),
            state=self._state(data),
            title=plain(self._api.text(data, "title")),
            body=plain(self._api.whole(data, "body")),
            branch=self._api.text(data, "head", "label") or self._api.text(data, "head", "ref"),
            base=self._api.text(data, "base", "ref"),
            head=self._head(data),
        )
