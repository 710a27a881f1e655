"""The model that Git names now: what a candidate is held against, and the data that it learned from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modelpack import fetch
from modelpack.errors import InputError, NotFoundError
from modelpack.gitops import Draft, Repository, by_name, targets_of
from modelpack.reference import Reference
from modelpack.registry import Via

Say = Callable[[str], None]


@dataclass(frozen=True)
class Current:
    """A model container. `data` and `commit` are "" where its build was not told them."""

    reference: str
    version: str
    data: str = ""
    commit: str = ""


def look(repository: Repository, model: str, via: Via, say: Say) -> Current | None:
    """What the branch's tip names in the model's first environment; None where that is no model container.

    Raises RemoteError where the registry does not answer, NotFoundError where Git names a digest that is not there: a
    candidate must not pass because what serves was lost.
    """
    found = by_name(repository, model)
    try:
        target = targets_of(found, branch=repository.branch)[0]
        image = Draft(repository).image(found, target)
        named = Reference.parse(image)
    except (InputError, NotFoundError) as error:
        say(f"there is no current model: {error}")
        return None
    try:
        resolved = fetch.resolve(named, via)
    except (InputError, NotFoundError) as error:
        if named.digest:
            raise NotFoundError(named, f"Git names it, and it cannot be had: {error}", "push it again") from error
        say(f"there is no current model: {error}")
        return None
    if not resolved.model_digest:
        say(f"there is no current model: {resolved.reference} is no model container")
        return None
    version = resolved.version or resolved.reference.tag
    lineage = resolved.lineage
    return Current(str(resolved.reference), version, lineage.get("data", ""), lineage.get("commit", ""))


def pull(current: Current, into: Path, via: Via) -> Path:
    """Its files in a folder below `into` that is called by its digest; those that are there already are kept."""
    reference = Reference.parse(current.reference)
    folder = into / reference.digest.partition(":")[2][:12]
    if not folder.is_dir():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        fetch.pull(reference, part, via)
        part.rename(folder)
    return folder
