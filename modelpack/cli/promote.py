"""promote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from modelpack.cli.options import branch_option, emit, pull_options, repo_option
from modelpack.errors import InputError

if TYPE_CHECKING:
    from modelpack.gitops import Change
    from modelpack.gitops.pull import Pulled
    from modelpack.reconcile.promote import Promotion


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--from", "source", required=True, metavar="ENV", help="The environment that serves it.")
@click.option("--to", "target", required=True, metavar="ENV", help="The environment that gets it.")
@click.option(
    "--pr/--no-pr", "by_pull", default=True, show_default=True, help="By a pull request, or straight to the branch."
)
@click.option("--gate", default="", metavar="URL", help="The first environment's gate.  [default: model.yaml's]")
@repo_option
@branch_option
@pull_options
def promote(
    model: str,
    source: str,
    target: str,
    by_pull: bool,
    gate: str,
    repo: str,
    branch: str,
    again: bool,
    dry_run: bool,
    via: tuple[str, ...],
    as_json: bool,
) -> None:
    """Bring what serves in one environment to the next.

    Environments are named in model.yaml. The image that Git names in the first goes to the second, by digest, if the
    gate saw its newest rollout there promoted, nothing was promoted or went wrong since, and neither environment has
    rejected it. The pull request shows what the gate found. A newer version is never replaced by an older one.

    \b
    Examples:
      modelpack promote mpg --from staging --to production
      modelpack promote mpg --from staging --to production --gate http://127.0.0.1:8080 --dry-run
      modelpack promote mpg --from staging --to production --no-pr --repo git@example.com:team/serving.git

    Exit codes: 0 done, or there already; 3 unknown model, environment or image; 4 it may not go on, or a refused push;
    5 gate, registry, Git server or forge failed.
    """
    from modelpack import gitops
    from modelpack.gitops.request import request
    from modelpack.reconcile.promote import open_stages, prepare
    from modelpack.registry import Via

    if source == target:
        raise InputError("--to", f"is {target} as well", "name two environments")
    if again and not by_pull:
        raise InputError("--again", "goes with a pull request", "leave out --no-pr")
    rules = Via.from_environ(via)
    with open_stages(repo, branch, model, source, target) as (first, second):
        promotion = prepare(first, second, rules, gate)
        if by_pull:
            pulled = request(
                second.repository,
                promotion.propose,
                model=model,
                environment=target,
                requested=second.model.definition.pull_request,
                via=rules,
                report=promotion.judged,
                again=again,
                dry_run=dry_run,
            )
            _report(promotion, pulled.change, pulled.commit, dry_run, as_json, pulled)
        else:
            change, commit = gitops.land(second.repository, promotion.propose, dry_run)
            _report(promotion, change, commit, dry_run, as_json)


def _report(
    promotion: Promotion, change: Change, commit: str, dry_run: bool, as_json: bool, pulled: Pulled | None = None
) -> None:
    from modelpack.gitops import digest_of, step, version_of

    target, new = promotion.target, version_of(change.new)
    branch = target.repository.branch
    if not change.files:
        action, text = "none", f"{change.model}: {target.name} has {new} already, on {branch}"
    elif dry_run:
        action, text = "none", change.diff.rstrip("\n")
    else:
        where = f"committed {commit[:7]} to {branch}"
        if pulled and pulled.pull:
            where = f"pull request {pulled.action}, {pulled.pull.url}"
        action = pulled.action if pulled else "committed"
        text = f"{change.model}: {promotion.source} -> {target.name}, {step(change.old, change.new)}: {where}"
    value: dict[str, Any] = {
        "model": change.model,
        "from": promotion.source,
        "to": target.name,
        "old": change.old,
        "new": change.new,
        "version": new,
        "digest": digest_of(change.new),
        "rollout": promotion.rollout.id if promotion.rollout else None,
        "page": promotion.page or None,
        "action": action,
        "branch": pulled.branch if pulled else branch,
        "commit": commit,
        "changed": bool(change.files),
        "pull": {"number": pulled.pull.number, "url": pulled.pull.url} if pulled and pulled.pull else None,
        "diff": change.diff,
    }
    emit(value, "\n".join([text, *change.notes]), as_json)
