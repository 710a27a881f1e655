"""One commit: what it changes, what it says, and how it lands although others push too."""

from __future__ import annotations

import difflib
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from modelpack.definition import Target
from modelpack.errors import InputError, NotFoundError, RemoteError
from modelpack.gitops.models import Model
from modelpack.gitops.repository import Repository
from modelpack.reference import Reference
from modelpack.yamledit import annotate, annotation, edit, find, unannotate

ANNOTATION_ROLLBACK = "modelpack.dev/rollback"
"""On the pod template: the digest of an older image that a person went back to, so that the gate accepts it."""

TRIES = 20
_FIRST_WAIT = 0.05  # seconds; doubles up to _LONGEST_WAIT, and is taken at random between none and that
_LONGEST_WAIT = 2.0
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True)
class Change:
    """What a commit on a tip would do to one model. `old` and `new` are images as the file has them, before and after.

    `files` maps paths to (bytes before or None, bytes after); it is empty where there is nothing to do.
    """

    model: str
    old: str
    new: str
    message: str
    files: Mapping[str, tuple[bytes | None, bytes]] = field(default_factory=dict)

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


C = TypeVar("C", bound=Change)


class Draft:
    """Files of a tip being edited, before there is a commit."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._after: dict[str, bytes] = {}

    def read(self, path: str) -> bytes | None:
        return self._after[path] if path in self._after else self._repository.read(path)

    def write(self, path: str, data: bytes) -> None:
        self._after[path] = data

    def file(self, model: Model, target: Target) -> bytes:
        """A target's file; raises NotFoundError that names the model.yaml which asks for it."""
        data = self.read(target.file)
        if data is None:
            where = f"{model.folder}/model.yaml names it as a target, but it is not on {self._repository.branch}"
            raise NotFoundError(target.file, where)
        return data

    def image(self, model: Model, target: Target) -> str:
        """The image that a target has now."""
        return find(self.file(model, target), target.file, target).value

    def set_image(self, model: Model, target: Target, image: str) -> None:
        self.write(target.file, edit(self.file(model, target), target.file, target, image))

    def mark(self, model: Model, target: Target) -> str:
        """The digest that a target's rollback annotation names, "" if it has none."""
        return annotation(self.file(model, target), target.file, target, ANNOTATION_ROLLBACK)

    def set_mark(self, model: Model, target: Target, digest: str) -> None:
        """Set the rollback annotation, or remove it with ""."""
        data, place = self.file(model, target), (target.file, target, ANNOTATION_ROLLBACK)
        self.write(target.file, annotate(data, *place, digest) if digest else unannotate(data, *place))

    @property
    def files(self) -> dict[str, tuple[bytes | None, bytes]]:
        """What really differs from the tip."""
        before = {path: self._repository.read(path) for path in self._after}
        return {path: (before[path], after) for path, after in self._after.items() if before[path] != after}


def targets_of(model: Model) -> tuple[Target, ...]:
    """What the model's bump rewrites; raises InputError if there is nothing."""
    if not model.definition.targets:
        raise InputError(f"{model.folder}/model.yaml", "names no targets", "say which Deployment serves the model")
    return model.definition.targets


def version_of(image: str) -> str:
    """An image's version for people: its tag, else the start of its digest, else the whole text."""
    try:
        reference = Reference.parse(image)
    except InputError:
        return image
    return reference.tag or reference.digest[:19] or image


def digest_of(image: str) -> str:
    """The digest in an image's text, "" if it has none."""
    return image.partition("@")[2]


def step(old: str, new: str) -> str:
    """From one image to another in a few words, like `v1 -> v2`."""
    before, after = version_of(old), version_of(new)
    if before != after:
        return f"{before} -> {after}"
    return f"{after} -> {digest_of(new)[:19]}" if digest_of(old) else f"pin {after}"


def message(subject: str, body: str, trailers: Mapping[str, str]) -> str:
    """A commit message; trailers without a value are left out."""
    last = "".join(f"{key}: {value}\n" for key, value in trailers.items() if value)
    return f"{subject}\n\n{body.strip()}\n\n{last}"


def land(repository: Repository, propose: Callable[[Repository], C], dry_run: bool = False) -> tuple[C, str]:
    """Commit what `propose` makes of the tip, and again on the new tip whenever somebody was faster.

    Returns the change and the commit's id, "" where there was nothing to do. Raises RemoteError after TRIES lost races.
    """
    wait = _FIRST_WAIT
    for _ in range(TRIES):
        change = propose(repository)
        if dry_run or not change.files:
            return change, ""
        commit = repository.commit({path: after for path, (_, after) in change.files.items()}, change.message)
        if repository.publish(commit):
            return change, commit
        time.sleep(random.uniform(0, wait))  # noqa: S311
        wait = min(2 * wait, _LONGEST_WAIT)
        repository.refresh()
    raise RemoteError(repository.place, f"others were faster on {repository.branch} {TRIES} times", "try again")
