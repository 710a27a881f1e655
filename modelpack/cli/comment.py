"""`modelpack comment` and `modelpack changed`: what a pipeline needs beside the commands that people use."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import click

from modelpack.cli.options import branch_option, emit, json_option, repo_option
from modelpack.errors import InputError, NotFoundError

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PULL_REF = re.compile(r"refs/pull/([1-9][0-9]{0,17})/(?:merge|head)")


@click.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="REPORT")
@click.option("--pr", "number", type=click.IntRange(min=1), metavar="N", help="Its number.  [default: the pipeline's]")
@click.option("--link", metavar="URL", help="Where there is more.  [default: the pipeline's page]")
@click.option("--dry-run", is_flag=True, help="Print the comment, write none.")
@click.option(
    "--brief", is_flag=True, help="Print the report in one line, without what grows with time; write nothing."
)
@repo_option
@branch_option
@json_option
def comment(
    file: Path, number: int | None, link: str | None, dry_run: bool, brief: bool, repo: str, branch: str, as_json: bool
) -> None:  # fmt: skip
    """Write a rollout's report into a pull request.

    REPORT is a rehearsal's report.json or the folder with it, or a rollout as the gate gives it. There is one comment a
    model: the next report takes its place. Which forge it is, and its token, are found as for `modelpack bump --pr`.

    \b
    Examples:
      modelpack comment reports/report.json --pr 12 --repo git@example.com:team/serving.git
      modelpack comment reports/report.json --dry-run

    Exit codes: 2 no report, or no pull request, 4 the forge refused, 5 it did not answer.
    """
    from modelpack.gitops import report as reports

    file = file / "report.json" if file.is_dir() else file
    try:
        report = reports.parse(file.read_bytes(), str(file))
    except FileNotFoundError as error:
        raise NotFoundError(file, "there is no such file", "name a rehearsal's report.json") from error
    except OSError as error:
        raise InputError(file, f"cannot be read: {error.strerror}") from error
    if brief:
        click.echo(json.dumps(reports.brief(report)))
        return
    model = reports.model_of(report)
    if not _NAME.fullmatch(model):
        raise InputError(file, "names no model", "give a rehearsal's report.json, or a rollout of the gate")
    mark = f"<!-- modelpack report {model} -->"
    body = f"{mark}\n{reports.markdown(report, pipeline_page(os.environ) if link is None else link)}"
    url = ""
    if not dry_run:
        number = number or pull_number(os.environ)
        if not number:
            raise InputError("--pr", "is missing, and this is no pull request's pipeline", "say which, like --pr 12")
        url = _write(repo, branch, model, number, body, mark)
    value = {"model": model, "pullRequest": number, "url": url, "markdown": body}
    emit(value, body.rstrip("\n") if dry_run else f"{model}: report in {url}", as_json)


@click.command()
@click.option("--base", default="HEAD^", show_default=True, metavar="COMMIT", help="Since this commit.")
@json_option
def changed(base: str, as_json: bool) -> None:
    """List the models that the checkout's last commits changed.

    One a line: its name, its folder, and the version that the changed files name, if they do.

    \b
    Example:
      modelpack changed --base origin/main

    Exit codes: 2 a changed model.yaml cannot be read, 3 no such commit.
    """
    from modelpack.gitops.changed import changed_since

    found = changed_since(Path(), base)
    for each in found:
        if not each.folder.isprintable():
            raise InputError(ascii(each.folder), "is a folder's name with control characters", "rename it")
    lines = (f"{each.model}\t{each.folder}\t{each.version}" for each in found)
    if found or as_json:
        emit({"changed": [vars(each) for each in found]}, "\n".join(lines), as_json)


def pull_number(environ: Mapping[str, str]) -> int | None:
    """The pull request that a pipeline of GitHub, GitLab, Gitea or Forgejo runs for."""
    request = environ.get("CI_MERGE_REQUEST_IID", "")
    if re.fullmatch(r"[1-9][0-9]{0,17}", request):
        return int(request)
    found = _PULL_REF.fullmatch(environ.get("GITHUB_REF", ""))
    return int(found[1]) if found else None


def pipeline_page(environ: Mapping[str, str]) -> str:
    """The page of the pipeline that runs, "" outside of one."""
    if page := environ.get("CI_JOB_URL"):
        return page
    server, repository, run = (environ.get(f"GITHUB_{key}", "") for key in ("SERVER_URL", "REPOSITORY", "RUN_ID"))
    return f"{server}/{repository}/actions/runs/{run}" if server and repository and run else ""


def _write(repo: str, branch: str, model: str, number: int, body: str, mark: str) -> str:
    from modelpack.definition import PullRequestStyle
    from modelpack.forge import open_forge
    from modelpack.gitops import by_name, open_repository

    with open_repository(repo, branch) as repository:
        try:
            style = by_name(repository, model).definition.pull_request
        except NotFoundError:  # a pull request that brings the model
            style = PullRequestStyle()
        return open_forge(repository.remote_url, style, repository.credentials).comment(number, body, mark)
