"""Everything a pull request takes, put together: the forge, the model's wishes, what the registry knows, the words."""

from __future__ import annotations

from functools import cache

from modelpack.definition import PullRequestStyle
from modelpack.forge import open_forge
from modelpack.gitops.beside import PLAIN, Propose
from modelpack.gitops.change import Change, version_of
from modelpack.gitops.commit import Style
from modelpack.gitops.proposal import NO_REPORT, Evaluation, Kind, Report, Text, evaluation_of, write
from modelpack.gitops.pull import NO_WISHES, Pulled, branch_of, open_pull
from modelpack.gitops.repository import Repository
from modelpack.quality.evaluation import Evaluation as Judged
from modelpack.registry import Via


def request(
    repository: Repository,
    propose: Propose,
    *,
    model: str,
    environment: str = "",
    requested: PullRequestStyle = NO_WISHES,
    via: Via,
    kind: Kind = Kind.BUMP,
    report: Report = NO_REPORT,
    judged: Judged | None = None,
    style: Style = PLAIN,
    again: bool = False,
    furnished: str = "",
    dry_run: bool = False,
) -> Pulled:
    """Propose a change of one model on the model's branch, in its words and on the repository's forge.

    `requested` is what model.yaml says of pull requests, `judged` what the quality gate found of a version: a change to
    that shows its table. Raises as `open_pull` does, InputError where the forge cannot
    be told from the remote's address, RefusedError where there is no token for it.
    """

    @cache
    def known(image: str) -> Evaluation | None:
        return evaluation_of(image, via)

    def compose(change: Change) -> Text:
        table = judged if judged and judged.version == version_of(change.new) else None
        old, new = known(change.old), known(change.new)
        return write(change, kind=kind, environment=environment, report=report, judged=table, old=old, new=new)

    return open_pull(
        repository,
        open_forge(repository.remote_url, requested, repository.credentials),
        propose,
        branch=branch_of(model, environment),
        compose=compose,
        requested=requested,
        style=style,
        again=again,
        furnished=furnished,
        dry_run=dry_run,
    )
