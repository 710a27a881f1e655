"""Name other versions in Git: those that are wanted, in one commit."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelpack.definition import DEFAULT_BASE, CommitStyle, Copy, Definition, order
from modelpack.errors import InputError, NotFoundError, RefusedError
from modelpack.gitops import log
from modelpack.gitops.automation import resume
from modelpack.gitops.change import (
    Change,
    Draft,
    Part,
    Wanted,
    digest_of,
    images,
    land,
    subject,
    targets_of,
    version_of,
)
from modelpack.gitops.commit import Style, message, split
from modelpack.gitops.models import ROOT, Model, by_image, read_rejected, rejected_files
from modelpack.gitops.repository import Repository
from modelpack.target import Target


def bump(
    repository: Repository,
    wanted: Sequence[Wanted] | Wanted,
    dry_run: bool = False,
    *,
    environment: str = "",
    targets: tuple[Target, ...] = (),
    style: Style = Style(),
) -> tuple[Change, str]:
    """Commit the wanted versions to every target of their models; the change, and the commit's id or "".

    Raises RefusedError for a rejected model, or if somebody bumped a newer version while this one was on its way;
    NotFoundError for an unknown model, environment or target.
    """
    first: dict[tuple[str, Target], str] = {}

    def propose(tip: Repository) -> Change:
        steps = _steps(tip, wanted, environment, targets)
        for each in steps:
            for target, image in each.before.items():
                if first.setdefault((each.name, target), image) != image:
                    _check_order(tip, each, target, image)
        return _change(steps)

    return land(repository, propose, dry_run, style)


def propose_bump(
    tip: Repository, wanted: Sequence[Wanted] | Wanted, environment: str = "", targets: tuple[Target, ...] = ()
) -> Change:
    """What a bump to the wanted versions would change on this tip; raises as `bump` does."""
    return _change(_steps(tip, wanted, environment, targets))


@dataclass(frozen=True)
class _Step:
    """One wanted version on a tip: the images of its targets before, and those that it changes."""

    name: str
    new: str
    wanted: Wanted
    environment: str
    style: CommitStyle
    before: Mapping[Target, str]
    changed: tuple[str, ...]
    draft: Draft
    notes: tuple[str, ...]


def _steps(
    tip: Repository, wanted: Sequence[Wanted] | Wanted, environment: str, targets: tuple[Target, ...]
) -> list[_Step]:
    many = (wanted,) if isinstance(wanted, Wanted) else tuple(dict.fromkeys(wanted))
    if not many:
        raise InputError("bump", "no version is wanted")
    if targets and len(many) > 1:
        raise InputError("--target", "goes with one version", "bump the others on their own")
    draft = Draft(tip, by_flag=bool(targets))
    steps: list[_Step] = []
    for each in many:
        step = _step(tip, draft, each, environment, targets)
        if step.name in (other.name for other in steps):
            raise InputError(step.name, "two versions of it are wanted at once", "name one")
        steps.append(step)
    return steps


def _step(
    tip: Repository, draft: Draft, wanted: Wanted, environment: str, targets: tuple[Target, ...]
) -> _Step:  # fmt: skip
    reference = wanted.reference
    if not reference.digest:
        raise InputError(reference, "has no digest")
    model = _by_flag(tip, wanted, targets) if targets else by_image(tip, reference)
    check_rejected(tip, model, wanted, everywhere=bool(targets))
    known = model.definition.environments
    named = environment or (known[0].name if known and not targets else "")
    places = targets or targets_of(model, environment, tip.branch)
    tip.want([each.file for each in places])
    new = str(reference.at(tag=reference.tag or wanted.version, digest=reference.digest))
    before = {target: draft.image(model, target) for target in places}
    changed: list[str] = []
    notes: list[str] = []
    for target, image in before.items():
        if draft.holds(model, target, new):
            continue
        changed.append(image)
        draft.set_image(model, target, new)
        notes += resume(draft, tip, model, target, version_of(new))
        if draft.mark(model, target) == reference.digest:
            draft.set_mark(model, target, "")  # the gate would take this for a rollback
    return _Step(model.name, new, wanted, named, model.definition.commit, before, tuple(changed), draft, tuple(notes))


def check_rejected(tip: Repository, model: Model, wanted: Wanted, *, everywhere: bool = False) -> None:
    """Raise RefusedError if the wanted version is in the model's rejected.yaml, under its tag or its own name.

    `everywhere`: no model.yaml tells whose image it is, so its digests must not be in that of any other model either.
    """
    version = wanted.reference.tag or wanted.version
    others = rejected_files(tip.paths(ROOT)) if everywhere else []
    for path in dict.fromkeys([model.rejected_path, *others]):
        names = {version, wanted.version} if path == model.rejected_path else {""}
        for entry in read_rejected(tip.read(path) or b"", path):
            if not any(entry.names(wanted.reference.digest, wanted.model_digest, name) for name in names):
                continue
            known = f" as {entry.version}" if entry.version not in ("", version) else ""
            raise RefusedError(
                f"{model.name} {version}".strip(),
                f"was rejected{known}: {entry.reason or 'no reason given'}",
                f"lift that with modelpack unreject {entry.label or version} {model.name}, "
                f"or remove its entry from {path}",
            )


def _by_flag(tip: Repository, wanted: Wanted, targets: tuple[Target, ...]) -> Model:
    """The model that an image belongs to, by its model.yaml if there is one, else by the image's name."""
    try:
        return by_image(tip, wanted.reference)
    except NotFoundError:
        name = wanted.model or wanted.reference.repository.rpartition("/")[2]
    definition = Definition(name, "", wanted.reference.at(), DEFAULT_BASE, Copy(), targets)
    return Model(definition, f"{ROOT}{name}")


def _check_order(tip: Repository, step: _Step, target: Target, image: str) -> None:
    """Raise RefusedError if the image, which came meanwhile, is of a newer version than the wanted one."""
    version = version_of(image)
    if order(version) is None:
        version = _version_in_history(tip, target.file, digest_of(image) or image) or version
    now, ours = order(version), order(version_of(step.new))
    if now and ours and now > ours:
        remedy = f"run it again to go back to {version_of(step.new)}"
        raise RefusedError(step.name, f"{version} was bumped meanwhile", remedy)


def _version_in_history(tip: Repository, path: str, digest: str) -> str:
    """The version that the commit of a digest names, "" if none does: a target may hold the digest alone."""
    for commit, _ in log.parse(tip.log([path], "--fixed-strings", f"--grep=Digest: {digest}")):
        pairs = split(commit.message)[1]
        for (key, version), (name, value) in itertools.pairwise(pairs):
            if (key, name, value) == ("Version", "Digest", digest):
                return version
    return ""


def _change(steps: Sequence[_Step]) -> Change:
    done = [each for each in steps if each.changed]
    parts = tuple(Part(each.name, next(iter(each.changed), each.new), each.new) for each in done or steps)
    trailers: list[tuple[str, str]] = []
    for each in done:
        trailers += [
            ("Model", each.name),
            ("Version", version_of(each.new)),
            ("Digest", each.wanted.reference.digest),
            ("Model-Digest", each.wanted.model_digest),
        ]
    first = steps[0]
    body = "\n\n".join(images(each.old, each.new) for each in parts)
    return Change(
        ", ".join(each.model for each in parts),
        parts[0].old,
        parts[0].new,
        message(subject(parts), body, [*trailers, ("Environment", first.environment)]),
        first.draft.files,
        wanted=tuple(each.wanted for each in steps),
        parts=parts,
        environment=first.environment,
        notes=tuple(note for each in steps for note in each.notes),
        style=first.style,
    )
