"""Flux's image automation beside us, which writes a policy's newest image wherever its marker stands.

Whoever goes back in Git, or rejects a version, would be undone by it within a minute: so the markers beside the targets
are paused in the same commit. A later bump resumes them, but only if it is to the newest version that anybody knows of,
rejected ones included. An image policy sees the registry alone: after a bump to an older version its newest tag is
still the one that was rejected or left, and a resumed marker would bring just that back. Versions that are not dotted
numbers have no order; beside those a marker stays paused until a person resumes it.
"""

from __future__ import annotations

from collections.abc import Iterator

from modelpack import yamledit
from modelpack.definition import order
from modelpack.errors import ModelpackError
from modelpack.gitops.change import Draft, digest_of, version_of
from modelpack.gitops.models import Model, rejected
from modelpack.gitops.place import whole
from modelpack.gitops.repository import Repository
from modelpack.target import Target

_STAYS = "image automation stays paused in {}: a newer version than {} was rejected or left; resume its marker by hand"


def pause(draft: Draft, model: Model, *targets: Target) -> None:
    """Pause the markers beside these targets, or beside all that the model has on this branch."""
    there = (each for each in all_targets(model) if draft.read(each.file) is not None)
    for target in targets or there:
        draft.write(target.file, yamledit.pause(draft.file(model, target), target.file, target))


def resume(draft: Draft, tip: Repository, model: Model, target: Target, version: str) -> tuple[str, ...]:
    """Resume the markers beside a target that is bumped to a version, unless a newer one is known: a note says so."""
    before = draft.file(model, target)
    after = yamledit.resume(before, target.file, target)
    if after == before:
        return ()
    ours = order(version)
    known = [order(each) for each in _versions(tip, model)]
    if ours is None or any(each is None or each > ours for each in known):
        return (_STAYS.format(target.file, version),)
    draft.write(target.file, after)
    return ()


def all_targets(model: Model) -> tuple[Target, ...]:
    """The targets of every environment that is in this repository."""
    environments = model.definition.environments
    return tuple(target for each in environments for target in each.targets) or model.definition.targets


def _versions(tip: Repository, model: Model) -> Iterator[str]:
    """Every version that was rejected, or that a target ever had; one without digest and order is a placeholder."""
    for entry in rejected(tip, model):
        yield entry.label
    for target in all_targets(model):
        for revision in tip.history(target.file):
            try:
                value = yamledit.find(revision.data or b"", target.file, target).value
            except ModelpackError:
                continue  # the target was not there yet, or somewhere else
            version = version_of(whole(value, model.definition.image))
            if digest_of(value) or order(version):
                yield version
