"""What a branch's tip names for a Canary: the image of the model.yaml target that it belongs to."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelpack.definition import Target, parse
from modelpack.errors import InputError, ModelpackError, NotFoundError
from modelpack.gitops import Repository, model_files, open_repository
from modelpack.reference import Reference
from modelpack.status.view import Named
from modelpack.yamledit import find

if TYPE_CHECKING:
    from modelpack.rollout.observed import Observed

FRESH = 15.0  # seconds for which a tip is not asked for again while somebody watches
NOT_ASKED = "not asked (no --repo)"


@dataclass(frozen=True)
class Place:
    """One target of one model at the tip: where an image stands, and which. `name` is the image's without tag."""

    name: str
    target: Target
    image: str


class GitSource:
    """A branch to ask. `optional`: that there is no repository is no complaint, as nobody named one."""

    def __init__(
        self, repo: str, branch: str, *, optional: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._repo, self._branch, self._optional = repo, branch, optional
        self._clock = clock
        self._read: tuple[float, tuple[Place, ...], Named] | None = None

    def named(self, seen: Observed) -> Named:
        """What the tip names for this Canary; a repository that fails is told in `missing`."""
        now = self._clock()
        if self._read is None or now - self._read[0] > FRESH:
            self._read = (now, *self._look())
        _, places, tip = self._read
        return tip if tip.missing else choose(places, seen, tip)

    def _look(self) -> tuple[tuple[Place, ...], Named]:
        try:
            with open_repository(self._repo, self._branch) as repository:
                return read_places(repository), Named(branch=self._branch, commit=repository.tip)
        except NotFoundError as error:
            return (), Named(missing=NOT_ASKED if self._optional else f"cannot be read ({error.problem})")
        except ModelpackError as error:
            return (), Named(missing=f"cannot be read ({error.problem})")


def read_places(repository: Repository) -> tuple[Place, ...]:
    """Every target at the tip; what cannot be read is left out, as it may be somebody else's."""
    found = []
    for path in model_files(repository.paths()):
        try:
            model = parse(repository.read(path) or b"", path)
        except ModelpackError:
            continue
        for target in model.targets:
            try:
                image = find(repository.read(target.file) or b"", target.file, target).value
            except ModelpackError:
                continue
            found.append(Place(model.image.name, target, image))
    return tuple(found)


def choose(places: Sequence[Place], seen: Observed, tip: Named) -> Named:
    """The target that is this Canary's: of the same image repository, by name where there are several."""
    names = {_name(image) for image in (seen.canary_image, seen.primary_image)} - {""}
    ours = [each for each in places if not names or each.name in names]
    ours = [each for each in ours if each.target.namespace in ("", seen.namespace)]
    by_name = [each for each in ours if each.target.name == seen.name]
    ours = by_name or (ours if len(ours) == 1 and names else [])
    if not ours:
        return Named(missing=f"names no model of this Canary on {tip.branch}")
    return Named(ours[0].image, ours[0].target.file, tip.branch, tip.commit)


def _name(image: str) -> str:
    try:
        return Reference.parse(image).name if image else ""
    except InputError:
        return ""
