"""Propose a change instead of making it: one branch and one open pull request per model, kept up to date.

`decide` says from values alone what is to be done; `open_pull` does it, step by step in an order that leaves nothing
half done behind: the branch, the pull request, its labels. Whatever was begun and not ended, the next run ends.

A branch of ours is recomputed on the base's tip and replaced, by a lease on what was seen there. People's commits are
never replaced: where their pull request is open the change comes on top, elsewhere the next free name is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from modelpack.definition import PullRequestStyle
from modelpack.errors import DeclinedError, ModelpackError, RefusedError
from modelpack.forge.pull import Forge, Pull, State
from modelpack.gitops.beside import PLAIN, Action, Propose, is_newer, lost_race, named_on, put, tries
from modelpack.gitops.change import Change, digest_of, version_of
from modelpack.gitops.commit import Style
from modelpack.gitops.proposal import Text, placed, proposed, titled
from modelpack.gitops.repository import Repository
from modelpack.gitops.side import Side

MOST_NAMES = 9
NO_WISHES: Final = PullRequestStyle()
_NO_TEXT: Final = Text("", "")

Compose = Callable[[Change], Text]


@dataclass(frozen=True)
class Step:
    """What to do on a branch, and the open pull request that says it."""

    action: Action
    pull: Pull | None = None


@dataclass(frozen=True)
class Pulled:
    """What came of it. `action` is opened, updated, unchanged or none; `commit` is what the branch ends with.

    `pull` is None in a dry run that would open one. Where the base has everything already (none), it is an open one of
    this branch that proposes what is there, or something else.
    """

    change: Change
    action: str
    text: Text = _NO_TEXT
    branch: str = ""
    commit: str = ""
    pull: Pull | None = None


def branch_of(model: str, environment: str = "") -> str:
    """The one branch on which a model is proposed."""
    return f"modelpack/{environment}/{model}" if environment else f"modelpack/{model}"


def decide(
    side: Side | None, pulls: Sequence[Pull], change: Change, *, base: str, named: str = "", again: bool = False
) -> Step:
    """What to do on one branch; `pulls` are all that ever came from it, newest first, `named` the image it has now.

    Raises DeclinedError where a person closed the same proposal (`again` lifts that), and where an open pull request
    proposes a newer version.
    """
    standing = [each for each in pulls if each.state is State.OPEN]
    here = next((each for each in standing if each.base == base), None)
    if here:
        known = (version_of(named), proposed(here.body)[1])  # a target may hold no tag, and people edit bodies
        there = next((each for each in known if is_newer(each, version_of(change.new))), "")
        if there:
            problem = f"pull request {here.number} proposes {there}, which is newer"
            raise DeclinedError(f"{change.model} {version_of(change.new)}", problem, f"merge or close it: {here.url}")
        return Step(Action.APPEND if side and not side.ours else Action.REPLACE, here)
    if standing:
        return Step(Action.NEXT)  # it proposes to another branch
    digest = digest_of(change.new)
    last = next((each for each in pulls if each.base == base and digest and proposed(each.body)[0] == digest), None)
    if last and last.state is State.CLOSED and not again:
        problem = f"pull request {last.number} proposed it, and was closed: {last.url}"
        raise DeclinedError(f"{change.model} {version_of(change.new)}", problem, "propose it once more with --again")
    merged = side and side.tip in (each.head for each in pulls if each.state is State.MERGED)
    return Step(Action.REPLACE if side is None or side.ours or merged else Action.NEXT)


def open_pull(
    repository: Repository,
    forge: Forge,
    propose: Propose,
    *,
    branch: str,
    compose: Compose,
    requested: PullRequestStyle = NO_WISHES,
    style: Style = PLAIN,
    again: bool = False,
    furnished: str = "",
    dry_run: bool = False,
) -> Pulled:
    """Propose a change by pull request: open one, or bring the open one up to date.

    `furnished` is the commit whose pull request has its labels, reviewers and auto-merge for certain: unchanged, it is
    not asked for them again.

    Nothing is done where the base has what is wanted already, even if a pull request is open: it is the person's to
    close. Raises RefusedError as `decide` does, and RemoteError after TRIES lost races. Where the pull request stands
    but cannot get its labels, reviewers or auto-merge, the error says so and names it.
    """
    pushed: tuple[str, str, str] | None = None
    written: Pull | None = None
    for _ in tries(repository):
        change = propose(repository)
        if not change.files:
            left = (each for each in forge.find(branch) if each.state is State.OPEN and each.base == repository.branch)
            return Pulled(change, "none", branch=branch, pull=next(left, None))
        text = compose(change)
        try:
            name, side, step = _look(repository, forge, propose, change, branch, again)
        except RefusedError:
            if pushed:
                repository.put_side(*pushed)
            if written:
                _rewrite(repository, forge, propose, change, compose, written)
            raise
        if dry_run:
            return Pulled(change, "updated" if step.pull else "opened", text, name, "", step.pull)
        commit = put(repository, name, side, step.action, change, propose, style, reviewed=step.pull is not None)
        if commit is None:
            continue
        if side and side.tip != commit:
            pushed = (name, side.tip, commit)  # how it is taken back, should a newer version come in the middle
        pull, said = _say(forge, name, repository.branch, step.pull, text)
        if said:
            written = pull
        after = repository.side(name)
        if after is None or after.tip != commit or proposed(pull.body)[0] != digest_of(change.new):
            continue  # somebody was at it at the same time: look again
        moved = side is None or side.tip != commit
        action = "opened" if step.pull is None else "updated" if moved or said else "unchanged"
        if action != "unchanged" or commit != furnished:
            _furnish(forge, pull, requested, merge=step.action is not Action.APPEND)
        return Pulled(change, action, text, name, commit, pull)
    raise lost_race(repository, branch)


def _look(
    repository: Repository, forge: Forge, propose: Propose, change: Change, branch: str, again: bool
) -> tuple[str, Side | None, Step]:
    """The first branch that can be used, as it is now."""
    for number in range(1, MOST_NAMES + 1):
        name = branch if number == 1 else f"{branch}-{number}"
        side, pulls = repository.side(name), forge.find(name)
        is_open = any(each.state is State.OPEN for each in pulls)
        named = named_on(repository, side, propose) if is_open else ""
        step = decide(side, pulls, change, base=repository.branch, named=named, again=again)
        if step.action is not Action.NEXT:
            return name, side, step
    problem = f"{branch} to {branch}-{MOST_NAMES} all hold commits of people, or pull requests to other branches"
    raise RefusedError(repository.place, problem, "delete those that nobody needs")


def _say(forge: Forge, name: str, base: str, pull: Pull | None, text: Text) -> tuple[Pull, bool]:
    """Give the pull request its words; and whether there was anything to say."""
    if pull is None:
        pull = forge.create(name, base, text.title, text.body)
        if proposed(pull.body) != proposed(text.body):
            return pull, False  # somebody opened it at the same time, for something else
    title, body = titled(pull.title, text.title), placed(pull.body, text.body)
    if (title, body) == (pull.title, pull.body.replace("\r\n", "\n").strip()):
        return pull, False
    return forge.update(pull.number, title, body), True


def _rewrite(
    repository: Repository, forge: Forge, propose: Propose, change: Change, compose: Compose, pull: Pull
) -> None:
    """Let a pull request say what its branch has: ours was the last word, and not about that."""
    side = repository.side(pull.branch)
    if named := named_on(repository, side, propose):
        text = compose(replace(change, new=named))
        forge.update(pull.number, titled(pull.title, text.title), placed(pull.body, text.body))


def _furnish(forge: Forge, pull: Pull, requested: PullRequestStyle, *, merge: bool) -> None:
    """Labels, reviewers and auto-merge; all are tried, and the first error is raised.

    What waits for people's own commits is theirs to merge.
    """
    steps: list[Callable[[], None]] = []
    if requested.labels:
        steps.append(lambda: forge.label(pull.number, requested.labels))
    if requested.reviewers:
        steps.append(lambda: forge.request_reviews(pull.number, requested.reviewers))
    if requested.auto_merge and merge:
        steps.append(lambda: forge.merge_when_green(pull.number))
    failed: list[ModelpackError] = []
    for step in steps:
        try:
            step()
        except ModelpackError as error:
            failed.append(error)
    if failed:
        first = failed[0]
        raise type(first)(pull.url, f"stands, but {first.subject}: {first.problem}", first.remedy) from first
