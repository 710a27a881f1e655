"""A pull request from the command line: opened as the options say, and told about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from modelpack import gitops
from modelpack.cli.options import emit
from modelpack.errors import ModelpackError, NotFoundError
from modelpack.gitops import digest_of, version_of
from modelpack.gitops.change import subject
from modelpack.reference import Reference

if TYPE_CHECKING:
    from modelpack.gitops.beside import Propose
    from modelpack.gitops.pull import Pulled


def propose_by_pull(
    repository: gitops.Repository, *, propose: Propose, wanted: Reference | str, environment: str, **asked: Any
) -> Pulled:
    """Propose a change of the model that is given by name or image; `asked` goes to `gitops.request`."""
    from modelpack.definition import PullRequestStyle
    from modelpack.gitops.request import request

    first = propose(repository)
    try:
        requested = model_of(repository, wanted).definition.pull_request
    except NotFoundError:  # --target needs no model.yaml
        requested = PullRequestStyle()
    environment = environment or first.environment
    return request(repository, propose, model=first.model, environment=environment, requested=requested, **asked)


def tell_pulled(pulled: Iterable[Pulled], base: str, dry_run: bool, as_json: bool) -> None:
    """Print what was proposed; an error ends it, after what was done before."""
    done: list[Pulled] = []
    failure: ModelpackError | None = None
    try:
        for each in pulled:
            done.append(each)
    except ModelpackError as error:
        failure = error
    values = [{**value_of(each.change, each.commit, each.branch), "pullRequest": _pull_value(each)} for each in done]
    if done:
        text = "\n".join(_pull_text(each, base, dry_run) for each in done)
        emit(values[0] if len(values) == 1 else {"changes": values}, text, as_json)
    if failure:
        raise failure


def _pull_value(pulled: Pulled) -> dict[str, Any]:
    pull = pulled.pull
    value: dict[str, Any] = {"action": pulled.action, "number": None, "url": ""}
    value |= {"number": pull.number, "url": pull.url} if pull else {}
    return value | {"branch": pulled.branch, "title": pulled.text.title, "body": pulled.text.body}


def _pull_text(pulled: Pulled, base: str, dry_run: bool) -> str:
    change, pull = pulled.change, pulled.pull
    where = f"pull request {pull.number}: {pull.url}" if pull else "a new pull request"
    if pulled.action == "none":
        left = f"; still open is {where}" if pull else ""
        return f"{already(change, base)}{left}"
    what = f"{subject(change.parts)} ({digest_of(change.new)[:19]})"
    if dry_run:
        head = f"{'updates' if pull else 'opens'} {where}"
        return f"{change.diff.rstrip()}\n\n{head}, from {pulled.branch}\n\n{pulled.text.title}\n\n{pulled.text.body}"
    done = "proposed already by" if pulled.action == "unchanged" else pulled.action
    return "\n".join((f"{what} {done} {where}", *change.notes))


def model_of(repository: gitops.Repository, wanted: Reference | str) -> gitops.Model:
    """The model that is given by name or image."""
    find = gitops.by_image if isinstance(wanted, Reference) else gitops.by_name
    return find(repository, wanted)  # type: ignore[arg-type]


def already(change: gitops.Change, branch: str) -> str:
    """That there is nothing to do."""
    named = ", ".join(f"{each.model}: already {version_of(each.new)}" for each in change.parts)
    return f"{named} ({digest_of(change.new)[:19]}) on {branch}"


def value_of(change: gitops.Change, commit: str, branch: str) -> dict[str, Any]:
    """A change as JSON."""
    return {
        "model": change.model,
        "environment": change.environment,
        "old": change.old,
        "new": change.new,
        "version": version_of(change.new),
        "digest": digest_of(change.new),
        "branch": branch,
        "commit": commit,
        "changed": bool(change.files),
        "diff": change.diff,
        "models": [{"model": each.model, "old": each.old, "new": each.new} for each in change.parts],
        "notes": list(change.notes),
    }
