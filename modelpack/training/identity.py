"""What a run is called, and which version it makes: both follow from what it is about, so that asking twice is once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any, Protocol

from modelpack.definition import order
from modelpack.errors import NotFoundError
from modelpack.oci import canonical_json
from modelpack.training.definition import Train, Training

_FIRST = "v1"
_LAST_NUMBER = re.compile(r"\d+$")
_ODD = re.compile(r"[^a-z0-9]+")
_LONGEST_MODEL, _LONGEST_VERSION = 36, 12  # of a DNS label's 63 characters


class Tree(Protocol):
    """The files of a commit, by their paths from the repository's root."""

    def object_at(self, path: str) -> str: ...

    def paths(self, prefix: str = "") -> tuple[str, ...]: ...


def code_version(training: Training, folder: str, tree: Tree) -> str:
    """The version `sha256:…` of what trains: the paths and Git objects of its files, and what `train` says.

    The files are the notebook, whatever a command names that is a file, and those of `code`, whole folders included.
    Raises NotFoundError that names the training.yaml which asks for a file that is not there.
    """
    where = f"{folder}/training.yaml"
    named = [*_files_of(training), *((path, True) for path in training.code)]
    found: dict[str, str] = {}
    for path, needed in named:
        files = _below(f"{folder}/{path}", tree)
        if needed and not files:
            raise NotFoundError(where, f"there is no {path} in its folder", "commit the file, or correct the path")
        found |= {each.removeprefix(f"{folder}/"): tree.object_at(each) for each in files}
    value = {"files": sorted(found.items()), "train": _value_of(training.train)}
    return f"sha256:{hashlib.sha256(canonical_json(value)).hexdigest()}"


def rules_version(training: Training, folder: str, tree: Tree) -> str:
    """The version `sha256:…` of what a run is held against: what training.yaml says of data, tests and quality, and the
    files that it names there, whole folders included."""
    words = (word for command in training.tests for word in command)
    paths = (training.data.checks, training.quality.benchmark, *words)
    files = {each for path in paths if _is_path(path) for each in _below(f"{folder}/{path}", tree)}
    value = {
        "files": [(each.removeprefix(f"{folder}/"), tree.object_at(each)) for each in sorted(files)],
        "data": asdict(training.data),
        "quality": asdict(training.quality),
        "tests": training.tests,
    }
    return f"sha256:{hashlib.sha256(canonical_json(value)).hexdigest()}"


def _below(path: str, tree: Tree) -> tuple[str, ...]:
    return (path,) if tree.object_at(path) else tree.paths(f"{path}/")


def _files_of(training: Training) -> Iterable[tuple[str, bool]]:
    if training.train.notebook:
        yield training.train.notebook, True
    for word in (*training.train.command, *training.quality.predict):
        if _is_path(word):
            yield word, False


def _is_path(word: str) -> bool:
    """Whether a command's word may be a file's path below the model's folder."""
    path = PurePosixPath(word)
    return not path.is_absolute() and ".." not in path.parts and word == str(path)


def _value_of(train: Train) -> dict[str, Any]:
    return {"notebook": train.notebook, "command": list(train.command), "parameters": dict(train.parameters)}


def next_version(versions: Iterable[str], tags: Collection[str] = ()) -> str:
    """The version after the newest: its last number and one. Those without order don't count, and what one of the tags
    is called, be it a version or not, is left out.

    v1 where there is none: `v2` -> `v3`, `1.4.2` -> `1.4.3`.
    """
    ordered = [(key, each) for each in versions if (key := order(each))]
    number = _after(max(ordered)[1]) if ordered else _FIRST
    while number in tags:
        number = _after(number)
    return number


def _after(version: str) -> str:
    return _LAST_NUMBER.sub(lambda found: str(int(found[0]) + 1), version)


def run_id(subject: str, model: str, version: str, data: str, code: str, cause: str, attempt: int) -> str:
    """A DNS label for one attempt at one version. `subject` is the image's name, `cause` why it is trained."""
    words = canonical_json([subject, model, version, data, code, cause, attempt])
    parts = (_label(model, _LONGEST_MODEL), _label(version, _LONGEST_VERSION), hashlib.sha256(words).hexdigest()[:10])
    return "-".join(filter(None, parts))


def _label(text: str, longest: int) -> str:
    return _ODD.sub("-", text.lower())[:longest].strip("-")
