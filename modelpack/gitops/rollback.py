"""Go back in Git: to the version before, or to the one that serves."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable

from modelpack.errors import ModelpackError, NotFoundError, RefusedError
from modelpack.gitops import log
from modelpack.gitops.automation import pause
from modelpack.gitops.change import (
    ANNOTATION_ROLLBACK,
    Change,
    Draft,
    Part,
    digest_of,
    images,
    land,
    step,
    targets_of,
    version_of,
)
from modelpack.gitops.commit import Style, message
from modelpack.gitops.models import Model, Rejected, by_image, by_name, rejected
from modelpack.gitops.place import whole
from modelpack.gitops.repository import Repository
from modelpack.reference import Reference
from modelpack.target import Target
from modelpack.yamledit import annotation, find

_TOLD = re.compile(r"^Digest: (\S+)\nModel-Digest: (\S+)$", re.MULTILINE)
_BACK = re.compile(r"^(?:(?:Rolled-Back|Rejected)-Digest: |This reverts commit )|^\S+: roll back ", re.MULTILINE)
_JUDGED = "{} has no pod template to annotate: the gate judges the older version like any other"


def rollback(
    repository: Repository,
    model: str | Reference,
    dry_run: bool = False,
    *,
    environment: str = "",
    style: Style = Style(),
) -> tuple[Change, str]:
    """Commit the version before to every target of a model, given by name or image; the change and the commit's id.

    The version before is what a target had before what it has now: a rollback or revert takes back, it is no step that
    another rollback returns to. Rejected versions are passed over. Raises NotFoundError if there is none,
    RefusedError if somebody changed the version meanwhile.
    """
    first: list[Change] = []

    def propose(tip: Repository) -> Change:
        change = propose_rollback(tip, model, environment)
        first.append(change)
        if change.parts != first[0].parts:
            problem = f"{version_of(change.old)} was put in the place of {version_of(first[0].old)} meanwhile"
            raise RefusedError(change.model, problem, "look at it, then run it again")
        return change

    return land(repository, propose, dry_run, style)


def rollback_of(base: Repository, name: str | Reference, environment: str = "") -> Callable[[Repository], Change]:
    """What proposes a rollback on the base's tip and, for a pull request, the same one on a branch beside it.

    There it goes back to the version that it found from the base: one version back from the branch may be another.
    """
    found = ""

    def propose(tip: Repository) -> Change:
        nonlocal found
        if tip is not base:
            return propose_rollback(tip, name, environment, found)
        change = propose_rollback(tip, name, environment)
        found = change.new
        return change

    return propose


def propose_rollback(tip: Repository, name: str | Reference, environment: str = "", to: str = "") -> Change:
    """What a rollback would change on this tip, `to` the version before or an image; raises as `rollback` does."""
    model = by_image(tip, name) if isinstance(name, Reference) else by_name(tip, name)
    draft, parts, notes = Draft(tip), [], []
    bad = rejected(tip, model)
    same = _told(tip, model, environment) if any(each.model for each in bad) else set()
    known = model.definition.environments
    named = environment or (known[0].name if known else "")
    for target in targets_of(model, environment, tip.branch):
        old = draft.image(model, target)
        new = to or _before(tip, model, target, bad, same)
        draft.set_image(model, target, new)
        if not draft.set_mark(model, target, digest_of(new) or version_of(new)):
            notes.append(_JUDGED.format(target.file))
        pause(draft, model, target)
        parts.append(Part(model.name, old, new))
    old, new = parts[0].old, parts[0].new
    text = message(
        f"{model.name}: roll back {step(old, new)}",
        images(old, new),
        {
            "Model": model.name,
            "Version": version_of(new),
            "Digest": digest_of(new),
            "Rolled-Back-Digest": digest_of(old),
            "Environment": named,
        },
    )
    return Change(
        model.name,
        old,
        new,
        text,
        draft.files,
        parts=tuple(parts),
        environment=named,
        notes=tuple(dict.fromkeys(notes)),
        style=model.definition.commit,
    )


def _told(tip: Repository, model: Model, environment: str) -> set[tuple[str, str]]:
    """The image digests that the targets had, each with a model digest, as the commits say that brought them.

    A rejected model comes back under another image's digest too: after it was packaged again.
    """
    files = {each.file for each in targets_of(model, environment, tip.branch)}
    commits = [commit for commit, _ in log.parse(tip.log(files))]
    merged = tip.objects([each.parents[1] for each in commits if len(each.parents) > 1])
    texts = [*(each.message for each in commits), *((each or b"").decode(errors="replace") for each in merged)]
    return {(found[1], found[2]) for text in texts for found in _TOLD.finditer(text)}


def _before(
    tip: Repository, model: Model, target: Target, bad: Iterable[Rejected], same: Collection[tuple[str, str]]
) -> str:  # fmt: skip
    values: list[str] = []
    for revision in reversed(tip.history(target.file)):
        try:
            value = whole(find(revision.data or b"", target.file, target).value, model.definition.image)
        except ModelpackError:
            continue  # the target was not there yet, or somewhere else
        if _BACK.search(revision.message) and value in values:
            values = values[: len(values) - values[::-1].index(value)]
        elif values[-1:] != [value]:
            values.append(value)
    pinned = any(digest_of(value) for value in values)  # else the target holds tags alone
    for value in reversed([each for each in values if each != values[-1]]):
        digest = digest_of(value)  # what a bump never pinned is a placeholder, not a version that served
        models = [one for image, one in same if image == digest] or [""]
        is_bad = any(each.names(digest, one, version_of(value)) for each in bad for one in models)
        if (digest or not pinned) and not is_bad:
            return value
    problem = f"the history of {tip.branch} has no version before this one that may serve"
    loose = next((version_of(each) for each in reversed(values[:-1]) if pinned and not digest_of(each)), "")
    if loose:
        problem += f": {loose} had no digest, and may be another image by now"
    raise NotFoundError(f"{model.name} in {target.file}", problem, "name the version you want with modelpack bump")


def put_back(draft: Draft, tip: Repository, model: Model, target: Target, image: str) -> None:
    """Set a target to the image that the primary serves, and the rollback annotation to what it was beside that image.

    The annotation is part of the pod template: left behind by a failed rollback, it would start another canary.
    """
    failed = digest_of(draft.image(model, target))
    draft.set_image(model, target, image)
    pause(draft, model, target)
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
