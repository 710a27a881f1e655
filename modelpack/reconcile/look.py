"""What reconcilers look at before they decide: the models that have a training.yaml at the tip, and what is known of
each. The other rooms are reached through `Rooms` alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from modelpack import gitops
from modelpack.definition import parse as parse_model
from modelpack.errors import InputError, ModelpackError, NotFoundError, RemoteError
from modelpack.fields import nearest
from modelpack.gitops.change import Draft, targets_of, version_of
from modelpack.gitops.change import digest_of as digest_of_image
from modelpack.gitops.commit import one_line
from modelpack.gitops.environment import home_of
from modelpack.gitops.models import ROOT
from modelpack.gitops.place import place_of
from modelpack.oci import digest_of
from modelpack.reconcile.deployer import Outdated
from modelpack.reconcile.rollouts import Gate, Seen
from modelpack.reconcile.trainer import Attempt, Record, Signal, State
from modelpack.reference import Reference
from modelpack.registry import Via
from modelpack.training.definition import Training, parse
from modelpack.training.folder import TRAINING
from modelpack.training.identity import code_version, rules_version

if TYPE_CHECKING:
    from modelpack.data import Version as DataVersion
    from modelpack.forge import Forge
    from modelpack.lineage import Version
    from modelpack.runs import Backend

Tried = TypeVar("Tried", Record, Attempt)


@dataclass(frozen=True)
class Subject:
    """A model with a training.yaml, as the tip has both. `text` are the training.yaml's bytes."""

    model: gitops.Model
    training: Training
    text: bytes

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def image(self) -> Reference:
        return self.model.definition.image


@dataclass(frozen=True)
class Rooms:
    """Where everything is, and the other rooms as this one calls them. `location` and `branch` are the repository's;
    `folder` keeps runs of this machine; `gate` is an address, "" for those that model.yaml names. Tests hand in others.
    """

    location: str
    branch: str
    folder: Path
    via: Via = field(default_factory=Via)
    gate: str = ""
    now: Callable[[], float] = time.time
    open_backend: Callable[[Training, Rooms], Backend] | None = None
    look_at_data: Callable[[Subject, gitops.Repository, Rooms], DataVersion] | None = None
    open_forge: Callable[[str], Forge] | None = None

    def backend(self, training: Training) -> Backend:
        if self.open_backend:
            return self.open_backend(training, self)
        from modelpack.runs import open_backend

        return open_backend(training, self.folder, self.via, repository=str(self.root or self.location))

    def data(self, subject: Subject, repository: gitops.Repository) -> DataVersion:
        if self.look_at_data:
            return self.look_at_data(subject, repository, self)
        from modelpack import data

        return data.look(subject.training.data.source, subject.model.folder, repository, self.root)

    def forge(self, subject: Subject, repository: gitops.Repository) -> Forge:
        """Where pull requests are; raises InputError where the remote is no forge's, RefusedError without a token."""
        if self.open_forge:
            return self.open_forge(repository.remote_url)
        from modelpack.forge import open_forge

        return open_forge(repository.remote_url, subject.model.definition.pull_request, repository.credentials)

    def versions(self, subject: Subject) -> tuple[Version, ...]:
        """What the registry knows; raises RemoteError if it cannot be read."""
        from modelpack import lineage

        return lineage.versions(subject.image, self.via)

    def gate_of(self, subject: Subject) -> Gate | None:
        """The gate that judges the model first, None where none is named."""
        known = next((each.gate for each in subject.model.definition.environments), "")
        return Gate(self.gate or known) if self.gate or known else None

    @property
    def root(self) -> Path | None:
        """The folder that the repository lies in, where it is one of this machine."""
        return Path(self.location).resolve() if Path(self.location).is_dir() else None


def subjects(
    repository: gitops.Repository, wanted: Sequence[str] = ()
) -> Iterator[tuple[str, Subject | ModelpackError]]:
    """Every model of the tip that has a training.yaml, or those with the wanted names, by folder.

    One that cannot be read is given as its error, so that it stops no other; raises NotFoundError for a wanted name
    that no folder has.
    """
    paths = repository.paths(ROOT)
    folders = [each.rpartition("/")[0] for each in paths if each.count("/") == 2 and each.endswith(f"/{TRAINING}")]
    repository.want([f"{each}/{file}" for each in folders for file in (TRAINING, "model.yaml")])
    found = [(each.rpartition("/")[2], _subject(repository, each)) for each in folders]
    named = [(each.name if isinstance(each, Subject) else folder, each) for folder, each in found]
    names = [name for name, _ in named]
    for name in wanted:
        if name not in names:
            near = nearest(name, names)
            hint = f"did you mean {near}?" if near else f"known there: {', '.join(names) or 'none'}"
            raise NotFoundError(name, f"no {ROOT}*/{TRAINING} on {repository.branch} is about it", hint)
    yield from ((name, each) for name, each in named if not wanted or name in wanted)


def _subject(repository: gitops.Repository, folder: str) -> Subject | ModelpackError:
    path = f"{folder}/{TRAINING}"
    try:
        text = repository.read(path) or b""
        training = parse(text, path)
        data = repository.read(f"{folder}/model.yaml")
        if data is None:
            raise NotFoundError(path, "there is no model.yaml beside it", "run modelpack init, or write one")
        definition = parse_model(data, f"{folder}/model.yaml")
        if definition.name != training.name:
            raise InputError(path, f"is about {training.name!r}, the model.yaml beside it about {definition.name!r}")
        return Subject(gitops.Model(definition, folder), training, text)
    except ModelpackError as error:
        return error


@dataclass(frozen=True)
class Look:
    """All that counts for one model's training; `notes` are what could not be told, and stops nothing. `unsure`: a gate
    that is named did not answer."""

    state: State
    notes: tuple[str, ...] = ()
    unsure: bool = False


def look(
    subject: Subject,
    repository: gitops.Repository,
    rooms: Rooms,
    versions: Sequence[Version],
    attempts: Sequence[Attempt],
    outdated: Outdated | None = None,
) -> Look:
    """Look at data, code and gate, beside the versions in the registry. Raises RemoteError where one of the first two
    cannot be told."""
    training, folder = subject.training, subject.model.folder
    data = rooms.data(subject, repository)
    code = code_version(training, folder, repository)
    rejected = gitops.rejected(repository, subject.model)
    images = tuple(_in_git(subject, repository, rooms))
    rules_at, commits = _rules_at(folder, repository), {each.id: each.commit for each in attempts}

    def with_rules(tried: Tried) -> Tried:
        if tried.passed or (tried.data, tried.code) != (data.text, code):
            return tried  # what a look at the past would cost for nothing
        return replace(tried, rules=rules_at(tried.commit))

    signals, notes, unsure = _signals(subject, repository, rooms) if training.stale.signals else ((), (), False)
    state = State(
        model=subject.name,
        subject=subject.image.name,
        now=rooms.now(),
        data=data.text,
        code=code,
        stale=training.stale,
        retries=training.runs.retries,
        ready=data.ready,
        note=data.note,
        taken=(
            *(each.version for each in versions),
            *(each.label for each in rejected),
            *map(version_of, images),
        ),
        records=tuple(with_rules(record) for each in versions if (record := _record(each, rejected, commits))),
        attempts=tuple(with_rules(each) for each in attempts),
        signals=signals,
        definition=digest_of(subject.text),
        outdated=outdated,
        rules=rules_version(training, folder, repository),
        named=_named(images, versions),
    )
    return Look(state, notes, unsure)


def _rules_at(folder: str, repository: gitops.Repository) -> Callable[[str], str]:
    """What runs were held against, by the commit that they were started from; "" where it cannot be had any more."""

    @cache
    def found(commit: str) -> str:
        try:
            there = repository.at_commit(commit)
            path = f"{folder}/{TRAINING}"
            return rules_version(parse(there.read(path) or b"", path), folder, there)
        except ModelpackError:
            return ""

    return found


def _record(
    version: Version, rejected: Sequence[gitops.Rejected], commits: Mapping[str, str]
) -> Record | None:  # fmt: skip
    """The run that made a version. What a person built by hand has none."""
    found, origin = version.evaluation, version.origin
    if found is None:
        return None
    data, code = (found.data or (origin.data if origin else "")), (found.code or (origin.code if origin else ""))
    digest = version.reference.digest if version.reference else ""
    bad = any(each.names(digest, version.model_digest, version.version) for each in rejected)
    commit = origin.commit if origin else commits.get(found.run, "")
    return Record(version.version, data, code, bool(version.passed), found.ended, found.run, bad, commit)


def _in_git(subject: Subject, repository: gitops.Repository, rooms: Rooms) -> Iterator[str]:
    """The images that the targets here name."""
    model, draft = subject.model, Draft(repository)
    first = next(iter(model.definition.environments), None)
    if first and home_of(first, rooms.location, rooms.branch) != (rooms.location, rooms.branch):
        return
    for target in targets_of(model, first.name if first else "") if (first or model.definition.targets) else ():
        yield draft.image(model, target)


def _named(images: Sequence[str], versions: Sequence[Version]) -> str:
    """The one version in the registry that all these images are, "" if there is none."""
    found = {next((each.version for each in versions if _is_of(image, each)), "") for image in images}
    return found.pop() if len(found) == 1 else ""


def _is_of(image: str, version: Version) -> bool:
    digest = digest_of_image(image)
    if digest:
        return version.reference is not None and digest == version.reference.digest
    return version_of(image) == version.version


def _signals(
    subject: Subject, repository: gitops.Repository, rooms: Rooms
) -> tuple[tuple[Signal, ...], tuple[str, ...], bool]:
    """What the gate sees. One that does not answer stops no training that has another cause, but is told."""
    gate = rooms.gate_of(subject)
    if gate is None:
        return (), ("no gate is named, so no signal of one counts: give --gate, or gate in model.yaml",), False
    try:
        places = (place_of(repository.read, each) for each in subject.model.definition.targets)
        found = gate.signals(subject.name, next((each.namespace for each in places), ""))
    except RemoteError as error:
        return (), (f"no signals: {error}",), True
    return tuple(_signal(each) for each in found), (), False


def _signal(seen: Seen) -> Signal:
    return Signal(one_line(seen.name)[:100], seen.stale, one_line(seen.reason)[:500], seen.since, seen.version)
