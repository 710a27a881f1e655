"""list, lineage: a model's versions in the registry, and one version's whole chain."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelpack.cli.options import (
    REFERENCE,
    branch_option,
    emit,
    json_option,
    repo_option,
    table,
    via_option,
)
from modelpack.errors import InputError, ModelpackError, NotFoundError, RemoteError
from modelpack.reference import Reference
from modelpack.registry import Via

if TYPE_CHECKING:
    from modelpack import gitops
    from modelpack.gitops.serving import Serving
    from modelpack.lineage import Commit, Version

_TITLE = ("VERSION", "IMAGE", "DATA", "QUALITY", "METRICS", "SERVES", "REJECTED")
_QUALITY = {True: "passed", False: "did not pass", None: "not evaluated"}
_MOST_METRICS = 3  # that a line has room for; --json has all
_MOST_ROLLOUTS = 20  # of one image, that the gate is asked about


@click.command("list")
@click.argument("model", metavar="NAME|IMAGE")
@repo_option
@branch_option
@via_option
@json_option
@click.pass_context
def list_(ctx: click.Context, model: str, repo: str, branch: str, via: tuple[str, ...], as_json: bool) -> None:
    """A model's versions in the registry, and how good they are.

    Oldest first: the data that each learned from, whether it passed the quality gate, its metrics on held-out data,
    which environment names it in Git, and whether it is rejected there. A version that did not pass was never packaged:
    it has no image. An IMAGE needs no repository; what Git knows is left out where there is none.

    \b
    Examples:
      modelpack list mpg
      modelpack list registry.example.com/models/mpg --json
      modelpack list mpg --repo git@example.com:team/serving.git --via registry.local/=oci:./var/registry

    Exit codes: 0 listed, 3 unknown model or repository, 5 the registry or the Git server failed.
    """
    from modelpack.gitops.commit import one_line
    from modelpack.gitops.models import by_name
    from modelpack.gitops.serving import Serving, serving
    from modelpack.lineage import catalog

    image = _image(model) if "/" in model else None
    served = Serving()
    notes: list[str] = []
    with ExitStack() as stack:
        repository = _git(ctx, stack, repo, branch, notes, needed=image is None)
        known = None
        if repository:
            known = by_name(repository, model) if image is None else _model(repository, image, notes)
        if repository and known:
            image = known.definition.image
            served = serving(repository, known, repo)
    assert image is not None  # by_name raises
    try:
        found = catalog(image, Via.from_environ(via), brief=True)
    except NotFoundError as error:
        remedy = "modelpack train, or build --push, makes the first"
        raise NotFoundError(image, f"has no version yet: {error.problem}", remedy) from error
    notes += [*served.notes, *found.notes]
    rows = [_row(each, served) for each in found.versions]
    text = table(rows, title=_TITLE) or f"{image.name} has no versions"
    value = {"image": image.name, "versions": [_value(each, served) for each in found.versions], "notes": notes}
    emit(value, "\n".join((text, *(f"note: {one_line(each)}" for each in notes))), as_json)


@click.command()
@click.argument("reference", type=REFERENCE, metavar="REF")
@repo_option
@branch_option
@click.option("--gate", default="", metavar="URL", help="Ask this gate too, for a rollout that is not over.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write one page that needs no server.",
)
@via_option
@json_option
@click.pass_context
def lineage(
    ctx: click.Context,
    reference: Reference,
    repo: str,
    branch: str,
    gate: str,
    html: Path | None,
    via: tuple[str, ...],
    as_json: bool,
) -> None:
    """From the data to the promotion: one version's whole chain.

    Data version, code, run and notebook, evaluation, image, the commits that named it in Git, its rollouts and their
    verdicts. All but the commits is kept in the registry beside the image. Of a version that did not pass, REF is the
    tag it would have had.

    \b
    Examples:
      modelpack lineage registry.example.com/models/mpg:v2
      modelpack lineage registry.example.com/models/mpg:v2 --html lineage.html
      modelpack lineage registry.example.com/models/mpg:v2 --gate http://gate.example.com --json

    Exit codes: 0 shown, 2 no model container, 3 no such version, 5 registry, Git server or gate failed.
    """
    from modelpack.lineage import as_html, as_text, put_together, version_at

    try:
        version, told = version_at(reference, Via.from_environ(via))
    except NotFoundError as error:
        problem = f"is neither an image nor a recorded evaluation: {error.problem}"
        remedy = "modelpack runs shows a run that ended before it was evaluated"
        raise NotFoundError(reference, problem, remedy) from error
    notes = [*told]
    commits: list[Commit] = []
    with ExitStack() as stack:
        repository = _git(ctx, stack, repo, branch, notes, needed=False) if version.reference else None
        if repository and version.reference and (known := _model(repository, version.reference, notes)):
            commits = _commits(repository, known, version.reference)
    rollouts = _rollouts(gate, version) if gate else []
    whole = put_together(version, notes, commits, rollouts)
    if html is not None:
        _write(html, as_html(whole))
    text = as_text(whole) if html is None else f"{html} shows {whole.model} {whole.version}"
    emit(whole.to_json(), text, as_json)


def _image(text: str) -> Reference:
    """The repository that is meant; a tag or digest would be passed over in silence."""
    reference = Reference.parse(text)
    if reference.tag or reference.digest:
        raise InputError(text, "is one version", f"name all of them, {reference.name}, or ask modelpack lineage")
    return reference


def _git(
    ctx: click.Context, stack: ExitStack, repo: str, branch: str, notes: list[str], *, needed: bool
) -> gitops.Repository | None:
    """The repository; None where there is none, nobody named one, and it is not needed."""
    from modelpack import gitops

    try:
        return stack.enter_context(gitops.open_repository(repo, branch))
    except ModelpackError as error:
        if needed or ctx.get_parameter_source("repo") is not click.core.ParameterSource.DEFAULT:
            raise
        if not isinstance(error, NotFoundError):  # the folder at hand is one, and cannot be read
            notes.append(f"Git is left out: {error}")
        return None


def _model(repository: gitops.Repository, image: Reference, notes: list[str]) -> gitops.Model | None:
    from modelpack import gitops

    try:
        return gitops.by_image(repository, image.at())
    except (NotFoundError, InputError) as error:  # or somebody's model.yaml that cannot be read
        notes.append(f"Git is left out: {error}")
        return None


def _commits(repository: gitops.Repository, model: gitops.Model, image: Reference) -> list[Commit]:
    """The commits that made an environment name an image, oldest first."""
    from modelpack.gitops import digest_of, version_of
    from modelpack.gitops.history import history
    from modelpack.lineage import Commit

    return [
        Commit(each.commit, each.at, each.environment, each.why, each.by, each.reason, each.report)
        for each in reversed(history(repository, model.name))
        if each.new
        and (digest_of(each.new) == image.digest if digest_of(each.new) else version_of(each.new) == image.tag)
    ]


def _rollouts(url: str, version: Version) -> list[Mapping[str, Any]]:
    """All that a gate knows of a version's rollouts."""
    from modelpack.reconcile.rollouts import Gate

    gate = Gate(url)
    digest = version.reference.digest if version.reference else ""
    ours = [each for each in gate.of_model(version.model) if digest and each.image.endswith(f"@{digest}")]
    return [gate.report(each) for each in ours[-_MOST_ROLLOUTS:]]


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise RemoteError(path, f"cannot be written: {error.strerror}", "name another file") from error


def _row(version: Version, served: Serving) -> tuple[str, ...]:
    rejection = served.rejection(version.version, version.reference, version.model_digest)
    metrics = sorted(version.metrics.items())
    shown = [f"{name} {value:.4g}" for name, value in metrics[:_MOST_METRICS]]
    return (
        version.version,
        version.reference.digest[7:19] if version.reference else "not packaged",
        _short(version.data),
        _QUALITY[version.passed],
        ", ".join(shown) + (f" and {len(metrics) - len(shown)} more" if len(metrics) > len(shown) else ""),
        ", ".join(served.where(version.version, version.reference)),
        (rejection.reason or "yes") if rejection else "",
    )


def _short(data: str) -> str:
    """A data version whose digest is cut as those of images are."""
    scheme, colon, digest = data.partition(":")
    return f"{scheme}:{digest[:12]}" if colon and re.fullmatch(r"[0-9a-f]{32,64}(\.dir)?", digest) else data


def _value(version: Version, served: Serving) -> dict[str, Any]:
    rejection = served.rejection(version.version, version.reference, version.model_digest)
    return {
        "version": version.version,
        "image": str(version.reference) if version.reference else None,
        "digest": version.reference.digest if version.reference else None,
        "modelDigest": version.model_digest or None,
        "data": version.data or None,
        "passed": version.passed,
        "metrics": dict(version.metrics),
        "lineage": dict(version.lineage),
        "serves": list(served.where(version.version, version.reference)),
        "rejected": vars(rejection) if rejection else None,
    }
