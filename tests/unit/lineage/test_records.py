"""What a registry may hold in the place of a record, and what is done about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelpack import lineage, oci
from modelpack.errors import InputError, IntegrityError, NotFoundError, RemoteError
from modelpack.lineage import records
from modelpack.lineage.origin import to_statement
from modelpack.quality.evaluation import Row, to_json
from modelpack.reference import Reference
from modelpack.registry import LayoutRepository, Via
from modelpack.registry.referrers import fallback_tag
from tests.fakes import versions
from tests.fakes.artifacts import artifact, push
from tests.fakes.registry import Fault, serving

IMAGE = Reference.parse("registry.local/models/mpg")
GOOD = to_json(versions.evaluation("v1"))


@pytest.fixture
def via(tmp_path: Path) -> Via:
    return Via.parse(f"registry.local/=oci:{tmp_path}")


@pytest.fixture
def repository(tmp_path: Path) -> LayoutRepository:
    return LayoutRepository(tmp_path / "models" / "mpg", IMAGE)


def attach(repository: LayoutRepository, image: Reference, kind: str, content: bytes, **changes: Any) -> oci.Manifest:
    """A referrer with any content at all."""
    blob, empty = oci.Blob(content, kind), oci.Blob(b"{}", oci.EMPTY)
    for each in (blob, empty):
        repository.push_layer(each)
    value = {
        "schemaVersion": 2,
        "mediaType": oci.IMAGE_MANIFEST,
        "artifactType": kind,
        "config": empty.descriptor.to_json(),
        "layers": [blob.descriptor.to_json()],
        "subject": repository.manifest(image.digest).descriptor.to_json(),
        "annotations": {"org.opencontainers.image.created": "2099"},  # newer than all others
        **changes,
    }
    manifest = oci.Manifest(oci.canonical_json(value), oci.IMAGE_MANIFEST)
    repository.attach(manifest)
    return manifest


def spoil_blob(layout: LayoutRepository, digest: str) -> None:
    (layout.path / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(b"{")


BROKEN: list[bytes] = [
    b"",
    b"{",
    b"[]",
    b"{}",
    b"[" * 100_000,
    b'{"a":' * 900 + b"1" + b"}" * 900,
    json.dumps({**GOOD, "passed": "yes"}).encode(),
    json.dumps({**GOOD, "reason": ["x"]}).encode(),
    json.dumps({**GOOD, "rows": [7]}).encode(),
    json.dumps({**GOOD, "rows": {"a": 1}}).encode(),
    json.dumps({**GOOD, "rows": [{**GOOD["rows"][0], "n": "79"}]}).encode(),
    json.dumps({**GOOD, "rows": [{**GOOD["rows"][0], "new": "1"}]}).encode(),
    json.dumps({**GOOD, "digests": [1]}).encode(),
    json.dumps({**GOOD, "ended": None}).encode(),
    b" " * (records.RECORD_LIMIT + 1),
]


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
@pytest.mark.parametrize("kind", [records.EVALUATION, records.PROVENANCE])
def test_a_broken_record_hides_none_that_is_whole(
    repository: LayoutRepository, via: Via, kind: str, content: bytes
) -> None:
    image = versions.package(repository, "v1")
    lineage.put_evaluation(image, versions.evaluation("v1"), via)
    lineage.put_provenance(image, versions.origin("v1"), via)
    attach(repository, image, kind, content)
    for brief in (False, True):
        found = lineage.catalog(image, via, brief=brief)
        (version,) = found.versions
        assert version.passed is True
        assert brief or (version.evaluation, version.origin) == (versions.evaluation("v1"), versions.origin("v1"))
        assert len(found.notes) == (1 if kind == records.EVALUATION or not brief else 0)
        assert all(each.startswith("v1: sha256:") for each in found.notes)


def test_a_record_about_another_image_does_not_count(repository: LayoutRepository, via: Via) -> None:
    one, two = versions.package(repository, "v1"), versions.package(repository, "v2")
    lineage.put_evaluation(one, versions.evaluation("v1"), via)
    lineage.put_provenance(one, versions.origin("v1"), via)
    lineage.put_rollout(one, versions.rollout("mpg-1", one), via)
    listed = repository.manifest(fallback_tag(one.digest))  # a list that says so of another image
    repository.push_manifest(listed, fallback_tag(two.digest))
    version = lineage.versions(IMAGE, via)[1]
    assert (version.evaluation, version.origin, version.rollouts) == (None, None, ())


def test_a_statement_about_another_image_does_not_count(repository: LayoutRepository, via: Via) -> None:
    one, two = versions.package(repository, "v1"), versions.package(repository, "v2")
    content = json.dumps(to_statement(versions.origin("v1"), one)).encode()
    attach(repository, two, records.PROVENANCE, content)
    assert lineage.versions(IMAGE, via)[1].origin is None


@pytest.mark.parametrize(
    ("spoil", "note"),
    [
        (lambda layout, image: layout.push_manifest(layout.manifest("v1-modelpack"), "odd"), "another image"),
        (lambda layout, image: push(artifact(b"other"), layout, "foreign"), "another image"),
        (lambda layout, image: layout.push_manifest(layout.manifest("v1"), "latest"), ""),
        (lambda layout, image: layout.push_manifest(layout.manifest("v1"), fallback_tag(image.digest)), ""),
        (
            lambda layout, image: layout.push_manifest(layout.manifest("v1-modelpack"), fallback_tag(image.digest)),
            "no index",
        ),
        (lambda layout, image: spoil_blob(layout, image.digest), "has the digest"),
    ],
)
def test_what_is_not_understood_is_passed_over(
    repository: LayoutRepository, via: Via, spoil: Callable[[LayoutRepository, Reference], object], note: str
) -> None:
    image = versions.package(repository, "v1")
    versions.package(repository, "v2")
    spoil(repository, image)
    for brief in (True, False):
        found = lineage.catalog(IMAGE, via, brief=brief)
        assert found.versions[-1].version == "v2"
        assert {each.version for each in found.versions} <= {"v1", "v2"}
        assert [note in each for each in found.notes] == ([True] if note else [])


def test_the_newest_evaluation_counts(repository: LayoutRepository, via: Via) -> None:
    image = versions.package(repository, "v1")
    for ended, passed in ((30.0, False), (10.0, True), (20.0, True)):
        lineage.put_evaluation(image, versions.evaluation("v1", passed=passed, ended=ended), via)
    for brief in (True, False):
        assert lineage.catalog(image, via, brief=brief).versions[0].passed is False


def test_versions_by_their_order(repository: LayoutRepository, via: Via) -> None:
    for each in ("v10", "v9", "v1.10", "nightly", "v1.9"):
        versions.package(repository, each)
    found = [each.version for each in lineage.versions(IMAGE, via)]
    assert found == ["nightly", "v1.9", "v1.10", "v9", "v10"]


def test_a_version_that_passed_later_is_the_packaged_one(repository: LayoutRepository, via: Via) -> None:
    lineage.put_evaluation(IMAGE.at(tag="v2"), versions.evaluation("v2", passed=False), via)
    image = versions.package(repository, "v2")
    lineage.put_evaluation(image, versions.evaluation("v2"), via)
    (version,) = lineage.versions(IMAGE, via)
    assert (version.reference, version.passed) == (image, True)


def test_numbers_that_json_lacks(repository: LayoutRepository, via: Via) -> None:
    rows = (Row("held-out", "", "mae", 3, None, float("nan"), low=float("-inf")),)
    lineage.put_evaluation(IMAGE.at(tag="v1"), replace(versions.evaluation("v1"), rows=rows), via)
    (version,) = lineage.versions(IMAGE, via)
    assert version.evaluation
    assert (version.evaluation.rows[0].new, version.evaluation.rows[0].low) == (None, None)


@pytest.mark.parametrize("size", [10, 5000])
def test_a_large_record_is_a_blob(repository: LayoutRepository, via: Via, size: int) -> None:
    rows = tuple(Row("held-out", f"origin={number}", "mae", 3, None, 1.0) for number in range(size))
    evaluation = replace(versions.evaluation("v1"), rows=rows)
    record = Reference.parse(lineage.put_evaluation(IMAGE.at(tag="v1"), evaluation, via))
    (layer,) = repository.manifest(record.digest).layers
    assert bool(layer.data) == (size == 10)
    assert lineage.versions(IMAGE, via)[0].evaluation == evaluation


def test_what_is_too_large_is_not_written(repository: LayoutRepository, via: Via) -> None:
    image = versions.package(repository, "v1")
    with pytest.raises(InputError, match="more than 1 MiB"):
        lineage.put_rollout(image, {"id": "mpg-1", "text": "x" * (1 << 20)}, via)
    assert repository.referrers(image.digest) == ()


@pytest.mark.parametrize("document", [{}, {"id": ""}, {"id": 7}, {"id": "a\nb"}, {"id": "x" * 201}])
def test_a_rollout_without_an_id(repository: LayoutRepository, via: Via, document: dict[str, Any]) -> None:
    image = versions.package(repository, "v1")
    with pytest.raises(InputError, match="no id"):
        lineage.put_rollout(image, document, via)


def test_a_rollout_of_another_image(repository: LayoutRepository, via: Via) -> None:
    image, other = versions.package(repository, "v1"), versions.package(repository, "v2")
    with pytest.raises(InputError, match="it is about"):
        lineage.put_rollout(image, versions.rollout("mpg-1", other), via)


@pytest.mark.parametrize("put", [lambda image, via: lineage.put_provenance(image, versions.origin("v1"), via)])
def test_an_image_without_a_digest(via: Via, put: Callable[[Reference, Via], str]) -> None:
    with pytest.raises(InputError, match="no digest"):
        put(IMAGE.at(tag="v1"), via)


def test_an_image_that_is_not_there(repository: LayoutRepository, via: Via) -> None:
    versions.package(repository, "v1")
    with pytest.raises(NotFoundError):
        lineage.put_evaluation(IMAGE.at(digest=f"sha256:{'f' * 64}"), versions.evaluation("v1"), via)


def test_a_registry_that_is_down_is_no_empty_list() -> None:
    with serving() as fake:
        fake.tags = ["v1", "v2"]
        fake.faults.append(Fault("GET", "/manifests/v2", status=405))
        with pytest.raises(RemoteError):
            lineage.versions(Reference.parse(f"{fake.address}/models/mpg"), Via())


def test_the_tag_of_a_record_is_no_image(repository: LayoutRepository, via: Via) -> None:
    record = lineage.put_evaluation(IMAGE.at(tag="v3"), versions.evaluation("v3", passed=False), via)
    lineage.put_provenance(Reference.parse(record), versions.origin("v3"), via)
    for reference in (IMAGE.at(tag="v3"), Reference.parse(record)):
        version, notes = lineage.version_at(reference, via)
        assert (version.version, version.reference, version.passed) == ("v3", None, False)
        assert (version.origin, notes) == (versions.origin("v3"), ())
    for missing in (IMAGE.at(tag="v4"), IMAGE, IMAGE.at(digest=f"sha256:{'f' * 64}")):
        with pytest.raises(NotFoundError):
            lineage.version_at(missing, via)
    push(artifact(), repository, "other")
    with pytest.raises(InputError, match="not a model container"):
        lineage.version_at(IMAGE.at(tag="other"), via)


def test_reading_says_what_is_wrong(repository: LayoutRepository, via: Via) -> None:
    image = versions.package(repository, "v1")
    manifest = attach(repository, image, records.ROLLOUT, b"{}", layers=[])
    with pytest.raises(IntegrityError, match="is not one"):
        records.read_rollout(repository, manifest, image.digest)
