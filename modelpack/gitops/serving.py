"""What Git says of a model's versions now: which image each environment names, and which versions are rejected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from modelpack.errors import InputError, ModelpackError
from modelpack.gitops.change import Draft, digest_of, targets_of, version_of
from modelpack.gitops.environment import home_of, name_there
from modelpack.gitops.models import Model, Rejected, by_name, rejected
from modelpack.gitops.repository import Repository, open_repository
from modelpack.reference import Reference


@dataclass(frozen=True)
class Serving:
    """`named` are (environment, image) pairs; the branch stands for the environment of a model that has none. `notes`:
    what could not be read, as it is in another repository."""

    named: tuple[tuple[str, str], ...] = ()
    rejected: tuple[Rejected, ...] = ()
    notes: tuple[str, ...] = ()

    def where(self, version: str, reference: Reference | None) -> tuple[str, ...]:
        """The environments that name a version: by digest, where Git has one."""
        digest = reference.digest if reference else ""
        found = (
            environment
            for environment, image in self.named
            if reference and (digest_of(image) == digest if digest_of(image) else version_of(image) == version)
        )
        return tuple(dict.fromkeys(found))

    def rejection(self, version: str, reference: Reference | None, model_digest: str) -> Rejected | None:
        digest = reference.digest if reference else ""
        return next((each for each in self.rejected if each.names(digest, model_digest, version)), None)


def serving(repository: Repository, model: Model, repo: str) -> Serving:
    """Look at a model's environments, also those in other repositories; `repo` is the location as it was given."""
    notes: list[str] = []
    with ExitStack() as stack:
        named = tuple(_named(stack, repository, model, repo, notes))
    return Serving(named, rejected(repository, model), tuple(notes))


def _named(
    stack: ExitStack, repository: Repository, model: Model, repo: str, notes: list[str]
) -> Iterator[tuple[str, str]]:  # fmt: skip
    opened = {(repo, repository.branch): repository}
    if not model.definition.environments:
        yield from _images(repository, model, "", repository.branch, notes)
    for environment in model.definition.environments:
        home = home_of(environment, repo, repository.branch)
        try:
            if home not in opened:
                opened[home] = stack.enter_context(open_repository(*home))
            there = model if opened[home] is repository else by_name(opened[home], model.name)
            called = name_there(there.definition, environment) if there is not model else environment.name
        except ModelpackError as error:
            notes.append(f"{environment.name}: {error}")
            continue
        yield from _images(opened[home], there, called, environment.name, notes)


def _images(
    repository: Repository, model: Model, environment: str, label: str, notes: list[str]
) -> Iterator[tuple[str, str]]:  # fmt: skip
    draft = Draft(repository)
    try:
        targets = targets_of(model, environment, repository.branch)
    except InputError:
        return  # nothing serves it yet
    for target in targets:
        try:
            yield label, draft.image(model, target)
        except ModelpackError as error:
            notes.append(f"{label}: {error}")
