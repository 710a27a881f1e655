"""A model's versions, as its registry alone knows them: what is packaged, and what did not pass and never was.

What cannot be understood there (another image, a broken record) is passed over and told in a note: the repository may
hold anything. A registry that does not answer is an error: half a list would be taken for the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeVar

from modelpack import oci
from modelpack.definition import MODELPACK_SUFFIX, order
from modelpack.errors import InputError, IntegrityError, NotFoundError
from modelpack.lineage import records
from modelpack.lineage.origin import Origin
from modelpack.lineage.remembering import Remembering
from modelpack.provenance import lineage_of, metrics_of
from modelpack.quality.evaluation import Evaluation
from modelpack.reference import Reference
from modelpack.registry import Repository, Via, open_repository
from modelpack.registry.parallel import on_each
from modelpack.registry.referrers import is_fallback_tag
from modelpack.store import home

T = TypeVar("T")

AT_A_TIME = 16
"""Requests under way: as many connections as are kept open."""
MOST_ROLLOUTS = 50  # of one version, the newest
_MOST_TRIED = 5  # records of a kind that are broken, before it is given up
_NOT_UNDERSTOOD = (IntegrityError, NotFoundError, InputError)


@dataclass(frozen=True)
class Version:
    """One version. `reference` has tag and digest, None if it was never packaged; `passed` is None where no evaluation
    is recorded. `metrics` are those of the evaluation's held-out rows, and what the build was given; `lineage` what the
    build was told. `evaluation`, `origin` and `rollouts` (oldest first) are left out of a brief look.
    """

    version: str
    reference: Reference | None
    model_digest: str = ""
    evaluation: Evaluation | None = None
    passed: bool | None = None
    metrics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    lineage: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    origin: Origin | None = None
    rollouts: tuple[Mapping[str, Any], ...] = ()
    model: str = ""

    @property
    def data(self) -> str:
        """The version of the data that it learned from, "" if that is not known."""
        known = (self.origin and self.origin.data, self.evaluation and self.evaluation.data)
        return next((each for each in known if each), "") or self.lineage.get("data", "")


@dataclass(frozen=True)
class Catalog:
    """Versions by their order, oldest first (those without an order before all others), and what was not understood."""

    versions: tuple[Version, ...]
    notes: tuple[str, ...] = ()


def versions(image: Reference, via: Via) -> tuple[Version, ...]:
    """Every version of a model, by version order, oldest first; none where there is no such repository yet."""
    try:
        return catalog(image, via).versions
    except NotFoundError:
        return ()


def catalog(image: Reference, via: Via, *, brief: bool = False) -> Catalog:
    """Every version in an image's repository. Two requests each, and unless `brief` one for each record the first time.

    Raises NotFoundError if there is no such repository, RemoteError if it cannot be read.
    """
    repository = _open(image, via)
    tags = repository.tags()
    wanted = [each for each in tags if not (is_fallback_tag(each) or each.endswith(MODELPACK_SUFFIX))]
    looks = on_each(wanted, lambda tag, _: _look(repository, image, tag, brief), AT_A_TIME)
    found = _distinct([version for version, _ in looks if version])
    return Catalog(tuple(sorted(found, key=_key)), tuple(note for _, notes in looks for note in notes))


def version_at(reference: Reference, via: Via) -> tuple[Version, tuple[str, ...]]:
    """All that is known of the version that a reference names, and notes; of a tag without an image, its evaluation.

    Raises NotFoundError if there is neither, InputError for an image that is no model container.
    """
    repository = _open(reference, via)
    try:
        tag, index = reference.tag, repository.manifest(reference.locator)
    except NotFoundError as error:
        if reference.digest or not reference.tag:
            raise
        tag = f"{reference.tag}{records.EVALUATION_SUFFIX}"
        try:
            index = repository.manifest(tag)
        except NotFoundError:
            raise error from None
    notes: list[str] = []
    if index.artifact_type == records.EVALUATION:
        return _evaluated(repository, index, tag, notes, brief=False), tuple(notes)
    if not _is_model(index):
        raise InputError(reference, "is not a model container: its index names no model digest")
    return _packaged(repository, reference, index, notes, brief=False), tuple(notes)


def _open(reference: Reference, via: Via) -> Repository:
    """A registry's repository remembers records on this disk; an image layout lies on it already."""
    repository = open_repository(reference, via)
    return repository if via.path_of(reference) else Remembering(repository, home() / "cache" / "records")


def _key(version: Version) -> tuple[bool, tuple[int, ...], str]:
    number = order(version.version)
    return number is not None, number or (), version.version


def _distinct(found: Sequence[Version]) -> list[Version]:
    """Each version once: packaged where it also is not, and without the other names (`latest`) of a version's image."""
    named: dict[str, Version] = {}
    for each in sorted(found, key=lambda each: each.reference is None):
        named.setdefault(each.version, each)
    ordered = {each.reference.digest for each in named.values() if each.reference and order(each.version)}
    return [
        each
        for each in named.values()
        if each.reference is None or order(each.version) or each.reference.digest not in ordered
    ]


def _look(repository: Repository, image: Reference, tag: str, brief: bool) -> tuple[Version | None, tuple[str, ...]]:
    notes: list[str] = []
    try:
        index = repository.manifest(tag)
        if index.artifact_type == records.EVALUATION:
            return _evaluated(repository, index, tag, notes, brief), tuple(notes)
        if not _is_model(index):
            return None, (f"{tag}: another image, not a model container",)
        return _packaged(repository, image.at(tag=tag), index, notes, brief), tuple(notes)
    except _NOT_UNDERSTOOD as error:
        return None, (*notes, f"{tag}: {error.problem}")


def _is_model(index: oci.Manifest) -> bool:
    return oci.is_digest(index.annotations.get(oci.ANNOTATION_MODEL_DIGEST, ""))


def _evaluated(
    repository: Repository, manifest: oci.Manifest, tag: str, notes: list[str], brief: bool
) -> Version:  # fmt: skip
    """A version of which there is nothing but its evaluation, and what refers to that."""
    evaluation = records.read_evaluation(repository, manifest)
    version = Version(
        tag.removesuffix(records.EVALUATION_SUFFIX),
        None,
        evaluation=evaluation,
        passed=evaluation.passed,
        metrics=MappingProxyType(records.headline(evaluation)),
        model=evaluation.model,
    )
    if brief:
        return version
    beside = _beside(repository, manifest.digest, version.version, notes)
    return replace(version, origin=next(iter(beside.newest(records.PROVENANCE, records.read_provenance)), None))


def _packaged(
    repository: Repository, reference: Reference, index: oci.Manifest, notes: list[str], brief: bool
) -> Version:
    told = index.annotations
    version = Version(
        version=reference.tag or told.get(oci.ANNOTATION_VERSION) or index.digest,
        reference=reference.at(tag=reference.tag, digest=index.digest),
        model_digest=told[oci.ANNOTATION_MODEL_DIGEST],
        metrics=MappingProxyType(metrics_of(told)),
        lineage=MappingProxyType(lineage_of(told)),
        model=told.get(oci.ANNOTATION_MODEL_NAME, ""),
    )
    beside = _beside(repository, index.digest, version.version, notes)
    return _briefly(version, beside) if brief else _wholly(version, beside)


def _beside(repository: Repository, digest: str, version: str, notes: list[str]) -> _Beside:
    found: Sequence[oci.Descriptor] = ()
    try:
        found = repository.referrers(digest)
    except IntegrityError as error:
        notes.append(f"{version}: {error.problem}")
    newest = sorted(found, key=lambda each: (each.annotations.get(records.ANNOTATION_CREATED, ""), each.digest))
    return _Beside(repository, digest, newest[::-1], version, notes)


@dataclass(frozen=True)
class _Beside:
    """An image's referrers, newest first, and where to tell of those that are broken."""

    repository: Repository
    subject: str
    referrers: Sequence[oci.Descriptor]
    version: str
    notes: list[str]

    def of(self, kind: str) -> list[oci.Descriptor]:
        return [each for each in self.referrers if each.artifact_type == kind]

    def newest(self, kind: str, read: Callable[[Repository, oci.Manifest, str], T], most: int = 1) -> list[T]:
        """The newest records of a kind that can be read, `most` at most."""
        found: list[T] = []
        broken = 0
        for each in self.of(kind):
            if len(found) == most or broken == _MOST_TRIED:
                break
            try:
                found.append(read(self.repository, self.repository.manifest(each.digest), self.subject))
            except _NOT_UNDERSTOOD as error:
                broken += 1
                self.notes.append(f"{self.version}: {each.digest[:19]} {error.problem}")
        return found


def _briefly(version: Version, beside: _Beside) -> Version:
    """What the list of referrers says of the newest evaluation; a record is read only where it says nothing."""
    for each in beside.of(records.EVALUATION)[:1]:
        told = {"true": True, "false": False}.get(each.annotations.get(records.ANNOTATION_PASSED, ""))
        if told is None:
            return _with(version, beside.newest(records.EVALUATION, records.read_evaluation))
        metrics = {**version.metrics, **metrics_of(each.annotations)}
        lineage = {**lineage_of(each.annotations), **version.lineage}
        return replace(version, passed=told, metrics=MappingProxyType(metrics), lineage=MappingProxyType(lineage))
    return version


def _wholly(version: Version, beside: _Beside) -> Version:
    version = _with(version, beside.newest(records.EVALUATION, records.read_evaluation))
    origins = beside.newest(records.PROVENANCE, records.read_provenance)
    rollouts = beside.newest(records.ROLLOUT, records.read_rollout, MOST_ROLLOUTS)
    return replace(version, origin=next(iter(origins), None), rollouts=tuple(reversed(rollouts)))


def _with(version: Version, found: Iterable[Evaluation]) -> Version:
    for each in found:
        metrics = MappingProxyType({**version.metrics, **records.headline(each)})
        return replace(version, evaluation=each, passed=each.passed, metrics=metrics)
    return version
