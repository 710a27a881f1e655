"""Tags and referrers as hostile, broken and old registries answer for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from modelpack import oci
from modelpack.errors import IntegrityError, ModelpackError, NotFoundError, RefusedError, RemoteError
from modelpack.reference import Reference
from modelpack.registry import referrers
from modelpack.registry.content import MANIFEST_LIMIT
from modelpack.registry.remote import RemoteRepository
from tests.fakes.registry import FakeRegistry, Fault

INDEX = {"Content-Type": oci.IMAGE_INDEX}
SUBJECT = oci.Manifest(b'{"schemaVersion":2,"manifests":[]}', oci.IMAGE_INDEX)
LIST = f"/referrers/{SUBJECT.digest}"
TAG = f"/manifests/{referrers.fallback_tag(SUBJECT.digest)}"


def referrer(text: str = "a note", kind: str = "application/vnd.example.note+json") -> oci.Manifest:
    empty = oci.Blob(b"{}", oci.EMPTY).descriptor.to_json()
    value = {
        "schemaVersion": 2,
        "mediaType": oci.IMAGE_MANIFEST,
        "artifactType": kind,
        "config": empty,
        "layers": [empty],
        "subject": SUBJECT.descriptor.to_json(),
        "annotations": {"text": text},
    }
    return oci.Manifest(oci.canonical_json({key: each for key, each in value.items() if each}), oci.IMAGE_MANIFEST)


def listing(*entries: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": oci.IMAGE_INDEX, "manifests": list(entries)}).encode()


def entry(manifest: oci.Manifest) -> dict[str, Any]:
    return {**manifest.descriptor.to_json(), "artifactType": manifest.artifact_type}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"<html>", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"tags": {"v1": 1}}', "the list of tags is none"),
        (b'{"tags": "v1"}', "the list of tags is none"),
        (b" " * (MANIFEST_LIMIT + 1), "larger than 4 MiB"),
        (b"[" * 100_000, "is not JSON"),
    ],
)
def test_a_list_of_tags_that_is_none(
    fake: FakeRegistry, repository: RemoteRepository, body: bytes, problem: str
) -> None:
    fake.faults.append(Fault("GET", "/tags/list", body=body))
    with pytest.raises(IntegrityError, match=problem):
        repository.tags()


@pytest.mark.parametrize(("tags", "found"), [(None, ()), ([], ()), (["v1", 7, None, "v2", "v1"], ("v1", "v2"))])
def test_tags(fake: FakeRegistry, repository: RemoteRepository, tags: Any, found: tuple[str, ...]) -> None:
    fake.tags = tags
    assert repository.tags() == found


def test_pages_of_tags(fake: FakeRegistry, repository: RemoteRepository) -> None:
    fake.tags = [f"v{number}" for number in range(25)]
    fake.page = 10
    assert list(repository.tags()) == fake.tags
    assert fake.methods("/tags/list") == ["GET"] * 3


@pytest.mark.parametrize("path", ["/tags/list", LIST])
def test_pages_without_an_end(fake: FakeRegistry, repository: RemoteRepository, path: str) -> None:
    link = f'</v2/models/mpg{path}?last=v1>; rel="next"'
    body = b'{"tags": ["v1"], "manifests": []}'
    fake.faults.append(Fault("GET", path, status=200, body=body, headers={**INDEX, "Link": link}))
    with pytest.raises(IntegrityError, match="more than 200 pages"):
        repository.tags() if "tags" in path else repository.referrers(SUBJECT.digest)


def test_a_next_page_elsewhere_gets_no_login(
    fake: FakeRegistry, repository: RemoteRepository, log_in: Callable[..., None]
) -> None:
    fake.login = "basic"
    log_in(fake.address)
    other = fake.address.replace("127.0.0.1", "localhost")
    fake.tags = ["v1"]
    fake.faults.append(Fault("GET", "/tags/list", headers={"Link": f'<http://{other}/next>; rel="next"'}, skip=1))
    with pytest.raises(ModelpackError):
        repository.tags()
    assert [each.authorization for each in fake.seen if each.path == "/next"] == [""]
    fake.faults[-1] = Fault("GET", "/tags/list", headers={"Link": '<http://example.com/next>; rel="next"'})
    with pytest.raises(RefusedError, match="not encrypted"):
        repository.tags()


def test_an_unknown_repository_has_no_tags(fake: FakeRegistry, repository: RemoteRepository) -> None:
    fake.faults.append(Fault("GET", "/tags/list", status=404))
    with pytest.raises(NotFoundError, match="no such repository"):
        repository.tags()


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_without_the_api_the_tag_is_read(fake: FakeRegistry, repository: RemoteRepository, status: int) -> None:
    fake.faults.append(Fault("GET", "/referrers/", status=status))
    assert repository.referrers(SUBJECT.digest) == ()
    note = referrer()
    repository.attach(note)
    assert [each.digest for each in repository.referrers(SUBJECT.digest, note.artifact_type)] == [note.digest]
    assert fake.methods("/referrers/") == ["GET"]  # it is asked for the API once


def test_a_page_in_the_place_of_the_api(fake: FakeRegistry, repository: RemoteRepository) -> None:
    fake.faults.append(Fault("GET", "/referrers/", body=b"<html>", headers={"Content-Type": "text/html"}))
    assert repository.referrers(SUBJECT.digest) == ()
    assert fake.methods(TAG) == ["GET"]


def test_with_the_api_no_tag_is_written(fake: FakeRegistry, repository: RemoteRepository) -> None:
    fake.faults.append(Fault("PUT", "/manifests/", headers={"OCI-Subject": SUBJECT.digest}))
    repository.attach(referrer())
    assert fake.methods(TAG) == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{", "is not JSON"),
        (b'{"manifests": {}}', "is no index"),
        (b'{"manifests": [' + b" " * MANIFEST_LIMIT + b"]}", "larger than 4 MiB"),
        (listing(*[entry(referrer())] * 10_001), "lists more than 10000"),
    ],
)
def test_a_list_of_referrers_that_is_none(
    fake: FakeRegistry, repository: RemoteRepository, body: bytes, problem: str
) -> None:
    link = f'</v2/models/mpg{LIST}?next>; rel="next"'
    fake.faults.append(Fault("GET", LIST, status=200, body=body, headers={**INDEX, "Link": link}))
    with pytest.raises(IntegrityError, match=problem):
        repository.referrers(SUBJECT.digest)


def test_what_cannot_be_followed_is_passed_over(fake: FakeRegistry, repository: RemoteRepository) -> None:
    good = referrer()
    strange = [
        {"mediaType": "x", "digest": f"sha512:{'0' * 128}", "size": 1},
        {"mediaType": "x", "digest": "v1", "size": 1},
        {"mediaType": "x", "digest": good.digest, "size": -1},
        {**entry(good), "data": "bm90IGl0"},
        "text",
        None,
        7,
    ]
    fake.faults.append(Fault("GET", LIST, status=200, body=listing(*strange, entry(good), entry(good)), headers=INDEX))
    assert [each.digest for each in repository.referrers(SUBJECT.digest)] == [good.digest]


def test_the_server_need_not_filter(fake: FakeRegistry, repository: RemoteRepository) -> None:
    one, two = referrer("1"), referrer("2", "application/other")
    fake.faults.append(Fault("GET", LIST, status=200, body=listing(entry(one), entry(two)), headers=INDEX))
    assert [each.digest for each in repository.referrers(SUBJECT.digest, "application/other")] == [two.digest]
    assert fake.seen[-1].path.endswith("?artifactType=application%2Fother")


def test_entries_that_are_not_understood_stay_in_the_tag() -> None:
    strange = {"digest": "sha512:00", "more": [1]}
    index = oci.Manifest(listing(strange), oci.IMAGE_INDEX)
    changed = referrers.with_referrer(index, referrer())
    assert changed is not None
    assert json.loads(changed.raw)["manifests"][0] == strange
    assert referrers.with_referrer(changed, referrer()) is None


def test_something_else_under_the_tag_is_left_alone(fake: FakeRegistry, repository: RemoteRepository) -> None:
    other = referrer("an image of somebody's")
    fake.faults.append(Fault("GET", "/referrers/", status=404))
    repository.push_manifest(other, referrers.fallback_tag(SUBJECT.digest))
    with pytest.raises(IntegrityError, match="is no index"):
        repository.attach(referrer())
    assert repository.manifest(referrers.fallback_tag(SUBJECT.digest)).digest == other.digest


def test_a_list_that_others_overwrite_is_written_again(fake: FakeRegistry, repository: RemoteRepository) -> None:
    fake.faults.append(Fault("GET", "/referrers/", status=404))
    note, theirs = referrer("ours"), referrers.with_referrer(None, referrer("theirs"))
    assert theirs
    # once, what is read after our write is what another one wrote over it
    fake.faults.append(
        Fault("GET", TAG, body=theirs.raw, headers={"Docker-Content-Digest": theirs.digest}, skip=1, times=1)
    )
    fake.manifests[referrers.fallback_tag(SUBJECT.digest)] = (oci.IMAGE_INDEX, listing())
    repository.attach(note)
    found = {each.annotations["text"] for each in repository.referrers(SUBJECT.digest)}
    assert found == {"ours", "theirs"}


def test_a_registry_that_is_down(fake: FakeRegistry, repository: RemoteRepository) -> None:
    fake.faults.append(Fault("GET", "/tags/list|/referrers/", status=503))
    for ask in (repository.tags, lambda: repository.referrers(SUBJECT.digest)):
        with pytest.raises(RemoteError, match="503"):
            ask()


@pytest.mark.parametrize("digest", ["", "v1", "sha256:../../x"])
def test_referrers_of_no_digest(fake: FakeRegistry, repository: RemoteRepository, digest: str) -> None:
    with pytest.raises(IntegrityError, match="is not a sha256 digest"):
        repository.referrers(digest)
    assert not fake.seen


def test_a_manifest_without_a_subject_is_not_attached(repository: RemoteRepository) -> None:
    with pytest.raises(IntegrityError, match="has no subject"):
        repository.attach(SUBJECT)


@pytest.mark.parametrize("subject", ["text", 7, {"digest": "v1"}, []])
def test_a_subject_that_is_none(subject: object) -> None:
    manifest = oci.Manifest(json.dumps({"subject": subject}).encode(), oci.IMAGE_MANIFEST)
    with pytest.raises(IntegrityError, match="subject is not a descriptor"):
        _ = manifest.subject


def test_the_tag_of_a_list() -> None:
    assert referrers.fallback_tag(SUBJECT.digest) == SUBJECT.digest.replace(":", "-")
    assert referrers.is_fallback_tag(referrers.fallback_tag(SUBJECT.digest) + ".sig")
    assert not referrers.is_fallback_tag("sha256-short")
    assert Reference.parse(f"localhost/x:{referrers.fallback_tag(SUBJECT.digest)}")
