"""Records beside an image: each an OCI artifact of one layer that refers to the image, written once and never changed.

Source: OCI image specification 1.1, manifest.md, "Guidelines for Artifact Usage". A record up to 64 KiB travels inside
its manifest as well (descriptor.md, `data`), and what a list of versions shows stands in its annotations, which lists
of referrers repeat: a registry is asked once where it would have to be asked three times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from modelpack import oci
from modelpack.errors import InputError, IntegrityError, NotFoundError
from modelpack.lineage.origin import PREDICATE, Origin, about, from_statement, to_rfc3339, to_statement
from modelpack.provenance import to_annotations
from modelpack.quality.evaluation import Evaluation, Row, from_json, to_json
from modelpack.reference import Reference
from modelpack.registry import Repository, Via, open_repository

EVALUATION = "application/vnd.modelpack.evaluation.v1+json"
PROVENANCE = "application/vnd.in-toto+json"
ROLLOUT = "application/vnd.modelpack.rollout.v1+json"

EVALUATION_SUFFIX = "-evaluation"
"""The evaluation of a version `v3` that did not pass, and so has no image, has the tag `v3-evaluation`."""

ANNOTATION_PASSED = "dev.modelpack.passed"
ANNOTATION_ROLLOUT = "dev.modelpack.rollout"
ANNOTATION_PREDICATE = "in-toto.io/predicate-type"
ANNOTATION_CREATED = "org.opencontainers.image.created"

RECORD_LIMIT = 1 << 20
"""Bytes of the largest record that is written or read."""
_INLINE = 64 << 10
_EMPTY = oci.Blob(b"{}", oci.EMPTY)
_BROKEN = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)


def put_evaluation(image: Reference, evaluation: Evaluation, via: Via) -> str:
    """Record how good a version was found, beside its image; of one that has no image, under a tag of its own.

    `image` has a digest, or a tag that is the version. Gives the record's reference; the same again is a no-op.
    """
    lineage = {"data": evaluation.data} if evaluation.data else {}
    notes = {
        ANNOTATION_PASSED: "true" if evaluation.passed else "false",
        ANNOTATION_CREATED: to_rfc3339(evaluation.ended),
        oci.ANNOTATION_VERSION: evaluation.version,
        **to_annotations(headline(evaluation), lineage),
    }
    version = image.tag or evaluation.version
    tag = "" if image.digest else Reference.parse(f"{image.name}:{version}{EVALUATION_SUFFIX}").tag
    return _put(image, EVALUATION, to_json(evaluation), notes, via, tag)


def put_provenance(image: Reference, origin: Origin, via: Via) -> str:
    """Record what an image's model came from. `image` has a digest. The same again is a no-op."""
    notes = {ANNOTATION_PREDICATE: PREDICATE, ANNOTATION_CREATED: to_rfc3339(origin.ended or origin.started)}
    return _put(image, PROVENANCE, to_statement(origin, image), notes, via)


def put_rollout(image: Reference, document: Mapping[str, Any], via: Via) -> str:
    """Record how an image's rollout ended: the gate's JSON of it. `image` has a digest.

    There is one record of a rollout's `id`, the first one: another is not written, and the first is what is given.
    Raises InputError for a document without an id, or about another image.
    """
    rollout, told = document.get("id"), document.get("image", "")
    if not isinstance(rollout, str) or not rollout or len(rollout) > 200 or not rollout.isprintable():
        raise InputError(image, "cannot be told this rollout: it has no id")
    digest = told.partition("@")[2] if isinstance(told, str) else ""
    if digest and digest != image.digest:
        raise InputError(image, f"cannot be told rollout {rollout}: it is about {told}")
    for each in open_repository(image, via).referrers(image.digest, ROLLOUT):
        if each.annotations.get(ANNOTATION_ROLLOUT) == rollout:
            return str(image.at(digest=each.digest))
    at = document.get("ended") or document.get("started") or 0.0
    notes = {ANNOTATION_ROLLOUT: rollout, ANNOTATION_CREATED: to_rfc3339(at) if is_number(at) else ""}
    return _put(image, ROLLOUT, dict(document), notes, via)


def headline(evaluation: Evaluation) -> dict[str, float]:
    """The figures that tell versions apart: those of all held-out rows."""
    rows = (each for each in evaluation.rows if each.data == "held-out" and not each.group)
    return {each.metric: each.new for each in rows if each.new is not None and math.isfinite(each.new)}


def _put(
    image: Reference, kind: str, value: Mapping[str, Any], notes: Mapping[str, str], via: Via, tag: str = ""
) -> str:
    if not (image.digest or tag):
        raise InputError(image, "has no digest to refer to", "name the image by its digest")
    blob = oci.Blob(oci.canonical_json(_finite(value)), kind)
    if blob.size > RECORD_LIMIT:
        raise InputError(image, f"its {kind} has {blob.size} bytes, more than {RECORD_LIMIT >> 20} MiB")
    repository = open_repository(image, via)
    subject = repository.manifest(image.digest).descriptor if image.digest else None
    manifest = _manifest(kind, blob, subject, notes)
    reference = str(image.at(tag=tag, digest=manifest.digest))
    if _is_there(repository, manifest, tag):
        return reference
    repository.push_layer(blob)
    repository.push_layer(_EMPTY)
    if subject:
        repository.attach(manifest)
    else:
        repository.push_manifest(manifest, tag)
    return reference


def _manifest(kind: str, blob: oci.Blob, subject: oci.Descriptor | None, notes: Mapping[str, str]) -> oci.Manifest:
    layer = oci.Descriptor(kind, blob.digest, blob.size, data=blob.data if blob.size <= _INLINE else b"")
    config = oci.Descriptor(oci.EMPTY, _EMPTY.digest, _EMPTY.size, data=_EMPTY.data)
    value: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": oci.IMAGE_MANIFEST,
        "artifactType": kind,
        "config": config.to_json(),
        "layers": [layer.to_json()],
        "annotations": {key: each for key, each in notes.items() if each},
    }
    if subject:
        value["subject"] = subject.to_json()
    return oci.Manifest(oci.canonical_json(value), oci.IMAGE_MANIFEST)


def _is_there(repository: Repository, manifest: oci.Manifest, tag: str) -> bool:
    if manifest.subject:
        known = repository.referrers(manifest.subject.digest, manifest.artifact_type)
        return manifest.digest in (each.digest for each in known)
    try:
        return repository.manifest(tag).digest == manifest.digest
    except NotFoundError:
        return False


# --- reading: a record is anybody's until it is checked. Each raises IntegrityError for what is none


def read_evaluation(repository: Repository, manifest: oci.Manifest, subject: str = "") -> Evaluation:
    """The evaluation that a manifest holds; of the image with the digest `subject` if that is given."""
    value = _read(repository, manifest, EVALUATION, subject)
    try:
        evaluation = from_json(value)
        _check(evaluation)
    except _BROKEN as error:
        raise IntegrityError(manifest.digest, "is not an evaluation") from error
    return evaluation


def read_provenance(repository: Repository, manifest: oci.Manifest, subject: str) -> Origin:
    """What a statement says that the image came from."""
    value = _read(repository, manifest, PROVENANCE, subject)
    try:
        if not about(value, subject):
            raise ValueError(subject)
        return from_statement(value)
    except _BROKEN as error:
        raise IntegrityError(manifest.digest, "is not the provenance of a training run") from error


def read_rollout(repository: Repository, manifest: oci.Manifest, subject: str) -> dict[str, Any]:
    """A rollout of the image, as the gate had it."""
    return _read(repository, manifest, ROLLOUT, subject)


def _read(repository: Repository, manifest: oci.Manifest, kind: str, subject: str) -> dict[str, Any]:
    if manifest.is_index or manifest.artifact_type != kind or len(manifest.layers) != 1:
        raise IntegrityError(manifest.digest, f"is not one {kind}")
    if subject and (manifest.subject is None or manifest.subject.digest != subject):
        raise IntegrityError(manifest.digest, f"is listed beside {subject}, which it does not refer to")
    layer = manifest.layers[0]
    if layer.size > RECORD_LIMIT:
        raise IntegrityError(manifest.digest, f"its content is larger than {RECORD_LIMIT >> 20} MiB")
    data = layer.data or b"".join(bytes(piece) for piece in repository.read_blob(layer.digest, layer.size))
    try:
        return dict(_finite(oci.read_json(data, manifest.digest, "its content")))
    except RecursionError as error:
        raise IntegrityError(manifest.digest, "its content is nested too deep") from error


def _finite(value: Any) -> Any:
    """The same without numbers that JSON does not have: None stands for them."""
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_TEXTS = ("model", "version", "against", "reason", "data", "code", "run")
_ROW_TEXTS = ("data", "group", "metric", "verdict", "reason")
_ROW_NUMBERS = ("old", "new", "difference", "low", "high")


def _check(evaluation: Evaluation) -> None:
    """Raise TypeError unless every field holds what it should."""
    good = isinstance(evaluation.passed, bool) and is_number(evaluation.confidence) and is_number(evaluation.ended)
    good = good and all(isinstance(getattr(evaluation, each), str) for each in _TEXTS)
    good = good and all(_is_row(each) for each in evaluation.rows)
    if not (good and all(map(_is_pair, (evaluation.digests or {}).items()))):
        raise TypeError("not an evaluation")


def _is_row(row: Row) -> bool:
    numbers = [getattr(row, each) for each in _ROW_NUMBERS]
    texts = [getattr(row, each) for each in _ROW_TEXTS]
    return type(row.n) is int and all(each is None or is_number(each) for each in numbers) and _are_texts(*texts)


def _is_pair(pair: tuple[object, object]) -> bool:
    return _are_texts(*pair)


def _are_texts(*values: object) -> bool:
    return all(isinstance(each, str) for each in values)
