"""One commit: what it changes, what it says, and how it lands although others push too."""

from __future__ import annotations

import difflib
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from modelpack.definition import CommitStyle
from modelpack.errors import InputError, NotFoundError, RemoteError
from modelpack.gitops.commit import Style, from_template, one_line, split, with_trailers
from modelpack.gitops.environment import environment_of
from modelpack.gitops.models import Model
from modelpack.gitops.place import whole
from modelpack.gitops.repository import Repository
from modelpack.reference import Reference
from modelpack.target import Target
from modelpack.yamledit import annotate, annotation, edit, find, has_template, holds, unannotate

ANNOTATION_ROLLBACK = "modelpack.dev/rollback"
"""On the pod template: the digest of an older image that a person went back to, so that the gate accepts it."""

PATIENCE_SECONDS = 300.0
"""For how long a change is made again when others push first: a hundred that start together need about a minute."""
_LONGEST_WAIT = 30.0  # seconds
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True)
class Wanted:
    """A version as its registry tells it. `reference` has a digest; `model_digest` is "" for other images.

    `model` is the model's name where no model.yaml tells it, "" for the last word of the image's repository.
    """

    reference: Reference
    version: str
    model_digest: str
    model: str = ""


@dataclass(frozen=True)
class Part:
    """What a commit does to one of its models: from the image `old` to `new`."""

    model: str
    old: str
    new: str


@dataclass(frozen=True)
class Change:
    """What a commit on a tip would do. `old` and `new` are images as the files have them, before and after.

    `files` maps paths to (bytes before or None, bytes after); it is empty where there is nothing to do. With several
    models in one commit `model` names them all, `old` and `new` are the first one's, and `parts` has each. `notes` are
    sentences for the person, `style` is what model.yaml says about commits.
    """

    model: str
    old: str
    new: str
    message: str
    files: Mapping[str, tuple[bytes | None, bytes]] = field(default_factory=dict)
    wanted: tuple[Wanted, ...] = ()
    parts: tuple[Part, ...] = ()
    environment: str = ""
    notes: tuple[str, ...] = ()
    style: CommitStyle = CommitStyle()

    @property
    def diff(self) -> str:
        """The change as a unified diff."""
        lines: list[str] = []
        for path, (before, after) in self.files.items():
            old, new = (_LINE.findall((data or b"").decode(errors="replace")) for data in (before, after))
            origin = f"a/{path}" if before is not None else "/dev/null"
            for line in difflib.unified_diff(old, new, origin, f"b/{path}"):
                lines.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
        return "".join(lines)

    def text(self, style: Style) -> str:
        """The commit's whole message but for a sign-off; raises InputError for a template that fails."""
        words, trailers = split(self.message)
        if style.template:
            values = {
                "model": self.model,
                "old": self.old,
                "new": self.new,
                "version": version_of(self.new),
                "digest": digest_of(self.new),
                "report": style.report,
                "environment": self.environment,
                "subject": words.partition("\n")[0],
            }
            words = from_template(style.template, values)
        return with_trailers(words, [*trailers, ("Report", style.report)])


C = TypeVar("C", bound=Change)


class Draft:
    """Files of a tip being edited, before there is a commit. `by_flag`: the targets are not from a model.yaml."""

    def __init__(self, repository: Repository, *, by_flag: bool = False) -> None:
        self._repository = repository
        self._by_flag = by_flag
        self._after: dict[str, bytes] = {}

    def read(self, path: str) -> bytes | None:
        return self._after[path] if path in self._after else self._repository.read(path)

    def write(self, path: str, data: bytes) -> None:
        self._after[path] = data

    def file(self, model: Model, target: Target) -> bytes:
        """A target's file; raises NotFoundError that names the model.yaml which asks for it."""
        data = self.read(target.file)
        if data is None:
            who = "--target" if self._by_flag else f"{model.folder}/model.yaml"
            raise NotFoundError(target.file, f"{who} names it as a target, but it is not on {self._repository.branch}")
        return data

    def image(self, model: Model, target: Target) -> str:
        """The image that a target has now, of the model's own repository where it holds but a tag or digest."""
        return whole(find(self.file(model, target), target.file, target).value, model.definition.image)

    def holds(self, model: Model, target: Target, image: str) -> bool:
        """Whether a target has an image already, as far as it can hold one."""
        return holds(self.file(model, target), target.file, target, image)

    def set_image(self, model: Model, target: Target, image: str) -> None:
        self.write(target.file, edit(self.file(model, target), target.file, target, image))

    def mark(self, model: Model, target: Target) -> str:
        """The digest that a target's rollback annotation names, "" if it has none."""
        return annotation(self.file(model, target), target.file, target, ANNOTATION_ROLLBACK)

    def set_mark(self, model: Model, target: Target, digest: str) -> bool:
        """Set the rollback annotation, or remove it with ""; False where the file has no pod template to annotate."""
        data, place = self.file(model, target), (target.file, target, ANNOTATION_ROLLBACK)
        if not has_template(data, target.file, target):
            return False
        self.write(target.file, annotate(data, *place, digest) if digest else unannotate(data, *place))
        return True

    @property
    def files(self) -> dict[str, tuple[bytes | None, bytes]]:
        """What really differs from the tip."""
        before = {path: self._repository.read(path) for path in self._after}
        return {path: (before[path], after) for path, after in self._after.items() if before[path] != after}


def targets_of(model: Model, environment: str = "", branch: str = "") -> tuple[Target, ...]:
    """What the model's bump rewrites in an environment, "" for the first; raises InputError if there is nothing.

    Given the `branch` at hand, one that stands on another is refused.
    """
    where = f"{model.folder}/model.yaml"
    known = model.definition.environments
    chosen = environment_of(model.definition, environment, where) if environment else next(iter(known), None)
    if chosen and chosen.repository:
        raise InputError(where, f"environment {chosen.name} is in another repository", "name that one with --repo")
    if chosen and branch and chosen.branch not in ("", branch):
        remedy = f"give --env {chosen.name}, or --branch {chosen.branch}"
        raise InputError(where, f"environment {chosen.name} is on the branch {chosen.branch}", remedy)
    found = chosen.targets if chosen else model.definition.targets
    if not found:
        raise InputError(where, "names no targets", "say which Deployment serves the model")
    return found


def version_of(image: str) -> str:
    """An image's version for people: its tag, else the start of its digest, else the whole text on one line."""
    try:
        reference = Reference.parse(image)
    except InputError:
        return one_line(image)  # whatever stood in a file: a terminal obeys control characters
    return reference.tag or reference.digest[:19] or image


def digest_of(image: str) -> str:
    """The digest in an image's text, "" if it has none."""
    return image.partition("@")[2]


def step(old: str, new: str) -> str:
    """From one image to another in a few words, like `v1 -> v2`."""
    before, after = version_of(old), version_of(new)
    if before != after:
        return f"{before or '(none)'} -> {after}"
    return f"{after} -> {digest_of(new)[:19]}" if digest_of(old) else f"pin {after}"


def make(
    repository: Repository, change: C, style: Style, *, onto: str = "", side: bool = False
) -> str:  # fmt: skip
    """A change's commit on the tip, or `onto` another commit that it was proposed for; gives its id. No branch moves.

    `style` goes over the change's own. `side` marks the commit as ours for a side branch.
    """
    chosen = style.over(change.style)
    files = {path: after for path, (_, after) in change.files.items()}
    return repository.commit(files, change.text(chosen), onto=onto, style=chosen, side=side)


def land(
    repository: Repository,
    propose: Callable[[Repository], C],
    dry_run: bool = False,
    style: Style = Style(),
    patience: float = PATIENCE_SECONDS,
) -> tuple[C, str]:
    """Commit what `propose` makes of the tip, and again on the new tip whenever somebody was faster.

    Returns the change and the commit's id, "" where there was nothing to do. Raises ProtectedError at once when the
    server refuses, RemoteError when others were faster for `patience` seconds.
    """
    until = time.monotonic() + patience
    lost = 0
    while True:
        began = time.monotonic()
        if lost:
            repository.refresh()
        change = propose(repository)
        if dry_run or not change.files:
            return change, ""
        if repository.publish(commit := make(repository, change, style)):
            return replace(change, notes=(*change.notes, *repository.notes)), commit
        now = time.monotonic()
        lost += 1
        if now >= until:
            raise RemoteError(repository.place, f"others were faster on {repository.branch} {lost} times", "try again")
        time.sleep(wait(lost, now - began, until - now))


def wait(lost: int, took: float, left: float) -> float:
    """Seconds until the next try after `lost` races, the last of which took so long, with `left` seconds to go.

    Whoever lost more waits longer, so that the crowd thins out, and so does everybody while the crowd makes tries slow;
    towards the end shorter again, so that it is the one who waited longest that wins.
    """
    longest = min(took * 2 ** min(lost, 10), _LONGEST_WAIT, left / 8)
    return random.uniform(0, max(longest, 0.05))  # noqa: S311


def images(old: str, new: str) -> str:
    """What a commit says of its images; the old one is whatever stood in the file."""
    return f"Old image: {one_line(old)}\nNew image: {one_line(new)}"


def subject(parts: Sequence[Part]) -> str:
    """What a commit does in one line: `mpg: v1 -> v2, tips: v3 -> v4`."""
    return ", ".join(f"{each.model}: {step(each.old, each.new)}" for each in parts)
