"""bump, rollback, settle."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from modelpack import gitops
from modelpack.cli.options import REFERENCE, branch_option, emit, json_option, repo_option, via_option
from modelpack.errors import InconclusiveError, ModelpackError
from modelpack.gitops import digest_of, version_of
from modelpack.reference import Reference
from modelpack.registry import Via

F = TypeVar("F", bound=Callable[..., Any])
_WATCH_SECONDS = 10.0

dry_run_option: Callable[[F], F] = click.option("--dry-run", is_flag=True, help="Show the change, make none.")


@click.command()
@click.argument("reference", type=REFERENCE, metavar="REF")
@repo_option
@branch_option
@dry_run_option
@via_option
@json_option
def bump(
    reference: Reference, repo: str, branch: str, dry_run: bool, via: tuple[str, ...], as_json: bool
) -> None:  # fmt: skip
    """Name a model version in Git: one line, one commit.

    Sets the image of the init container that model.yaml names to REF, pinned by digest, and pushes. If somebody pushes
    first, the edit is made again on the new tip. Where Git names REF already there is no commit.

    \b
    Examples:
      modelpack bump registry.example.com/models/mpg:v2
      modelpack bump registry.example.com/models/mpg:v2 --dry-run
      modelpack bump registry.example.com/models/mpg:v2 --repo git@example.com:team/serving.git --branch main

    Exit codes: 3 unknown model or target, 4 a rejected model or a refused push, 5 registry or Git server failed.
    """
    from modelpack.fetch import resolve

    resolved = resolve(reference, Via.from_environ(via))
    wanted = gitops.Wanted(resolved.reference, resolved.version, resolved.model_digest)
    with gitops.open_repository(repo, branch) as repository:
        _report(*gitops.bump(repository, wanted, dry_run), branch, dry_run, as_json)


@click.command()
@click.argument("model", metavar="MODEL|REF")
@repo_option
@branch_option
@dry_run_option
@json_option
def rollback(model: str, repo: str, branch: str, dry_run: bool, as_json: bool) -> None:
    """Return to the version before, in a new commit.

    The version before is taken from the branch's history; rejected ones are passed over. The commit also annotates the
    pod template with modelpack.dev/rollback, so that the gate lets the older model pass once it is healthy.

    \b
    Examples:
      modelpack rollback mpg
      modelpack rollback registry.example.com/models/mpg --repo git@example.com:team/serving.git

    Exit codes: 3 unknown model, or nothing before, 4 a refused push, 5 the Git server failed.
    """
    named = Reference.parse(model) if "/" in model else model
    with gitops.open_repository(repo, branch) as repository:
        _report(*gitops.rollback(repository, named, dry_run), branch, dry_run, as_json)


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
    the one that the primary serves and adds the failed one to rejected.yaml; then the gate is told.

    \b
    Examples:
      modelpack settle --gate http://gate.example.com
      modelpack settle --gate http://127.0.0.1:8080 --repo git@example.com:team/serving.git --watch

    Exit codes: 4 a refused push, 5 gate or Git server failed, 8 a person has to look.
    """
    rules = Via.from_environ(via)
    while watch:
        try:
            _settle(gate, repo, branch, rules, as_json, quiet=True)
        except ModelpackError as error:  # a push refused today may pass tomorrow
            click.echo(f"error: {error}", err=True)
        time.sleep(_WATCH_SECONDS)
    _settle(gate, repo, branch, rules, as_json, quiet=False)


def _settle(gate: str, repo: str, branch: str, via: Via, as_json: bool, *, quiet: bool) -> None:
    from modelpack.reconcile.settle import Action, Outcome, settle_once

    outcomes: list[Outcome] = []
    failure: ModelpackError | None = None
    try:
        for outcome in settle_once(gate, repo, branch, via):
            outcomes.append(outcome)
    except ModelpackError as error:  # what was done before is told first
        failure = error
    if outcomes or not (quiet or failure):
        lines = [
            f"{each.model}: {each.action.value}, {each.note}" + (f" (commit {each.commit[:7]})" if each.commit else "")
            for each in outcomes
        ]
        value = {"outcomes": [{**vars(each), "action": each.action.value} for each in outcomes]}
        emit(value, "\n".join(lines) or "nothing to settle", as_json)
    if failure:
        raise failure
    for each in outcomes:
        if each.action is Action.HOLD:
            raise InconclusiveError(
                f"{each.model} rollout {each.rollout}", "a person has to look", "Git was left as it is"
            )


def _report(change: gitops.Change, commit: str, branch: str, dry_run: bool, as_json: bool) -> None:
    new, digest = version_of(change.new), digest_of(change.new)
    if not change.files:
        text = f"{change.model}: already {new} ({digest[:19]}) on {branch}"
    elif dry_run:
        text = change.diff.rstrip("\n")
    else:
        text = (
            f"{change.model}: {gitops.step(change.old, change.new)} ({digest[:19]}) committed {commit[:7]} to {branch}"
        )
    value = {
        "model": change.model,
        "old": change.old,
        "new": change.new,
        "version": new,
        "digest": digest,
        "branch": branch,
        "commit": commit,
        "changed": bool(change.files),
        "diff": change.diff,
    }
    emit(value, text, as_json)
