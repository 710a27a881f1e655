"""Which models a push changed: what a pipeline has to package.

A model whose source lies in the repository and has {version} in it changes when the files of a version do. One whose
source lies there without a version changes with it, and every model without {version} also with the files beside its
model.yaml. rejected.yaml does not count: it is written after a failure, and packaging again would fail again.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelpack.definition import VERSION_PLACEHOLDER, parse
from modelpack.errors import ModelpackError, NotFoundError
from modelpack.gitops.models import Model, model_files
from modelpack.gitops.program import Git

PARENT = "HEAD^"


@dataclass(frozen=True)
class Changed:
    """A changed model; `version` is "" where the changed paths name none."""

    model: str
    folder: str
    version: str = ""


def changed(models: Iterable[Model], paths: Sequence[str], present: Callable[[str], bool]) -> tuple[Changed, ...]:
    """What a change of `paths` means; `present` tells whether a file is still there."""
    return tuple(each for model in models for each in _of(model, paths, present))


def changed_since(folder: Path, base: str) -> tuple[Changed, ...]:
    """The models that differ between `base` (where it left HEAD's history) and HEAD of the checkout at `folder`.

    Raises NotFoundError if `base` is not in the checkout, InputError with file and line for a changed model.yaml that
    cannot be read; one that was broken before stops nobody.
    """
    git = Git(folder, str(folder))
    if git.ask("rev-parse", "--git-dir").code:
        raise NotFoundError(folder, "is not a Git repository", "run it in a checkout")
    if base == PARENT and _is_first(git):
        common = git.line("hash-object", "-t", "tree", "--stdin")  # nothing was there before
    elif base.startswith("-") or git.ask("rev-parse", "--verify", "--quiet", f"{base}^{{commit}}").code:
        remedy = "fetch more history (actions/checkout: fetch-depth: 0, GitLab: GIT_DEPTH: 0), or name another --base"
        raise NotFoundError(base, "is no commit of this checkout", remedy)
    else:
        common = git.ask("merge-base", base, "HEAD").text or base
    paths = _names(git.do("diff-tree", "-r", "-z", "--no-renames", "--name-only", common, "HEAD"))
    files = set(_names(git.do("ls-tree", "-r", "-z", "--full-tree", "--name-only", "HEAD")))
    models = []
    for path in model_files(sorted(files)):
        try:
            definition = parse(git.do("cat-file", "blob", f"HEAD:{path}"), path)
        except ModelpackError:
            if path in paths:
                raise
            continue
        models.append(Model(definition, posixpath.dirname(path)))
    return changed(models, paths, files.__contains__)


def _is_first(git: Git) -> bool:
    """Whether HEAD is a branch's first commit; in a shallow clone it only looks like one."""
    commits = git.ask("rev-list", "--parents", "--max-count=1", "HEAD").text.split()
    return len(commits) == 1 and git.line("rev-parse", "--is-shallow-repository") == "false"


def _of(model: Model, paths: Sequence[str], present: Callable[[str], bool]) -> Iterator[Changed]:
    source = _source(model)
    if VERSION_PLACEHOLDER in model.definition.source:
        found = {hit["version"] for path in paths if source and present(path) and (hit := source.fullmatch(path))}
        yield from (Changed(model.name, model.folder, version) for version in sorted(found))
        return
    beside = f"{model.folder}/"
    if any(
        (source and source.fullmatch(path)) or path.startswith(beside) for path in paths if path != model.rejected_path
    ):
        yield Changed(model.name, model.folder)


def _source(model: Model) -> re.Pattern[str] | None:
    """What the paths of a model's source look like; None if it is not in the repository."""
    location = model.definition.source
    if "://" in location:
        return None
    first, *more = posixpath.normpath(posixpath.join(model.folder, location)).split(VERSION_PLACEHOLDER)
    if first.startswith(("/", "../")):
        return None
    parts = [re.escape(first), *("(?P=version)" + re.escape(each) for each in more)]
    if more:
        parts[1] = parts[1].replace("(?P=version)", r"(?P<version>[A-Za-z0-9_][A-Za-z0-9._-]*)", 1)
    return re.compile("".join(parts) + "(?:/.*)?", re.DOTALL)


def _names(answer: bytes) -> tuple[str, ...]:
    return tuple(os.fsdecode(each) for each in answer.split(b"\0")[:-1])
