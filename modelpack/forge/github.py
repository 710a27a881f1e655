"""GitHub and GitHub Enterprise. Sources: GitHub docs, "REST API endpoints for pull requests", "… for review requests",
"… for labels", "… for issue comments"; GraphQL reference, enablePullRequestAutoMerge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from modelpack.forge.answer import Answer, at
from modelpack.forge.http import Api
from modelpack.forge.once import commented, opened, standing, still_open
from modelpack.forge.pull import Pull, State
from modelpack.forge.text import harmless, plain, title_of

_ENABLE = """\
mutation($pull: ID!, $how: PullRequestMergeMethod!) {
  enablePullRequestAutoMerge(input: {pullRequestId: $pull, mergeMethod: $how}) { clientMutationId }
}"""
_UNDECIDED = "unknown"  # GitHub works out in the background whether a pull request can be merged


class GitHub:
    """Implements `forge.pull.Forge`. `graphql` is the address of the GraphQL API."""

    def __init__(self, api: Api, project: str, graphql: str) -> None:
        self._api = api
        self._given = f"/repos/{project}"
        self._graphql = graphql

    @cached_property
    def _repository(self) -> object:
        return self._api.ask("GET", self._given).data

    @cached_property
    def _path(self) -> str:
        """Where it is now: GitHub follows a renaming, but its filter by `owner:branch` does not."""
        return f"/repos/{self._api.text(self._repository, 'full_name') or self._given.removeprefix('/repos/')}"

    def find(self, branch: str) -> tuple[Pull, ...]:
        owner = self._path.split("/")[2]
        query: dict[str, str | int] = {
            "head": f"{owner}:{branch}",
            "state": "all",
            "sort": "created",
            "direction": "desc",
            "per_page": 50,
        }
        found = [each for each in self._api.pages(f"{self._path}/pulls", query) if self._own(each)]
        return tuple(pull for pull in map(self._pull, found) if pull.branch == branch)

    def create(self, branch: str, base: str, title: str, body: str) -> Pull:
        wanted = {"head": branch, "base": base, "title": title_of(title), "body": harmless(body)}
        return opened(
            self._api,
            f"{self._path}/pulls",
            wanted,
            lambda: standing(self.find(branch), base),
            self._pull,
            there=(422,),
        )

    def update(self, number: int, title: str, body: str) -> Pull:
        wanted = {"title": title_of(title), "body": body}
        return still_open(self._pull(self._api.ask("PATCH", f"{self._path}/pulls/{number}", wanted).data))

    def label(self, number: int, labels: Sequence[str]) -> None:
        if labels:  # GitHub makes those that the repository lacks
            path = f"{self._path}/issues/{number}/labels"
            self._api.ask("POST", path, {"labels": list(labels)}, repeatable=True)

    def request_reviews(self, number: int, reviewers: Sequence[str]) -> None:
        pull = self._api.ask("GET", f"{self._path}/pulls/{number}").data
        asked = {f"/{self._api.text(each, 'slug')}".lower() for each in self._api.items(pull, "requested_teams")}
        asked |= self._logins(self._api.items(pull, "requested_reviewers"))
        asked |= self._logins(at(each, "user") for each in self._api.pages(f"{self._path}/pulls/{number}/reviews", {}))
        asked |= self._logins([at(pull, "user")])  # whoever opened it cannot review it
        people = [each for each in reviewers if "/" not in each and each.lower() not in asked]
        teams = [each.partition("/")[2] for each in reviewers if "/" in each]
        teams = [each for each in teams if f"/{each}".lower() not in asked]
        if people or teams:
            path = f"{self._path}/pulls/{number}/requested_reviewers"
            self._api.ask("POST", path, {"reviewers": people, "team_reviewers": teams}, repeatable=True)

    def merge_when_green(self, number: int) -> None:
        pull = self._settled(number)
        if self._state(pull) is State.MERGED or at(pull, "auto_merge"):
            return
        how = self._method()
        variables = {"pull": self._api.text(pull, "node_id"), "how": how.upper()}
        answer = self._api.ask("POST", self._graphql, {"query": _ENABLE, "variables": variables}, repeatable=True)
        if not self._api.items(answer.data, "errors"):
            return
        # nothing holds it back (auto-merge is refused then), or auto-merge is off but nothing is in the way either
        if at(pull := self._settled(number), "mergeable_state") in ("clean", "has_hooks"):
            head = self._api.text(pull, "head", "sha")
            path = f"{self._path}/pulls/{number}/merge"
            done = self._api.ask("PUT", path, {"merge_method": how, "sha": head}, accept=(405,))
            if done.status != 405 or self._state(self._settled(number)) is State.MERGED:
                return
            answer = done
        refused = Answer(answer.url, 422, answer.headers, answer.data)
        raise self._api.error(refused, f"auto-merge of {self._api.text(pull, 'html_url')}")

    def comment(self, number: int, body: str, mark: str) -> str:
        me = self._me()

        def is_ours(data: object) -> bool:
            kind, login = self._api.text(data, "user", "type"), self._api.text(data, "user", "login")
            return login == me if me else kind == "Bot"

        def rewrite(data: object, new: Mapping[str, str]) -> object:
            path = f"{self._path}/issues/comments/{self._api.number(data, 'id')}"
            return self._api.ask("PATCH", path, new).data

        listed = f"{self._path}/issues/{number}/comments"
        return self._api.text(commented(self._api, listed, {"per_page": 50}, body, mark, is_ours, rewrite), "html_url")

    def _me(self) -> str:
        """Our login; "" for an app's token (GitHub Actions' own among them), which may not ask."""
        return self._api.text(self._api.ask("GET", "/user", accept=(401, 403, 404)).data, "login")

    def _method(self) -> str:
        allowed = {"merge": "allow_merge_commit", "squash": "allow_squash_merge", "rebase": "allow_rebase_merge"}
        return next((how for how, key in allowed.items() if at(self._repository, key)), "merge")

    def _settled(self, number: int) -> object:
        """The pull request once GitHub knows whether it can be merged, or as it is when patience is up."""
        for attempt in range(self._api.patience.tries):
            pull = self._api.ask("GET", f"{self._path}/pulls/{number}").data
            if at(pull, "mergeable_state") != _UNDECIDED or self._state(pull) is not State.OPEN:
                break
            self._api.patience.pause(attempt, 1)
        return pull

    def _logins(self, people: Iterable[object]) -> set[str]:
        return {self._api.text(each, "login").lower() for each in people if each}

    def _own(self, data: object) -> bool:
        return at(data, "head", "repo", "id") == at(data, "base", "repo", "id")

    def _state(self, data: object) -> State:
        if at(data, "merged_at"):
            return State.MERGED
        return State.OPEN if at(data, "state") == "open" else State.CLOSED

    def _pull(self, data: object) -> Pull:
        return Pull(
            number=self._api.number(data, "number"),
            url=self._api.text(data, "html_url"),
            state=self._state(data),
            title=plain(self._api.text(data, "title")),
            body=plain(self._api.whole(data, "body")),
            branch=self._api.text(data, "head", "ref"),
            base=self._api.text(data, "base", "ref"),
            head=self._api.text(data, "head", "sha"),
        )
