"""A change on a branch beside the base: made anew there, or put on top of what people have done.

A branch of ours is recomputed on the base's tip and replaced, by a lease on what was seen there. People's commits are
never replaced.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum
from typing import Final

from modelpack.definition import order
from modelpack.errors import InputError, ModelpackError, RefusedError, RemoteError
from modelpack.gitops.change import Change, make, version_of
from modelpack.gitops.commit import Style
from modelpack.gitops.repository import Repository
from modelpack.gitops.side import Side

TRIES = 10
_LONGEST_WAIT = 1.0  # seconds, taken at random between none and that
PLAIN: Final = Style()

Propose = Callable[[Repository], Change]


class Action(Enum):
    """What becomes of a branch beside the base."""

    REPLACE = "replace"  # it is ours, done with, or not there
    APPEND = "append"  # people's commits are on it, and their pull request is open
    NEXT = "next"  # it is somebody else's: try the next name


def push_side(
    repository: Repository, propose: Propose, *, branch: str, style: Style = PLAIN, dry_run: bool = False
) -> tuple[Change, str]:
    """Put a change on a branch of its own, and no more.

    Returns the change, and the commit that the branch ends with, "" if there was nothing to do. People's commits that
    are there stay below it, and so do ours for other models. Raises RefusedError if somebody puts a newer version there
    meanwhile.
    """
    if branch == repository.branch:
        raise InputError("--pr-branch", f"{branch} is the branch that the change is for", "name another one")
    for number in tries(repository):
        change = propose(repository)
        if dry_run or not change.files:
            return change, ""
        side = repository.side(branch)
        named = named_on(repository, side, propose)
        if number and is_newer(version_of(named), version_of(change.new)):
            raise RefusedError(change.model, f"{version_of(named)} was put on {branch} meanwhile")
        ours = {(each.model, change.environment) for each in change.parts}
        kept = side is not None and not (side.ours and side.about <= ours)  # another model's bump is not undone
        action = Action.APPEND if kept else Action.REPLACE
        commit = put(repository, branch, side, action, change, propose, style)
        if commit is not None:
            return change, commit
    raise lost_race(repository, branch)


def put(
    repository: Repository,
    name: str,
    side: Side | None,
    action: Action,
    change: Change,
    propose: Propose,
    style: Style,
    *,
    reviewed: bool = False,
) -> str | None:
    """Bring a branch up to date; what it ends with, None if somebody was faster."""
    if side and action is Action.APPEND:
        on_top = _on_top(repository, side, change, propose)
        if not on_top.files:
            return side.tip
        commit = make(repository, on_top, style, onto=side.tip, side=True)
    else:
        commit = make(repository, change, style, side=True)
        after = {path: data for path, (_, data) in change.files.items()}
        # where people review it, what the base got elsewhere is no reason to push: their approvals would be lost
        if side and (repository.is_current(side, after) if reviewed else repository.same(commit, side.tip)):
            return side.tip
    return commit if repository.put_side(name, commit, side.tip if side else "") else None


def _on_top(repository: Repository, side: Side, change: Change, propose: Propose) -> Change:
    """What the change is on a branch that people have edited: file by file where they left a file alone."""
    view = repository.at(side.tip)
    there = {path: view.read(path) for path in change.files}
    if all(there[path] in content for path, content in change.files.items()):
        left = {path: content for path, content in change.files.items() if there[path] != content[1]}
        return replace(change, files=left)
    problem = f"the commits on {side.name} are in the way of {version_of(change.new)}"
    remedy = "edit that branch by hand, or close its pull request"
    try:
        own = propose(view)
    except ModelpackError as error:
        raise RefusedError(change.model, f"{problem}: {error}", remedy) from error
    if own.new != change.new:
        raise RefusedError(change.model, problem, remedy)
    return own


def named_on(repository: Repository, side: Side | None, propose: Propose) -> str:
    """The image that a branch has now, "" if it cannot be told."""
    try:
        return propose(repository.at(side.tip)).old if side else ""
    except ModelpackError:
        return ""


def is_newer(one: str, other: str) -> bool:
    """Whether a version is newer than another; versions that are not dotted numbers are not ordered."""
    left, right = order(one), order(other)
    return bool(left and right and left > right)


def tries(repository: Repository) -> Iterator[int]:
    """Numbers to count tries by; before each but the first, the base is looked at again."""
    for number in range(TRIES):
        if number:
            time.sleep(random.uniform(0, _LONGEST_WAIT))  # noqa: S311
            repository.refresh()
        yield number


def lost_race(repository: Repository, branch: str) -> RemoteError:
    return RemoteError(repository.place, f"others were faster on {branch} {TRIES} times", "try again")
