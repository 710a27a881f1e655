"""A model in a real S3 server is the same model as in a folder."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import boto3
import pytest

from modelpack.errors import InputError, NotFoundError, RefusedError, RemoteError, SourceChangedError
from modelpack.files import File, Source
from modelpack.image import plan_layers
from modelpack.oci import digest_of
from modelpack.source import open_source
from tests.integration.servers.process import free_port
from tests.integration.servers.relay import cutting
from tests.integration.servers.s3 import S3

MIB = 1 << 20
BUCKETS = (f"models-{number}" for number in itertools.count(1))


@pytest.fixture
def client(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client for the test itself; what it tests reads the same environment."""
    for name, value in s3.environ.items():
        monkeypatch.setenv(name, value)
    return boto3.session.Session().client("s3")


@pytest.fixture
def bucket(client: Any) -> str:
    name = next(BUCKETS)
    client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "mpg"
    for path, size in {
        "weights.bin": 5 * MIB + 3,
        "config/ä ö+%&?#.json": 9,
        "config/deep/x": 0,
        "Z": 1,
        "a.b": 2,
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(bytes(number % 251 for number in range(size)))
    return root


def upload(client: Any, bucket: str, folder: Path, prefix: str) -> Source:
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        client.put_object(Bucket=bucket, Key=f"{prefix}/{file.relative_to(folder).as_posix()}", Body=file.read_bytes())
    return open_source(f"s3://{bucket}/{prefix}")


def data(source: Source, file: File) -> bytes:
    return b"".join(bytes(piece) for piece in source.read(file))


def test_s3_holds_the_same_files_as_the_folder(client: Any, bucket: str, folder: Path) -> None:
    client.put_object(Bucket=bucket, Key="mpg/v20/other", Body=b"not v2")
    local, remote = open_source(str(folder)), upload(client, bucket, folder, "mpg/v2")
    assert [(file.path, file.kind, file.size) for file in remote.files()] == [
        (file.path, file.kind, file.size) for file in local.files()
    ]
    for file in remote.files():
        if file.kind == "file":
            assert remote.stamp(file) == file.stamp
            assert data(remote, file) == (folder / file.path).read_bytes()


def test_s3_gives_the_same_layers_as_the_folder(client: Any, bucket: str, folder: Path) -> None:
    def digests(source: Source) -> list[str]:
        layers = plan_layers(source, source.files(), "/models")
        return [digest_of(b"".join(bytes(piece) for piece in layer.chunks())) for layer in layers]

    assert digests(upload(client, bucket, folder, "mpg/v2")) == digests(open_source(str(folder)))


def test_more_objects_than_one_page_lists(client: Any, bucket: str, s3: S3) -> None:
    client.put_object(Bucket=bucket, Key="m/first", Body=b"1")
    for number in range(1100):  # put into the server's folder: a thousand requests would take long
        (s3.buckets / bucket / "m" / f"{number:04}").write_bytes(b"x")
    assert len(open_source(f"s3://{bucket}/m").files()) == 1101


def test_one_object_is_a_model(client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="mpg/model.bin", Body=b"weights")
    source = open_source(f"s3://{bucket}/mpg/model.bin")
    (file,) = source.files()
    assert (file.path, data(source, file)) == ("model.bin", b"weights")


def test_an_object_replaced_while_it_is_packaged(client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="mpg/a", Body=b"x" * MIB)
    client.put_object(Bucket=bucket, Key="mpg/b", Body=b"y" * MIB)
    source = open_source(f"s3://{bucket}/mpg")
    first, second = source.files()
    assert data(source, first) == b"x" * MIB
    client.put_object(Bucket=bucket, Key="mpg/b", Body=b"z" * MIB)
    assert source.stamp(second) not in ("", second.stamp)
    with pytest.raises(SourceChangedError, match=f"s3://{bucket}/mpg/b: was replaced"):
        data(source, second)
    client.delete_object(Bucket=bucket, Key="mpg/b")
    assert source.stamp(second) == ""
    with pytest.raises(SourceChangedError, match="gone"):
        data(source, second)


def test_a_connection_that_is_cut_is_resumed(client: Any, bucket: str, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    body = bytes(number * number % 251 for number in range(3 * MIB))
    client.put_object(Bucket=bucket, Key="mpg/weights", Body=body)
    with cutting(int(s3.endpoint.rpartition(":")[2]), times=2, after=MIB + 5000) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        source = open_source(f"s3://{bucket}/mpg")
        assert data(source, *source.files()) == body
    with cutting(int(s3.endpoint.rpartition(":")[2]), times=99, after=5000) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        source = open_source(f"s3://{bucket}/mpg")
        with pytest.raises(RemoteError, match="broke off 6 times"):
            data(source, *source.files())


def test_what_is_not_there(client: Any, bucket: str) -> None:
    with pytest.raises(NotFoundError, match="no such object"):
        open_source(f"s3://{bucket}/nothing").files()
    with pytest.raises(NotFoundError, match="no such bucket"):
        open_source("s3://no-such-bucket-at-all/mpg").files()
    with pytest.raises(InputError, match="no file"):
        open_source(f"s3://{bucket}").files()


def test_wrong_credentials_are_refused(client: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(RefusedError, match="SignatureDoesNotMatch"):
        open_source(f"s3://{bucket}/mpg").files()


def test_no_credentials(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match="credentials"):
        open_source("s3://models/mpg").files()


def test_a_server_that_is_down(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(RemoteError, match="cannot be reached"):
        open_source("s3://models/mpg").files()
