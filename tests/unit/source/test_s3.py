from __future__ import annotations

import sys
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError

from modelpack.errors import InputError, ModelpackError, NotFoundError, RefusedError, RemoteError, SourceChangedError
from modelpack.files import File
from modelpack.source import open_source
from modelpack.source.s3 import S3Source
from tests.fakes.s3 import FakeS3, etag, failure

BIG = bytes(range(256)) * 9000  # more than two pieces of 1 MiB


def source(objects: dict[str, bytes], location: str = "s3://models/mpg/v2", **how: Any) -> S3Source:
    return S3Source(location, FakeS3(objects, **how))


def data(source: S3Source, file: File) -> bytes:
    pieces = [bytes(piece) for piece in source.read(file)]
    assert all(0 < len(piece) <= 1 << 20 for piece in pieces)
    return b"".join(pieces)


def test_a_prefix_is_a_folder_and_keys_imply_folders() -> None:
    model = {"mpg/v2/b/c/w": b"1", "mpg/v2/a": b"22", "mpg/v2/ä": b"", "mpg/v2/empty/": b"", "mpg/v2/": b""}
    assert source({**model, "mpg/v20/x": b"no", "mpg/v2": b"no"}).files() == (
        File("a", size=2, stamp=etag(b"22")),
        File("b", "folder"),
        File("b/c", "folder"),
        File("b/c/w", size=1, stamp=etag(b"1")),
        File("empty", "folder"),
        File("ä", size=0, stamp=etag(b"")),
    )


@pytest.mark.parametrize(
    ("location", "path", "key"),
    [
        ("s3://models", "mpg/v2/w", "mpg/v2/w"),
        ("s3://models/", "mpg/v2/w", "mpg/v2/w"),
        ("s3://models/mpg/v2/", "w", "mpg/v2/w"),
        ("s3://models/mpg/v2/w", "w", "mpg/v2/w"),
        ("s3://models/top", "top", "top"),
    ],
)
def test_bucket_prefix_and_object_are_models(location: str, path: str, key: str) -> None:
    client = FakeS3({key: BIG})
    found = [file for file in S3Source(location, client).files() if file.kind == "file"]
    assert [(file.path, file.size) for file in found] == [(path, len(BIG))]
    again = S3Source(S3Source(location, client).location, client)
    assert again.stamp(found[0]) == etag(BIG)
    assert data(again, found[0]) == BIG
    assert client.asked == [{"Key": key, "IfMatch": etag(BIG), "Range": ""}]


@pytest.mark.parametrize(
    ("objects", "error", "words"),
    [
        ({"mpg/v20/x": b""}, NotFoundError, "nothing below"),
        ({"mpg/v2/": b""}, InputError, "no file"),
        ({"mpg/v2/a/../b": b""}, RefusedError, r"\.\. part"),
        ({"mpg/v2//etc/passwd": b""}, RefusedError, "empty"),
        ({"mpg/v2/a/./b": b""}, RefusedError, "part"),
        ({"mpg/v2/a/": b"x"}, RefusedError, "empty"),
        ({"mpg/v2/a\nb": b""}, RefusedError, r"a\\nb.*control"),
        ({"mpg/v2/a": b"", "mpg/v2/a/b": b""}, RefusedError, "v2/a: is both"),
    ],
)
def test_what_cannot_be_a_model_is_refused(objects: dict[str, bytes], error: type[ModelpackError], words: str) -> None:
    with pytest.raises(error, match=words):
        source(objects).files()


@pytest.mark.parametrize(
    "location", ["s3://", "s3:///a", "s3://b/x", "s3://bad bucket/x", "s3://models/a/../b", "s3://models//a"]
)
def test_what_is_no_location_is_refused(location: str) -> None:
    with pytest.raises(InputError):
        source({}, location)


def test_no_bucket() -> None:
    with pytest.raises(NotFoundError, match="bucket"):
        source({}, "s3://others/mpg").files()


@pytest.mark.parametrize("cut", [True, False], ids=["with an error", "silently"])
def test_a_body_that_breaks_off_is_resumed(cut: bool) -> None:
    client = FakeS3({"mpg/v2/w": BIG}, breaks=(1_500_000, 0, 7), cut=cut)
    model = S3Source("s3://models/mpg/v2", client)
    assert data(model, model.files()[0]) == BIG
    ranges = ["", "bytes=1500000-", "bytes=1500000-", "bytes=1500007-"]
    assert client.asked == [{"Key": "mpg/v2/w", "IfMatch": etag(BIG), "Range": each} for each in ranges]


def test_a_body_that_always_breaks_off_is_given_up() -> None:
    model = source({"mpg/v2/w": BIG}, breaks=(3,) + (0,) * 99)
    with pytest.raises(RemoteError, match=rf"v2/w: broke off 6 times, the last time at byte 3 of {len(BIG)}"):
        data(model, model.files()[0])


@pytest.mark.parametrize(
    ("after", "words"),
    [({"mpg/v2/w": b"another"}, "replaced"), ({}, "gone"), ({"mpg/v2": b""}, "gone")],
)
def test_an_object_replaced_since_the_listing_is_an_error(after: dict[str, bytes], words: str) -> None:
    client = FakeS3({"mpg/v2/w": BIG})
    model = S3Source("s3://models/mpg/v2", client)
    (file,) = model.files()
    client.objects = after
    assert model.stamp(file) in ("", etag(b"another"))
    with pytest.raises(SourceChangedError, match=words):
        data(model, file)


def test_an_object_replaced_between_two_ranges_is_an_error_even_without_a_stamp() -> None:
    client = FakeS3({"mpg/v2/w": BIG}, breaks=(5,))
    pieces = S3Source("s3://models/mpg/v2", client).read(File("w", size=len(BIG)))
    next(pieces)
    client.objects["mpg/v2/w"] = BIG[::-1]
    with pytest.raises(SourceChangedError, match="replaced"):
        next(pieces)


def test_another_size_is_an_error() -> None:
    with pytest.raises(SourceChangedError, match="no longer an object of 3 bytes"):
        data(source({"mpg/v2/w": b"four"}), File("w", size=3))


@pytest.mark.parametrize(
    ("raised", "error", "words"),
    [
        (failure("AccessDenied", 403), RefusedError, "AccessDenied: told so"),
        (failure("SlowDown", 503), RemoteError, "503"),
        (NoCredentialsError(), InputError, "credentials.*AWS_ACCESS_KEY_ID"),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), RemoteError, "127.0.0.1:1"),
    ],
)
def test_what_boto_raises_becomes_one_sentence(raised: Exception, error: type[ModelpackError], words: str) -> None:
    class Failing(FakeS3):
        def list_objects_v2(self, *_: Any, **__: Any) -> dict[str, Any]:
            raise raised

    with pytest.raises(error, match=words) as caught:
        S3Source("s3://models/mpg/v2", Failing({})).files()
    assert caught.value.__cause__ is raised


def test_without_boto3_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(InputError, match=r"pip install 'modelpack-delivery\[s3\]'"):
        open_source("s3://models/mpg")
