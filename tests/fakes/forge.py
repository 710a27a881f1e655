"""A forge in memory: pull requests that a test closes, merges and looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from modelpack.errors import ModelpackError, NotFoundError, RefusedError
from modelpack.forge.pull import Pull, State


@dataclass
class FakeForge:
    """Keeps what was asked of it; an error put into `failures` under a method's name is raised by its next call.

    `lost` names methods whose next call is done and then fails, as where the answer got lost on its way.
    """

    pulls: dict[int, Pull] = field(default_factory=dict)
    labels: dict[int, list[str]] = field(default_factory=dict)
    reviewers: dict[int, list[str]] = field(default_factory=dict)
    auto_merge: list[int] = field(default_factory=list)
    comments: dict[int, list[str]] = field(default_factory=dict)
    failures: dict[str, ModelpackError] = field(default_factory=dict)
    lost: dict[str, ModelpackError] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def find(self, branch: str) -> tuple[Pull, ...]:
        self._begin("find")
        found = [pull for pull in self.pulls.values() if pull.branch == branch]
        self._end("find")
        return tuple(sorted(found, key=lambda pull: -pull.number))

    def create(self, branch: str, base: str, title: str, body: str) -> Pull:
        self._begin("create")
        open_ones = [each for each in self.find_open(branch) if each.base == base]
        if not open_ones:
            number = len(self.pulls) + 1
            url = f"https://forge.example.com/project/pulls/{number}"
            self.pulls[number] = Pull(number, url, State.OPEN, title, body, branch, base)
        self._end("create")
        return open_ones[0] if open_ones else self.pulls[len(self.pulls)]

    def update(self, number: int, title: str, body: str) -> Pull:
        self._begin("update")
        pull = self._open(number)
        self.pulls[number] = replace(pull, title=title, body=body)
        self._end("update")
        return self.pulls[number]

    def label(self, number: int, labels: Sequence[str]) -> None:
        self._begin("label")
        there = self.labels.setdefault(self._one(number).number, [])
        there += [each for each in labels if each not in there]
        self._end("label")

    def request_reviews(self, number: int, reviewers: Sequence[str]) -> None:
        self._begin("request_reviews")
        there = self.reviewers.setdefault(self._one(number).number, [])
        there += [each for each in reviewers if each not in there]
        self._end("request_reviews")

    def merge_when_green(self, number: int) -> None:
        self._begin("merge_when_green")
        if self._open(number).number not in self.auto_merge:
            self.auto_merge.append(number)
        self._end("merge_when_green")

    def comment(self, number: int, body: str, mark: str) -> str:
        self._begin("comment")
        there = self.comments.setdefault(self._one(number).number, [])
        ours = next((place for place, text in enumerate(there) if mark in text), len(there))
        there[ours : ours + 1] = [body if mark in body else f"{body}\n{mark}"]
        self._end("comment")
        return f"{self.pulls[number].url}#comment-{ours + 1}"

    # what people do

    def close(self, number: int) -> None:
        self.pulls[number] = replace(self.pulls[number], state=State.CLOSED)

    def merge(self, number: int) -> None:
        self.pulls[number] = replace(self.pulls[number], state=State.MERGED)

    def find_open(self, branch: str) -> list[Pull]:
        return [pull for pull in self.pulls.values() if pull.branch == branch and pull.state is State.OPEN]

    def _begin(self, method: str) -> None:
        self.calls.append(method)
        if method in self.failures:
            raise self.failures.pop(method)

    def _end(self, method: str) -> None:
        if method in self.lost:
            raise self.lost.pop(method)

    def _one(self, number: int) -> Pull:
        if number not in self.pulls:
            raise NotFoundError(f"pull request {number}", "there is none")
        return self.pulls[number]

    def _open(self, number: int) -> Pull:
        pull = self._one(number)
        if pull.state is not State.OPEN:
            raise RefusedError(f"pull request {number}", f"it is {pull.state.value}")
        return pull
