"""What a branch's tip names for a Canary: the image of the model.yaml target that it belongs to."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelpack.definition import Environment, parse
from modelpack.errors import InputError, ModelpackError, NotFoundError
from modelpack.gitops import Repository, model_files, open_repository
from modelpack.gitops.place import Place, place_of, whole
from modelpack.reference import Reference
from modelpack.status.view import Named
from modelpack.target import Target
from modelpack.yamledit import find

if TYPE_CHECKING:
    from modelpack.rollout.observed import Observed

FRESH = 15.0  # seconds for which a tip is not asked for again while somebody watches
NOT_ASKED = "not asked (no --repo)"


@dataclass(frozen=True)
class Entry:
    """One target of one model at the tip: where an image stands, and which, and where its workload runs.

    `name` is the image's without tag.
    """

    name: str
    target: Target
    image: str
    place: Place


class GitSource:
    """A branch to ask. `optional`: that there is no repository is no complaint, as nobody named one."""

    def __init__(
        self, repo: str, branch: str, *, optional: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._repo, self._branch, self._optional = repo, branch, optional
        self._clock = clock
        self._read: tuple[float, tuple[Entry, ...], Named] | None = None

    def named(self, seen: Observed) -> Named:
        """What the tip names for this Canary; a repository that fails is told in `missing`."""
        now = self._clock()
        if self._read is None or now - self._read[0] > FRESH:
            self._read = (now, *self._look())
        _, entries, tip = self._read
        return tip if tip.missing else choose(entries, seen, tip)

    def _look(self) -> tuple[tuple[Entry, ...], Named]:
        try:
            with open_repository(self._repo, self._branch) as repository:
                return read_entries(repository), Named(branch=self._branch, commit=repository.tip)
        except NotFoundError as error:
            return (), Named(missing=NOT_ASKED if self._optional else f"cannot be read ({error.problem})")
        except ModelpackError as error:
            return (), Named(missing=f"cannot be read ({error.problem})")


def read_entries(repository: Repository) -> tuple[Entry, ...]:
    """Every target at the tip, of every environment there; what cannot be read is left out, as it may be another's."""
    found = []
    for path in model_files(repository.paths()):
        try:
            model = parse(repository.read(path) or b"", path)
        except ModelpackError:
            continue
        here = [each for each in model.environments if _is_here(each, repository.branch)]
        for target in [each for one in here for each in one.targets] if model.environments else model.targets:
            try:
                image = whole(find(repository.read(target.file) or b"", target.file, target).value, model.image)
                found.append(Entry(model.image.name, target, image, place_of(repository.read, target)))
            except ModelpackError:
                continue
    return tuple(found)


def _is_here(environment: Environment, branch: str) -> bool:
    return not environment.repository and environment.branch in ("", branch)


def choose(entries: Sequence[Entry], seen: Observed, tip: Named) -> Named:
    """The target that is this Canary's: of the same image repository, and by namespace and name where there are more.

    What names the workload, or at least its namespace, goes before what names neither.
    """
    names = {_name(image) for image in (seen.canary_image, seen.primary_image)} - {""}
    ours = [each for each in entries if not names or each.name in names]
    ours = [each for each in ours if each.place.namespace in ("", seen.namespace)]
    ours.sort(key=lambda each: each.place.namespace == "")
    by_name = [each for each in ours if each.place.name == seen.name]
    by_namespace = [each for each in ours if each.place == Place(seen.namespace)]
    alone = ours if len(ours) == 1 else []
    found = by_name or ((by_namespace if len(by_namespace) == 1 else alone) if names else [])
    if not found:
        return Named(missing=f"names no model of this Canary on {tip.branch}")
    return Named(found[0].image, found[0].target.file, tip.branch, tip.commit)


def _name(image: str) -> str:
    try:
        return Reference.parse(image).name if image else ""
    except InputError:
        return ""
