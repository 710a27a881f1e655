"""bump, rollback."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from modelpack import gitops
from modelpack.cli.options import (
    REFERENCE,
    again_option,
    branch_option,
    dry_run_option,
    emit,
    environment_option,
    json_option,
    repo_option,
    style_options,
    via_option,
)
from modelpack.cli.pull import already, model_of, propose_by_pull, tell_pulled, value_of
from modelpack.errors import ProtectedError, RefusedError
from modelpack.gitops import digest_of
from modelpack.gitops.change import subject
from modelpack.reference import Reference
from modelpack.registry import Via
from modelpack.target import Target, parse_target

if TYPE_CHECKING:
    from modelpack.gitops.beside import Propose
    from modelpack.gitops.proposal import Report

F = TypeVar("F", bound=Callable[..., Any])

pr_option: Callable[[F], F] = click.option("--pr", is_flag=True, help="Propose it: open or update a pull request.")
pr_branch_option: Callable[[F], F] = click.option(
    "--pr-branch", default="", metavar="NAME", help="Push it to this branch and no more: no pull request."
)


@click.command()
@click.argument("references", type=REFERENCE, metavar="REF...", nargs=-1, required=True)
@repo_option
@branch_option
@environment_option
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="KEY: VALUE, ...",
    help="What to rewrite instead of model.yaml's targets, in its words (repeatable).",
)
@pr_option
@pr_branch_option
@again_option
@style_options
@dry_run_option
@via_option
@json_option
def bump(
    references: tuple[Reference, ...],
    repo: str,
    branch: str,
    environment: str,
    targets: tuple[str, ...],
    pr: bool,
    pr_branch: str,
    again: bool,
    style: gitops.Style,
    report: Report,
    dry_run: bool,
    via: tuple[str, ...],
    as_json: bool,
) -> None:
    """Name model versions in Git: the smallest edit, one commit.

    Sets what model.yaml names as targets to REF, pinned by digest, and pushes. If somebody pushes first, the edit is
    made again on the new tip. Where Git names REF already there is no commit. Several models change in one commit.

    With --pr it is proposed: each model has one branch and one open pull request, which a newer version updates. What
    a person closed is not proposed again, unless --again says so. The forge (GitHub, GitLab, Gitea, Forgejo) is told by
    the remote's address or by model.yaml's pullRequest; its token is $GITHUB_TOKEN, $GITLAB_TOKEN, $GITEA_TOKEN, or
    what git's credential helper has.

    \b
    Examples:
      modelpack bump registry.example.com/models/mpg:v2
      modelpack bump registry.example.com/models/mpg:v2 --dry-run
      modelpack bump registry.example.com/models/mpg:v2 --repo git@example.com:team/serving.git --branch main
      modelpack bump registry.example.com/models/mpg:v2 --pr --report report.json --report https://ci.example.com/7
      modelpack bump registry.example.com/models/mpg:v2 --target 'file: values.yaml, values: model.image'

    Exit codes: 2 usage, or a target that matches nothing or twice, 3 unknown model, environment or file, 4 a rejected
    model, a refused push, a closed or newer pull request, 5 registry, Git server or forge failed.
    """
    from modelpack.fetch import resolve

    _check(pr, pr_branch, again)
    rules = Via.from_environ(via)
    asked: dict[str, Any] = {"via": rules, "report": report, "style": style, "again": again, "dry_run": dry_run}
    places = tuple(parse_target(each) for each in targets)
    found = [resolve(each, rules) for each in references]
    for each in references:
        if (
            each.tag
            and each.digest
            and (there := resolve(each.at(tag=each.tag), rules).reference.digest) != each.digest
        ):
            raise RefusedError(
                each, f"tag {each.tag} is another image, {there[:19]}", "leave out the tag or the digest"
            )
    wanted = [gitops.Wanted(each.reference, each.version, each.model_digest, each.model) for each in found]
    with _opened(repo, branch, environment, references[0]) as (repository, named):
        if pr:
            _bump_of(wanted, named, places)(repository)  # all may go, or none does
            ask = partial(propose_by_pull, repository, environment=environment, **asked)
            pulled = (ask(propose=_bump_of(each, named, places), wanted=each.reference) for each in wanted)
            tell_pulled(pulled, repository.branch, dry_run, as_json)
            return
        if pr_branch:
            propose = _bump_of(wanted, named, places)
            _put_aside(repository, propose, pr_branch, style, dry_run, as_json)
            return
        with _proposable():
            change, commit = gitops.bump(repository, wanted, dry_run, environment=named, targets=places, style=style)
        _report(change, commit, repository.branch, dry_run, as_json)


@click.command()
@click.argument("model", metavar="MODEL|REF")
@repo_option
@branch_option
@environment_option
@pr_option
@pr_branch_option
@again_option
@style_options
@dry_run_option
@via_option
@json_option
def rollback(
    model: str,
    repo: str,
    branch: str,
    environment: str,
    pr: bool,
    pr_branch: str,
    again: bool,
    style: gitops.Style,
    report: Report,
    dry_run: bool,
    via: tuple[str, ...],
    as_json: bool,
) -> None:
    """Return to the version before, in a new commit.

    The version before is taken from the branch's history; rejected ones are passed over. The commit also annotates the
    pod template with modelpack.dev/rollback, so that the gate lets the older model pass once it is healthy.

    \b
    Examples:
      modelpack rollback mpg
      modelpack rollback mpg --pr
      modelpack rollback registry.example.com/models/mpg --repo git@example.com:team/serving.git

    Exit codes: 3 unknown model, or nothing before, 4 a refused push, a closed or newer pull request, 5 Git server or
    forge failed.
    """
    from modelpack.gitops.proposal import Kind
    from modelpack.gitops.rollback import rollback_of

    _check(pr, pr_branch, again)
    rules = Via.from_environ(via)
    asked: dict[str, Any] = {"via": rules, "report": report, "style": style, "again": again, "dry_run": dry_run}
    wanted = Reference.parse(model) if "/" in model else model
    with _opened(repo, branch, environment, wanted) as (repository, named):
        propose = rollback_of(repository, wanted, named)
        if pr:
            ask = partial(propose_by_pull, repository, environment=environment, kind=Kind.ROLLBACK, **asked)
            pulled = (ask(propose=each, wanted=wanted) for each in (propose,))
            tell_pulled(pulled, repository.branch, dry_run, as_json)
            return
        if pr_branch:
            _put_aside(repository, propose, pr_branch, style, dry_run, as_json)
            return
        with _proposable():
            change, commit = gitops.rollback(repository, wanted, dry_run, environment=named, style=style)
        _report(change, commit, repository.branch, dry_run, as_json)


def _check(pr: bool, pr_branch: str, again: bool) -> None:
    if pr and pr_branch:
        raise click.UsageError("--pr and --pr-branch exclude each other: --pr names its branch itself.")
    if again and not pr:
        raise click.UsageError("--again goes with --pr.")


@contextmanager
def _opened(
    repo: str, branch: str, environment: str, wanted: Reference | str
) -> Iterator[tuple[gitops.Repository, str]]:  # fmt: skip
    """The repository that holds an environment's files, and the environment as its model.yaml calls it."""
    from modelpack.gitops.environment import environment_of, home_of

    with gitops.open_repository(repo, branch) as repository:
        if not environment:
            yield repository, ""
            return
        model = model_of(repository, wanted)
        chosen = environment_of(model.definition, environment, f"{model.folder}/model.yaml")
        location, home = home_of(chosen, repo, branch)
        if (location, home) == (repo, branch):
            yield repository, environment
            return
    with gitops.open_repository(location, home) as repository:
        known = model_of(repository, wanted).definition.environments
        yield repository, environment if environment in (each.name for each in known) else ""


def _bump_of(wanted: gitops.Wanted | Sequence[gitops.Wanted], named: str, places: tuple[Target, ...]) -> Propose:
    return lambda tip: gitops.propose_bump(tip, wanted, named, places)


def _put_aside(
    repository: gitops.Repository, propose: Propose, name: str, style: gitops.Style, dry_run: bool, as_json: bool
) -> None:
    from modelpack.gitops.beside import push_side

    change, commit = push_side(repository, propose, branch=name, style=style, dry_run=dry_run)
    _report(change, commit, name if change.files else repository.branch, dry_run, as_json)


@contextmanager
def _proposable() -> Iterator[None]:
    try:
        yield
    except ProtectedError as error:
        raise RefusedError(error.subject, error.problem, "propose it with --pr") from error


def _report(change: gitops.Change, commit: str, branch: str, dry_run: bool, as_json: bool) -> None:
    if not change.files:
        text = already(change, branch)
    elif dry_run:
        text = change.diff.rstrip("\n")
    else:
        text = f"{subject(change.parts)} ({digest_of(change.new)[:19]}) committed {commit[:7]} to {branch}"
    emit(value_of(change, commit, branch), "\n".join((text, *change.notes)), as_json)
