"""What every forge has: pull requests as values, and what can be done to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class State(Enum):
    """Where a pull request stands."""

    OPEN = "open"
    CLOSED = "closed"  # a person said no
    MERGED = "merged"


@dataclass(frozen=True)
class Pull:
    """A pull request (GitLab: merge request). `number` is its repository's, `head` the commit its branch had last."""

    number: int
    url: str
    state: State
    title: str
    body: str
    branch: str
    base: str
    head: str = ""


class Forge(Protocol):
    """Pull requests of one repository.

    Every method raises RefusedError where the forge says no, RemoteError where it does not answer, time is up or its
    rate limit is used up for longer than is worth waiting.
    """

    def find(self, branch: str) -> tuple[Pull, ...]:
        """Every pull request ever opened from a branch of this repository itself (no fork's), newest first."""
        ...

    def create(self, branch: str, base: str, title: str, body: str) -> Pull:
        """Open one. If an open one is there already (a create that timed out, somebody faster), that one is given."""
        ...

    def update(self, number: int, title: str, body: str) -> Pull:
        """Give an open one a new title and body. People's words in that may call and close, but run no command; what
        comes from elsewhere has to be made harmless before, as `gitops.report.plain` does."""
        ...

    def label(self, number: int, labels: Sequence[str]) -> None:
        """Add labels to those that are there; a label the repository lacks is made."""
        ...

    def request_reviews(self, number: int, reviewers: Sequence[str]) -> None:
        """Ask people (or `org/team`) for a review; whoever was asked already is not asked again."""
        ...

    def merge_when_green(self, number: int) -> None:
        """Merge it as soon as its checks and approvals allow, now if nothing is in the way."""
        ...

    def comment(self, number: int, body: str, mark: str) -> str:
        """Write a comment, or rewrite the one of ours that holds `mark` (an HTML comment); gives its URL."""
        ...
