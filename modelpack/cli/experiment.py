"""`modelpack experiment`: the experimental pipeline against the one in production."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelpack.cli.known import asked_for, folder_of, location_of
from modelpack.cli.options import branch_option, emit, pull_options, repo_option
from modelpack.cli.train import follow, leave, sentence, state_option, value_of

if TYPE_CHECKING:
    from modelpack.forge import Forge
    from modelpack.gitops import Repository
    from modelpack.gitops.pull import Pulled
    from modelpack.registry import Via
    from modelpack.training.run import Run, Seen


@click.command()
@click.argument("model", metavar="MODEL")
@repo_option
@branch_option
@state_option
@click.option("--pr/--no-pr", "by_pull", default=False, show_default=True, help="Propose it, if it passes.")
@pull_options
def experiment(
    model: str,
    repo: str,
    branch: str,
    state: Path | None,
    by_pull: bool,
    again: bool,
    dry_run: bool,
    via: tuple[str, ...],
    as_json: bool,
) -> None:
    """Hold the experimental pipeline against the one in production.

    Both stand in model-images/MODEL/training.yaml, as experiment and train. Each learns from the same folds of the
    same data, on this machine; every row is predicted by models that did not see it. With --pr, one that passes is
    proposed by a pull request with the table: its notebook or script in the place of the production one.

    \b
    Examples:
      modelpack experiment mpg
      modelpack experiment mpg --repo git@example.com:team/serving.git --pr

    Exit codes: 0 it passed; 2 a pipeline failed; 3 unknown model, data or file; 4 it did not pass, or was closed by a
    person before; 5 Git, forge or storage failed: try again.
    """
    from modelpack.gitops import open_repository
    from modelpack.registry import Via
    from modelpack.runs.local import Local

    rules, folder = Via.from_environ(via), folder_of(state)
    with open_repository(repo, branch) as repository:
        if by_pull:  # what cannot be proposed need not be trained
            _forge(repository, model)
        asked = asked_for(
            repository, repo, model, rules, folder, parameters={}, reason="an experiment", kind="experiment"
        )
    run, backend = asked.run, Local(folder, rules, location_of(repo))
    backend.start(run, asked.training)
    click.echo(f"{run.id} compares the pipelines of {run.model} on {run.data}", err=True)
    seen = follow(backend, run, shown=not as_json and sys.stderr.isatty())
    pulled = _propose(repo, branch, run, seen, rules, again, dry_run) if by_pull else None
    _report(run, seen, pulled, dry_run, as_json)
    leave(run, seen)


def _propose(repo: str, branch: str, run: Run, seen: Seen, via: Via, again: bool, dry_run: bool) -> Pulled | None:
    """Open the pull request of an experiment that passed, or bring it up to date."""
    from modelpack.gitops import by_name, open_repository
    from modelpack.gitops.pull import open_pull
    from modelpack.training import adopt

    found = seen.result.evaluation if seen.result else None
    if found is None or not found.passed:
        return None
    with open_repository(repo, branch) as repository:
        requested = by_name(repository, run.model).definition.pull_request
        return open_pull(
            repository,
            _forge(repository, run.model),
            adopt.propose(run),
            branch=adopt.branch_of(run.model),
            compose=adopt.compose(found),
            requested=requested,
            again=again,
            dry_run=dry_run,
        )


def _forge(repository: Repository, model: str) -> Forge:
    """Raises InputError where the remote is no forge's, RefusedError without a token."""
    from modelpack.forge import open_forge
    from modelpack.gitops import by_name

    requested = by_name(repository, model).definition.pull_request
    return open_forge(repository.remote_url, requested, repository.credentials)


def _report(run: Run, seen: Seen, pulled: Pulled | None, dry_run: bool, as_json: bool) -> None:
    from modelpack.quality import as_text

    value: dict[str, Any] = {**value_of(run, seen), "pullRequest": None}
    found = seen.result.evaluation if seen.result else None
    lines = [as_text(found) if found else sentence(run, seen)]
    if pulled:
        pull = pulled.pull
        value["pullRequest"] = {
            "action": pulled.action,
            "number": pull.number if pull else None,
            "url": pull.url if pull else "",
            "branch": pulled.branch,
            "title": pulled.text.title,
            "body": pulled.text.body,
        }
        where = f": {pull.url}" if pull else ""
        lines.append(f"pull request {'not opened (dry run)' if dry_run else pulled.action}{where}")
    emit(value, "\n\n".join(lines), as_json)
