"""GitLab. Sources: GitLab docs, "Merge requests API", "Notes API", "Users API", "Projects API".

A list by `source_branch` holds forks' merge requests too. `auto_merge` is called `merge_when_pipeline_succeeds` before
GitLab 17.11; both are sent, and the one that a version does not know is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from urllib.parse import quote

from modelpack.errors import InputError, NotFoundError, RefusedError
from modelpack.forge.answer import at
from modelpack.forge.http import Api
from modelpack.forge.once import commented, opened, standing, still_open
from modelpack.forge.pull import Pull, State
from modelpack.forge.text import harmless, plain, title_of

_STATES = {"opened": State.OPEN, "locked": State.OPEN, "merged": State.MERGED, "closed": State.CLOSED}
_UNDECIDED = ("checking", "unchecked", "preparing", "approvals_syncing")
_FAILED = ("failed", "canceled", "canceling")


class GitLab:
    """Implements `forge.pull.Forge` with merge requests."""

    def __init__(self, api: Api, project: str) -> None:
        self._api = api
        self._given = f"/projects/{quote(project, safe='')}"

    @cached_property
    def _id(self) -> int:
        return self._api.number(self._api.ask("GET", self._given).data, "id")

    @property
    def _path(self) -> str:
        """By its id, which a project keeps when it moves."""
        return f"/projects/{self._id}"

    def find(self, branch: str) -> tuple[Pull, ...]:
        query: dict[str, str | int] = {"source_branch": branch, "state": "all", "scope": "all"}
        query |= {"order_by": "created_at", "sort": "desc", "per_page": 50}
        listed = self._api.pages(f"{self._path}/merge_requests", query)
        found = [self._pull(each) for each in listed if at(each, "source_project_id") == self._id]
        return tuple(each for each in found if each.branch == branch)

    def create(self, branch: str, base: str, title: str, body: str) -> Pull:
        wanted = {"source_branch": branch, "target_branch": base}
        wanted |= {"title": title_of(title), "description": harmless(body)}
        return opened(
            self._api, f"{self._path}/merge_requests", wanted, lambda: standing(self.find(branch), base), self._pull
        )

    def update(self, number: int, title: str, body: str) -> Pull:
        # people's words too: what a quick action does it would do with our token's rights
        wanted = {"title": title_of(title), "description": harmless(body)}
        return still_open(self._pull(self._api.ask("PUT", self._one(number), wanted).data))

    def label(self, number: int, labels: Sequence[str]) -> None:
        if odd := next((each for each in labels if "," in each), ""):
            raise InputError(f"the label {odd!r}", "has a comma, which GitLab takes for the end of it", "rename it")
        if labels:  # GitLab makes those that the project lacks
            self._api.ask("PUT", self._one(number), {"add_labels": ",".join(labels)})

    def request_reviews(self, number: int, reviewers: Sequence[str]) -> None:
        there = self._api.ask("GET", self._one(number)).data
        asked = {self._api.number(each, "id") for each in self._api.items(there, "reviewers")}
        wanted = {self._user(each) for each in reviewers} - {at(there, "author", "id")}
        if wanted - asked:  # the list is replaced as a whole
            self._api.ask("PUT", self._one(number), {"reviewer_ids": sorted(asked | wanted)})

    def merge_when_green(self, number: int) -> None:
        merge = self._settled(number)
        if _STATES.get(self._api.text(merge, "state")) is State.MERGED or at(merge, "merge_when_pipeline_succeeds"):
            return
        pipeline = self._api.text(merge, "head_pipeline", "status")
        subject = f"auto-merge of {self._api.text(merge, 'web_url')}"
        if pipeline in _FAILED:  # asked now, GitLab would not wait for another one
            raise RefusedError(subject, f"its pipeline is {pipeline}", "repair it, then run the command again")
        wanted = {"auto_merge": True, "merge_when_pipeline_succeeds": True, "sha": self._api.text(merge, "sha")}
        answer = self._api.ask("PUT", f"{self._one(number)}/merge", wanted, accept=(401, 405, 406, 409, 422))
        if answer.ok:
            return
        now = self._settled(number)
        if _STATES.get(self._api.text(now, "state")) is State.MERGED or at(now, "merge_when_pipeline_succeeds"):
            return
        if answer.status == 401:  # GitLab's word for somebody who may not merge; the token was good a moment ago
            raise RefusedError(subject, "the token's user may not merge it", "give that user the right to merge")
        why = self._api.text(now, "detailed_merge_status").replace("_", " ")
        raise RefusedError(subject, f"GitLab refuses it with {answer.status} ({why})", "merge it by hand")

    def comment(self, number: int, body: str, mark: str) -> str:
        me = self._api.text(self._api.ask("GET", "/user").data, "username")
        merge = self._api.ask("GET", self._one(number)).data
        listed = f"{self._one(number)}/notes"

        def is_ours(data: object) -> bool:
            return self._api.text(data, "author", "username") == me and not at(data, "system")

        def rewrite(data: object, new: Mapping[str, str]) -> object:
            self._api.ask("PUT", f"{listed}/{self._api.number(data, 'id')}", new)
            return data

        query: dict[str, str | int] = {"sort": "asc", "order_by": "created_at", "per_page": 50}
        note = commented(self._api, listed, query, body, mark, is_ours, rewrite)
        return f"{self._api.text(merge, 'web_url')}#note_{self._api.number(note, 'id')}"

    def _one(self, number: int) -> str:
        return f"{self._path}/merge_requests/{number}"

    def _user(self, name: str) -> int:
        if "/" in name:
            raise InputError(f"the reviewer {name}", "is a group, and GitLab asks people", "name its members")
        for each in self._api.items(self._api.ask("GET", "/users", query={"username": name}).data):
            if self._api.text(each, "username").lower() == name.lower():
                return self._api.number(each, "id")
        raise NotFoundError(
            f"the reviewer {name}", "GitLab has no such user", "check pullRequest.reviewers in model.yaml"
        )

    def _settled(self, number: int) -> object:
        """The merge request once GitLab has prepared it (and so made its pipeline: a merge does not wait for a later
        one) and knows whether it can be merged, or as it is when patience is up."""
        for attempt in range(self._api.patience.tries):
            merge = self._api.ask("GET", self._one(number)).data
            ready = at(merge, "prepared_at") and at(merge, "detailed_merge_status") not in _UNDECIDED
            if ready or at(merge, "state") != "opened":
                break
            self._api.patience.pause(attempt, 1)
        return merge

    def _pull(self, data: object) -> Pull:
        state = _STATES.get(self._api.text(data, "state"))
        if state is None:
            raise self._api.odd("a merge request's state")
        return Pull(
            number=self._api.number(data, "iid"),
            url=self._api.text(data, "web_url"),
            state=state,
            title=plain(self._api.text(data, "title")),
            body=plain(self._api.whole(data, "description")),
            branch=self._api.text(data, "source_branch"),
            base=self._api.text(data, "target_branch"),
            head=self._api.text(data, "sha"),
        )
