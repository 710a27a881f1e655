"""Name another version in Git: a bump to a wanted one, a rollback to the one before."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from modelpack.definition import Target
from modelpack.errors import InputError, ModelpackError, NotFoundError, RefusedError
from modelpack.gitops.change import (
    ANNOTATION_ROLLBACK,
    Change,
    Draft,
    digest_of,
    land,
    message,
    step,
    targets_of,
    version_of,
)
from modelpack.gitops.models import Model, Rejected, by_image, by_name, rejected
from modelpack.gitops.repository import Repository
from modelpack.reference import Reference
from modelpack.yamledit import annotation, find

_ORDERED = re.compile(r"v?(\d+(?:\.\d+)*)")


@dataclass(frozen=True)
class Wanted:
    """A version as its registry tells it. `reference` has a digest; `model_digest` is "" for other images."""

    reference: Reference
    version: str
    model_digest: str


def order(version: str) -> tuple[int, ...] | None:
    """What versions are compared by; None unless it is dotted numbers with an optional v."""
    match = _ORDERED.fullmatch(version)
    return tuple(int(part) for part in match[1].split(".")) if match else None


def bump(repository: Repository, wanted: Wanted, dry_run: bool = False) -> tuple[Change, str]:
    """Commit the wanted version to every target of its model; the change, and the commit's id or "".

    Raises RefusedError for a rejected model, or if somebody bumped a newer version while this one was on its way;
    NotFoundError for an unknown model or target.
    """
    seen: list[str] = []

    def propose(tip: Repository) -> Change:
        change = _bump(tip, wanted)
        now, ours = order(version_of(change.old)), order(version_of(change.new))
        if seen and change.old != seen[0] and now and ours and now > ours:
            newer = f"{version_of(change.old)} was bumped meanwhile"
            raise RefusedError(change.model, newer, f"run it again to go back to {version_of(change.new)}")
        seen.append(change.old)
        return change

    return land(repository, propose, dry_run)


def _bump(tip: Repository, wanted: Wanted) -> Change:
    reference = wanted.reference
    if not reference.digest:
        raise InputError(reference, "has no digest")
    model = by_image(tip, reference)
    entry = next((each for each in rejected(tip, model) if each.names(reference.digest, wanted.model_digest)), None)
    if entry:
        version = reference.tag or wanted.version
        raise RefusedError(
            f"{model.name} {version}".strip(),
            f"was rejected{f' as {entry.version}' if entry.version not in ('', version) else ''}: "
            f"{entry.reason or 'no reason given'}",
            f"remove its entry from {model.rejected_path} to lift that",
        )
    new = str(reference.at(tag=reference.tag or wanted.version, digest=reference.digest))
    draft, targets = Draft(tip), targets_of(model)
    before = [draft.image(model, target) for target in targets]
    for target, image in zip(targets, before, strict=True):
        draft.set_image(model, target, new)
        if image != new and draft.mark(model, target) == reference.digest:
            draft.set_mark(model, target, "")  # the gate would take this for a rollback
    old = next((image for image in before if image != new), new)
    text = message(
        f"{model.name}: {step(old, new)}",
        f"Old image: {old}\nNew image: {new}",
        {
            "Model": model.name,
            "Version": version_of(new),
            "Digest": reference.digest,
            "Model-Digest": wanted.model_digest,
        },
    )
    return Change(model.name, old, new, text, draft.files)


def rollback(repository: Repository, model: str | Reference, dry_run: bool = False) -> tuple[Change, str]:
    """Commit the version before to every target of a model, given by name or image; the change and the commit's id.

    The version before is what a target had before it first had what it has now: a rollback or revert takes back, it is
    no step that another rollback returns to. Rejected versions are passed over. Raises NotFoundError if there is none.
    """
    return land(repository, lambda tip: _rollback(tip, model), dry_run)


def _rollback(tip: Repository, name: str | Reference) -> Change:
    model = by_image(tip, name) if isinstance(name, Reference) else by_name(tip, name)
    draft, steps = Draft(tip), []
    bad = rejected(tip, model)
    for target in targets_of(model):
        old = draft.image(model, target)
        new = _before(tip, model, target, bad)
        draft.set_image(model, target, new)
        draft.set_mark(model, target, digest_of(new) or version_of(new))
        steps.append((old, new))
    old, new = steps[0]
    text = message(
        f"{model.name}: roll back {step(old, new)}",
        f"Old image: {old}\nNew image: {new}",
        {"Model": model.name, "Version": version_of(new), "Digest": digest_of(new)},
    )
    return Change(model.name, old, new, text, draft.files)


def _before(tip: Repository, model: Model, target: Target, bad: Iterable[Rejected]) -> str:
    values: list[str] = []
    for revision in reversed(tip.history(target.file)):
        try:
            value = find(revision.data or b"", target.file, target).value
        except ModelpackError:
            continue  # the target was not there yet, or somewhere else
        values = [*values[: values.index(value)], value] if value in values else [*values, value]
    for value in reversed(values[:-1]):
        digest = digest_of(value)  # what a bump never pinned is a placeholder, not a version that served
        if digest and not any(each.names(digest) for each in bad):
            return value
    remedy = "name the version you want with modelpack bump"
    raise NotFoundError(
        f"{model.name} in {target.file}", f"the history of {tip.branch} has no version before this one", remedy
    )


def put_back(draft: Draft, tip: Repository, model: Model, target: Target, image: str) -> None:
    """Set a target to the image that the primary serves, and the rollback annotation to what it was beside that image.

    The annotation is part of the pod template: left behind by a failed rollback, it would start another canary.
    """
    failed = digest_of(draft.image(model, target))
    draft.set_image(model, target, image)
    if draft.mark(model, target) == failed:
        draft.set_mark(model, target, _mark_beside(tip, target, image))


def _mark_beside(tip: Repository, target: Target, image: str) -> str:
    for revision in tip.history(target.file):
        data = revision.data or b""
        try:
            if digest_of(find(data, target.file, target).value) == digest_of(image):
                return annotation(data, target.file, target, ANNOTATION_ROLLBACK)
        except ModelpackError:
            continue  # the target was not there yet, or somewhere else
    return ""
