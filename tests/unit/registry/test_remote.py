"""The HTTP client against a registry that does everything wrong that a registry can."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import pytest

from modelpack import oci
from modelpack.errors import (
    InputError,
    IntegrityError,
    ModelpackError,
    NotFoundError,
    RefusedError,
    RemoteError,
    SourceChangedError,
)
from modelpack.reference import Reference
from modelpack.registry.remote import RemoteRepository
from tests.fakes.registry import PASSWORD, FakeRegistry, Fault, serving
from tests.unit.registry.conftest import QUICK

DATA = bytes(range(256)) * 16384  # 4 MiB: more than a socket buffers
UPLOAD = r"/uploads/s"
WRONG = oci.digest_of(b"something else")
MANIFEST = oci.Manifest(oci.canonical_json({"schemaVersion": 2, "layers": []}), oci.IMAGE_MANIFEST)


@dataclass
class Streamed:
    """A layer in pieces of 64 KiB, which counts how often it was started."""

    data: bytes = DATA
    digest: str = ""
    size: int = len(DATA)
    media_type: str = oci.IMAGE_LAYER
    starts: int = 0
    error: Exception | None = None

    def chunks(self) -> Iterator[memoryview]:
        self.starts += 1
        for start in range(0, len(self.data), 65536):
            yield memoryview(self.data)[start : start + 65536]
        if self.error:
            raise self.error


def test_an_unknown_digest_takes_one_body(fake: FakeRegistry, repository: RemoteRepository) -> None:
    descriptor = repository.push_layer(Streamed())
    assert descriptor == oci.Descriptor(oci.IMAGE_LAYER, oci.digest_of(DATA), len(DATA))
    assert fake.blobs[descriptor.digest] == DATA
    assert [(each.method, each.length) for each in fake.seen] == [("POST", 0), ("PATCH", len(DATA)), ("PUT", 0)]


def test_a_known_digest_is_asked_for_first(fake: FakeRegistry, repository: RemoteRepository) -> None:
    layer = Streamed(digest=oci.digest_of(DATA))
    repository.push_layer(layer)
    assert [(each.method, each.length) for each in fake.seen] == [("HEAD", 0), ("POST", 0), ("PUT", len(DATA))]
    repository.push_layer(layer)
    assert layer.starts == 1
    assert fake.methods() == ["HEAD", "POST", "PUT", "HEAD"]


def test_an_empty_layer(fake: FakeRegistry, repository: RemoteRepository) -> None:
    assert repository.push_layer(Streamed(b"", size=0)).digest in fake.blobs


@pytest.mark.parametrize("digest", ["", oci.digest_of(DATA)])
@pytest.mark.parametrize("cut", [1, 1 << 20, len(DATA)])
def test_a_cut_upload_starts_over(cut: int, digest: str, fake: FakeRegistry, repository: RemoteRepository) -> None:
    fake.faults.append(Fault("PUT" if digest else "PATCH", UPLOAD, cut=cut, times=1))
    layer = Streamed(digest=digest)
    assert fake.blobs[repository.push_layer(layer).digest] == DATA
    assert layer.starts == 2
    assert fake.sessions == {}  # the abandoned one was deleted


def test_an_upload_that_always_breaks(fake: FakeRegistry, repository: RemoteRepository) -> None:
    fake.faults.append(Fault("PATCH", UPLOAD, cut=1000))
    layer = Streamed()
    with pytest.raises(RemoteError, match=r"broke in an upload: \w.*try again"):
        repository.push_layer(layer)
    assert layer.starts == QUICK.tries
    assert fake.blobs == {} == fake.sessions


def test_a_lost_last_answer_uploads_nothing_twice(fake: FakeRegistry, repository: RemoteRepository) -> None:
    fake.faults.append(Fault("PUT", "digest=", headers={"Content-Length": "9"}, times=1))  # kept, but the answer breaks
    layer = Streamed()
    repository.push_layer(layer)
    assert layer.starts == 1


@pytest.mark.parametrize(
    ("status", "body", "error", "says"),
    [
        (413, b"", RemoteError, "answers 413"),
        (403, b'{"errors":[{"code":"DENIED","message":"quota is used up"}]}', RefusedError, "quota is used up"),
        (500, b"<html>", RemoteError, "answers 500; try again"),
    ],
)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_an_early_answer_is_what_is_reported(
    method: str,
    status: int,
    body: bytes,
    error: type[ModelpackError],
    says: str,
    fake: FakeRegistry,
    repository: RemoteRepository,
) -> None:
    fake.faults.append(Fault(method, UPLOAD, status, body=body))
    with pytest.raises(error, match=says):
        repository.push_layer(Streamed(digest=oci.digest_of(DATA) if method == "PUT" else ""))
    assert fake.sessions == {}


def test_early_approval_is_no_approval(fake: FakeRegistry, repository: RemoteRepository) -> None:
    fake.faults.append(Fault("PATCH", UPLOAD, 202, {"Location": "/v2/models/mpg/blobs/uploads/s1"}))
    with pytest.raises(RemoteError):
        repository.push_layer(Streamed(DATA * 8, size=len(DATA) * 8))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT"])
def test_passing_failures_are_retried(
    method: str, status: int, fake: FakeRegistry, repository: RemoteRepository
) -> None:
    fake.faults.append(Fault(method, "blobs", status, {"Retry-After": "1"}, times=2))
    repository.push_layer(Streamed(digest=oci.digest_of(DATA)))
    assert fake.blobs


def test_a_registry_that_stays_busy(fake: FakeRegistry, repository: RemoteRepository) -> None:
    fake.faults.append(Fault("GET", "manifests", 429, body=b'{"errors":[{"message":"slow\\n down"}]}'))
    with pytest.raises(RemoteError, match=r"answers 429 \(slow down\); try again"):
        repository.manifest("v1")
    assert len(fake.seen) == QUICK.tries


def test_a_registry_that_is_down() -> None:
    with serving() as fake:
        address = fake.address
    with pytest.raises(RemoteError, match=r"cannot be reached at http://127\.0\.0\.1:.*Connection refused"):
        RemoteRepository(Reference.parse(f"{address}/m"), QUICK).manifest("v1")


@pytest.mark.parametrize(
    ("layer", "error"),
    [
        (Streamed(size=len(DATA) - 1), IntegrityError),
        (Streamed(size=len(DATA) + 1), IntegrityError),
        (Streamed(digest=WRONG), IntegrityError),
        (Streamed(size=len(DATA) + 1, error=SourceChangedError("f", "changed")), SourceChangedError),
        (Streamed(size=len(DATA) + 1, error=OSError(5, "disk")), OSError),
    ],
)
def test_wrong_bytes_are_never_stored(
    layer: Streamed, error: type[Exception], fake: FakeRegistry, repository: RemoteRepository
) -> None:
    with pytest.raises(error):
        repository.push_layer(layer)
    assert layer.starts == 1  # reading again would not help
    assert fake.blobs == {} == fake.sessions


def test_a_registry_that_got_other_bytes(fake: FakeRegistry, repository: RemoteRepository) -> None:
    fake.faults.append(Fault("PUT", "digest=", 400, body=b'{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}'))
    with pytest.raises(IntegrityError, match="other bytes"):
        repository.push_layer(Streamed())


@pytest.mark.parametrize("path", ["blobs", "manifests"])
def test_a_registry_that_lies_about_what_it_stored(path: str, fake: FakeRegistry, repository: RemoteRepository) -> None:
    fake.faults.append(Fault("PUT", path, headers={"Docker-Content-Digest": WRONG}))
    with pytest.raises(IntegrityError, match=f"says that it stored {WRONG}"):
        repository.push_layer(Streamed()) if path == "blobs" else repository.push_manifest(MANIFEST, "v1")


def test_manifests_come_back_as_they_went(fake: FakeRegistry, repository: RemoteRepository) -> None:
    repository.push_manifest(MANIFEST, "v1")
    repository.push_manifest(MANIFEST)
    assert [each.path for each in fake.seen] == [f"/v2/models/mpg/manifests/{each}" for each in ("v1", MANIFEST.digest)]
    assert repository.manifest("v1") == repository.manifest(MANIFEST.digest) == MANIFEST
    with pytest.raises(NotFoundError, match="no such image"):
        repository.manifest("v2")


@pytest.mark.parametrize(
    ("fault", "locator"),
    [
        (Fault("GET", "manifests", headers={"Docker-Content-Digest": WRONG}), "v1"),
        (Fault("GET", "manifests", body=b"{}"), MANIFEST.digest),
        (Fault("GET", "manifests", body=b"<html>"), "v1"),
        (Fault("GET", "manifests", body=b" " * (5 << 20)), "v1"),
    ],
)
def test_a_wrong_manifest_is_noticed(
    fault: Fault, locator: str, fake: FakeRegistry, repository: RemoteRepository
) -> None:
    repository.push_manifest(MANIFEST, "v1")
    fake.faults.append(fault)
    with pytest.raises(IntegrityError):
        repository.manifest(locator)


def test_the_media_type_is_the_manifests_own_when_the_registry_has_none(
    fake: FakeRegistry, repository: RemoteRepository
) -> None:
    fake.manifests["v1"] = ("text/plain", b'{"manifests": []}')
    fake.manifests["v2"] = ("", oci.canonical_json({"mediaType": oci.DOCKER_MANIFEST}))
    assert [repository.manifest(tag).media_type for tag in ("v1", "v2")] == [oci.IMAGE_INDEX, oci.DOCKER_MANIFEST]


def test_a_blob_comes_back(fake: FakeRegistry, repository: RemoteRepository) -> None:
    digest = fake.put(DATA)
    assert b"".join(repository.read_blob(digest, len(DATA))) == DATA
    with pytest.raises(NotFoundError):
        list(repository.read_blob(WRONG, 1))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("GET", "blobs", body=DATA[:-1] + b"!"), IntegrityError),
        (Fault("GET", "blobs", body=DATA[:-1]), IntegrityError),
        (Fault("GET", "blobs", body=b"!" + DATA), IntegrityError),
        (Fault("GET", "blobs", cut=1000), RemoteError),
    ],
)
def test_a_wrong_blob_is_never_handed_on_whole(
    fault: Fault, error: type[ModelpackError], fake: FakeRegistry, repository: RemoteRepository
) -> None:
    digest, got = fake.put(DATA), 0
    fake.faults.append(fault)
    with pytest.raises(error):
        for piece in repository.read_blob(digest, len(DATA)):
            got += len(piece)
    assert got < len(DATA)


def test_a_digest_that_is_none_is_not_sent(fake: FakeRegistry, repository: RemoteRepository) -> None:
    with pytest.raises(IntegrityError):
        list(repository.read_blob("sha256:../../../etc", 1))
    assert fake.seen == []


def test_redirects_and_locations_elsewhere_get_no_authorization(
    fake: FakeRegistry, repository: RemoteRepository, log_in: Callable[..., None]
) -> None:
    log_in(fake.address)
    fake.login = "basic"
    digest = fake.put(DATA)
    with serving() as other:
        other.put(DATA)
        there = f"http://{other.address}/v2/x/blobs"
        other.sessions["s9"] = b""
        fake.faults.append(Fault("GET", "blobs", 307, {"Location": f"{there}/{digest}"}, skip=1))
        fake.faults.append(Fault("POST", "uploads", 202, {"Location": f"{there}/uploads/s9?_state=a%2Fb"}))
        assert b"".join(repository.read_blob(digest, len(DATA))) == DATA
        repository.push_layer(Streamed(b"new", size=3))
        assert other.blobs[oci.digest_of(b"new")] == b"new"
        assert other.methods() == ["GET", "PATCH", "PUT"]
        assert {each.authorization for each in other.seen} == {""}


@pytest.mark.parametrize(
    "target", ["http://registry.example.com/x", "file:///etc/passwd", "http://user:hush@10.0.0.1/"]
)
def test_no_reference_leads_to_unencrypted_places(
    target: str, fake: FakeRegistry, repository: RemoteRepository
) -> None:
    fake.faults.append(Fault("GET", "blobs", 307, {"Location": target}))
    fake.faults.append(Fault("POST", "uploads", 202, {"Location": target}))
    for act in (lambda: list(repository.read_blob(WRONG, 1)), lambda: repository.push_layer(Streamed())):
        with pytest.raises(RefusedError, match="not encrypted") as caught:
            act()
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize("target", ["https://registry.example.com:99999/", "http://[::1/"])
def test_a_location_that_is_no_address(target: str, fake: FakeRegistry, repository: RemoteRepository) -> None:
    fake.faults.append(Fault("POST", "uploads", 202, {"Location": target}))
    with pytest.raises(RemoteError, match="an address that is none"):
        repository.push_layer(Streamed())


def test_a_host_that_is_none() -> None:
    with pytest.raises(InputError, match="not a host and port"):
        RemoteRepository(Reference.parse("[::1::]:5000/m"))


def test_a_circle_of_redirects_ends(fake: FakeRegistry, repository: RemoteRepository) -> None:
    fake.faults.append(Fault("GET", "", 302, {"Location": "/v2/"}))
    with pytest.raises(RemoteError, match="circle"):
        repository.manifest("v1")


def test_a_blob_kept_elsewhere_is_there(fake: FakeRegistry, repository: RemoteRepository) -> None:
    fake.faults.append(Fault("HEAD", "blobs", 307, {"Location": "http://203.0.113.1/"}))
    assert repository.has_blob(WRONG)


@pytest.fixture
def beyond(fake: FakeRegistry) -> RemoteRepository:
    """The same registry by an address that is no loopback one."""
    fake.address = fake.address.replace("127.0.0.1", "0.0.0.0")
    return RemoteRepository(Reference.parse(f"{fake.address}/m"), QUICK)


def test_plain_http_beyond_this_machine_must_be_listed(
    fake: FakeRegistry, beyond: RemoteRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RemoteError, match=r"does not speak TLS; if it .* list 0.0.0.0:[0-9]+ in MODELPACK_INS"):
        beyond.push_manifest(MANIFEST, "v1")
    assert fake.manifests == {}
    monkeypatch.setenv("MODELPACK_INSECURE_REGISTRIES", fake.address)
    listed = RemoteRepository(beyond.reference, QUICK)
    listed.push_manifest(MANIFEST, "v1")
    listed.push_layer(Streamed())
    assert listed.manifest("v1") == MANIFEST


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_no_login_crosses_the_network_in_the_clear(
    kind: Literal["basic", "bearer"],
    fake: FakeRegistry,
    beyond: RemoteRepository,
    log_in: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake.login = kind
    log_in(fake.address)
    monkeypatch.setenv("MODELPACK_INSECURE_REGISTRIES", fake.address)
    with pytest.raises(RefusedError, match="wants a login, which plain HTTP would show to the network"):
        RemoteRepository(beyond.reference, QUICK).push_layer(Streamed())
    assert not any(each.authorization.startswith("Basic") or PASSWORD in each.path for each in fake.seen)


def test_basic_login(fake: FakeRegistry, repository: RemoteRepository, log_in: Callable[..., None]) -> None:
    fake.login = "basic"
    with pytest.raises(RefusedError, match="wants a login; run docker login"):
        repository.push_manifest(MANIFEST)
    log_in(fake.address)
    repository.push_manifest(MANIFEST)
    log_in(fake.address, password="wrong-" + PASSWORD)
    with pytest.raises(RefusedError, match="refuses the login") as caught:
        RemoteRepository(repository.reference, QUICK).push_manifest(MANIFEST)
    assert PASSWORD not in str(caught.value)


def test_tokens_are_kept_widened_and_renewed(
    fake: FakeRegistry, repository: RemoteRepository, log_in: Callable[..., None]
) -> None:
    log_in(fake.address)
    fake.login = "bearer"
    for _ in range(3):
        repository.has_blob(WRONG)
    repository.push_layer(Streamed())
    assert [re.sub(".*%3A", "", each.path) for each in fake.seen if "token" in each.path] == [
        "pull&service=tests",
        "pull%2Cpush&service=tests",
    ]
    fake.tokens.clear()  # they expire
    repository.push_layer(Streamed(b"next", size=4))
    fake.faults.append(Fault("PATCH", UPLOAD, 401, {"WWW-Authenticate": _bearer(fake)}, times=1))
    repository.push_layer(Streamed(b"last", size=4))
    assert len(fake.methods("token")) == 4
    assert len(fake.blobs) == 3


def test_threads_share_one_token(fake: FakeRegistry, repository: RemoteRepository, log_in: Callable[..., None]) -> None:
    log_in(fake.address)
    fake.login = "bearer"
    with ThreadPoolExecutor(8) as pool:
        pushed = list(pool.map(repository.push_layer, [Streamed(b"%d" % number, size=1) for number in range(8)]))
    assert {each.digest for each in pushed} == set(fake.blobs)
    assert len(fake.methods("token")) == 1


def test_a_token_server_that_refuses(
    fake: FakeRegistry, repository: RemoteRepository, log_in: Callable[..., None]
) -> None:
    log_in(fake.address, password="hush-hush")
    fake.login = "bearer"
    with pytest.raises(RefusedError, match="refuses the login") as caught:
        repository.manifest("v1")
    assert "hush" not in str(caught.value)
    fake.faults.append(Fault("GET", "token", 200, body=json.dumps({"token": "two\r\nlines"}).encode()))
    with pytest.raises(RemoteError, match="gave no token"):
        repository.manifest("v1")


def _bearer(fake: FakeRegistry) -> str:
    return f'Bearer realm="http://{fake.address}/token",service="tests"'
