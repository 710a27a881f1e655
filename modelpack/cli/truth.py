"""settle, history, reject, unreject, rejected: what Git says afterwards, and what it said before."""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import click

from modelpack.cli.options import (
    REFERENCE,
    branch_option,
    dry_run_option,
    emit,
    json_option,
    repo_option,
    table,
    via_option,
)
from modelpack.errors import InconclusiveError, InputError, ModelpackError
from modelpack.reference import Reference
from modelpack.registry import Via

if TYPE_CHECKING:
    from modelpack import gitops
    from modelpack.gitops.history import Entry
    from modelpack.reconcile.settle import Outcome

_WATCH_SECONDS = 10.0

reason_option = click.option("--reason", default="", metavar="TEXT", help="Why; it stands in Git.")


@click.command()
@click.option("--gate", required=True, metavar="URL", help="The gate's address.")
@repo_option
@branch_option
@click.option("--watch", is_flag=True, help=f"Go on for ever, every {_WATCH_SECONDS:.0f} s.")
@via_option
@json_option
def settle(gate: str, repo: str, branch: str, watch: bool, via: tuple[str, ...], as_json: bool) -> None:
    """After a failed rollout, make Git say what serves.

    Asks the gate for failed rollouts that nobody settled. Where Git still names the failed image, one commit puts back
    the one that the primary serves and adds the failed one to rejected.yaml; then the gate is told. Where the branch is
    protected, a pull request proposes it, and the gate is told once that is merged.

    \b
    Examples:
      modelpack settle --gate http://gate.example.com
      modelpack settle --gate http://127.0.0.1:8080 --repo git@example.com:team/serving.git --watch

    Exit codes: 4 a refused push, 5 gate or Git server failed, 8 a person has to look, or to merge.
    """
    rules = Via.from_environ(via)
    said: set[str] = set()
    while watch:
        before, said = said, set()
        try:
            _settle(gate, repo, branch, rules, as_json, before, said)
        except ModelpackError as error:  # a push refused today may pass tomorrow
            said.add(str(error))
            if str(error) not in before:
                click.echo(f"error: {error}", err=True)
        time.sleep(_WATCH_SECONDS)
    _settle(gate, repo, branch, rules, as_json)


def _settle(
    gate: str,
    repo: str,
    branch: str,
    via: Via,
    as_json: bool,
    before: Collection[str] | None = None,
    said: set[str] | None = None,
) -> None:
    """One round. In a watch, what the round before said is not said again, and nothing is said about nothing."""
    from modelpack.reconcile.settle import Action, settle_once

    outcomes: list[Outcome] = []
    failure: ModelpackError | None = None
    try:
        for outcome in settle_once(gate, repo, branch, via):
            outcomes.append(outcome)
    except ModelpackError as error:  # what was done before is told first
        failure = error
    lines = "\n".join(map(_line, outcomes))
    if said is not None:
        said.add(lines)
    if (outcomes or not (failure or before is not None)) and lines not in (before or ()):
        value = {"outcomes": [{**vars(each), "action": each.action.value} for each in outcomes]}
        emit(value, lines or "nothing to settle", as_json)
    if failure:
        raise failure
    for each in outcomes:
        about = f"{each.model} rollout {each.rollout}"
        if each.action is Action.PROPOSE:
            raise InconclusiveError(about, f"a person has to merge {each.pull}", "the gate is told afterwards")
        if each.action is Action.HOLD:
            raise InconclusiveError(about, "a person has to look", "Git was left as it is")


def _line(outcome: Outcome) -> str:
    commit = f" (commit {outcome.commit[:7]})" if outcome.commit else ""
    where = f" {outcome.pull}" if outcome.pull else ""
    return f"{outcome.model}: {outcome.action.value}, {outcome.note}{where}{commit}"


@click.command()
@click.argument("reference", type=REFERENCE, metavar="REF")
@reason_option
@repo_option
@branch_option
@dry_run_option
@via_option
@json_option
def reject(
    reference: Reference, reason: str, repo: str, branch: str, dry_run: bool, via: tuple[str, ...], as_json: bool
) -> None:
    """Record a version that must not be proposed again.

    Adds REF to the model's rejected.yaml: bump, promote and pull requests refuse it from then on, whatever tag carries
    it. What Git names now stays; modelpack rollback changes that. With a digest in REF no registry is needed.

    \b
    Examples:
      modelpack reject registry.example.com/models/mpg:v2 --reason "trained on last year's data"
      modelpack reject registry.example.com/models/mpg:v2 --repo git@example.com:team/serving.git --dry-run

    Exit codes: 3 unknown model or version, 4 a refused push, 5 registry or Git server failed.
    """
    from modelpack import gitops
    from modelpack.gitops.reject import propose_reject

    wanted = _wanted(reference, Via.from_environ(via))
    with gitops.open_repository(repo, branch) as repository:
        change, commit = gitops.land(repository, lambda tip: propose_reject(tip, wanted, reason), dry_run)
    what = f"{change.model}: {gitops.version_of(change.new)}"
    _report(change, commit, branch, dry_run, f"{what} rejected", f"{what} is rejected already", as_json)


@click.command()
@click.argument("what", metavar="REF|VERSION|DIGEST")
@click.argument("model", metavar="[MODEL]", default="")
@reason_option
@repo_option
@branch_option
@dry_run_option
@json_option
def unreject(
    what: str, model: str, reason: str, repo: str, branch: str, dry_run: bool, as_json: bool
) -> None:  # fmt: skip
    """Lift a rejection.

    Takes the entries about a version out of rejected.yaml, and leaves every other byte of it alone. An image REF names
    its model itself; a VERSION or a DIGEST goes with MODEL.

    \b
    Examples:
      modelpack unreject v2 mpg --reason "the golden set was wrong"
      modelpack unreject registry.example.com/models/mpg:v2

    Exit codes: 3 unknown model, or not rejected, 4 a refused push, 5 the Git server failed.
    """
    from modelpack import gitops
    from modelpack.gitops.reject import propose_unreject

    if not model and "/" not in what:
        raise InputError(what, "may be a version of any model", f"name its model: modelpack unreject {what} MODEL")
    wanted = what if model else Reference.parse(what)
    with gitops.open_repository(repo, branch) as repository:
        change, commit = gitops.land(repository, lambda tip: propose_unreject(tip, wanted, model, reason), dry_run)
    text = f"{change.model}: the rejection of {gitops.version_of(change.new)} is lifted"
    _report(change, commit, branch, dry_run, text, text, as_json)


@click.command()
@click.argument("model", metavar="[MODEL]", default="")
@repo_option
@branch_option
@json_option
def rejected(model: str, repo: str, branch: str, as_json: bool) -> None:
    """List what was rejected, and why, of one model or of all.

    \b
    Examples:
      modelpack rejected mpg
      modelpack rejected --repo git@example.com:team/serving.git --json
    """
    from modelpack import gitops
    from modelpack.gitops.models import every

    with gitops.open_repository(repo, branch) as repository:
        models = (gitops.by_name(repository, model),) if model else every(repository)
        found = [(each.name, entry) for each in models for entry in gitops.rejected(repository, each)]
    rows = [
        (name, each.label or each.model[:19], each.image.partition("@")[2][7:19], each.at, each.rollout, each.reason)
        for name, each in found
    ]
    value = {"rejected": [{**vars(entry), "name": name} for name, entry in found]}
    emit(value, table(rows) or "nothing is rejected", as_json)


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--env", "environment", default="", metavar="NAME", help="Of this environment alone.  [default: of all]")
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="The newest so many; 0 for all.")
@repo_option
@branch_option
@json_option
def history(model: str, environment: str, limit: int, repo: str, branch: str, as_json: bool) -> None:
    """What served when, why it changed, and who decided: from Git alone.

    One line for each commit of the branch that changed what the model's targets name, or what is rejected, newest
    first. Pull requests are told as their merge. Times are those of the commits, in UTC.

    \b
    Examples:
      modelpack history mpg
      modelpack history mpg --env production --limit 0 --json

    Exit codes: 3 unknown model or environment, 5 the Git server failed.
    """
    from modelpack import gitops
    from modelpack.gitops.history import history as past

    with gitops.open_repository(repo, branch) as repository:
        entries = past(repository, model, environment, limit)
    emit({"model": model, "entries": [_entry(each) for each in entries]}, table(map(_row, entries)), as_json)


def _wanted(reference: Reference, via: Via) -> gitops.Wanted:
    from modelpack import gitops
    from modelpack.fetch import resolve

    try:
        found = resolve(reference, via)
    except ModelpackError:
        if not reference.digest:
            raise
        return gitops.Wanted(reference, reference.tag, "")  # rejecting does not wait for a registry
    return gitops.Wanted(found.reference, found.version, found.model_digest)


def _report(
    change: gitops.Change, commit: str, branch: str, dry_run: bool, done: str, idle: str, as_json: bool
) -> None:
    text = change.diff.rstrip("\n") if dry_run and change.files else f"{done}, committed {commit[:7]} to {branch}"
    value = {
        "model": change.model,
        "image": change.new,
        "branch": branch,
        "commit": commit,
        "changed": bool(change.files),
        "diff": change.diff,
    }
    emit(value, text if change.files else idle, as_json)


def _entry(entry: Entry) -> dict[str, object]:
    from modelpack.gitops import digest_of, version_of

    sides = {
        side: {"image": image, "version": version_of(image), "digest": digest_of(image)} if image else None
        for side, image in (("from", entry.old), ("to", entry.new))
    }
    values = {key: value for key, value in vars(entry).items() if key not in ("old", "new")}
    turned = {key: [vars(each) for each in values.pop(key)] for key in ("rejected", "lifted")}
    return {**values, **sides, **turned, "at": _when(entry.at)}


def _row(entry: Entry) -> tuple[str, ...]:
    from modelpack.gitops import digest_of, version_of

    sides = [version_of(image) or "(none)" for image in (entry.old, entry.new)]
    moves = " -> ".join(sides) if entry.old or entry.new else ""
    bad = [f"rejected {each.label}" for each in entry.rejected] + [f"lifted {each.label}" for each in entry.lifted]
    why = entry.why + (f": {entry.reason}" if entry.reason else "")
    by = entry.by + (f" (committed by {entry.committer})" if entry.committer else "")
    digest = digest_of(entry.new)[7:19]
    return _when(entry.at), entry.commit[:7], entry.environment, moves, digest, ", ".join(bad), why, by, entry.report


def _when(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
