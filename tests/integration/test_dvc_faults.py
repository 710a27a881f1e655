"""What goes wrong with a DVC remote: objects, servers, logins, disks; and what is large."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelpack import data
from modelpack.data.objects import open_objects
from modelpack.data.remote import Remote
from modelpack.data.writing import write_file
from modelpack.errors import InputError, IntegrityError, NotFoundError, RefusedError, RemoteError
from tests.integration.dvc_place import MODEL, Place, md5, write
from tests.integration.servers.process import free_port
from tests.integration.servers.relay import busy, cutting
from tests.integration.servers.s3 import REGION, S3

MIB = 1 << 20
LARGE = 320 * MIB
BIG = bytes(number * number % 251 for number in range(3 * MIB + 7))

# the peak that rusage tells would begin with that of the process that starts this one
MEASURED = """
import re, sys
from pathlib import Path
from modelpack.cli import main
try:
    main(sys.argv[1:])
finally:
    print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def test_wrong_missing_and_truncated_objects(dvc_place: Place, tmp_path: Path) -> None:
    write(dvc_place.root / MODEL, {"cars.csv": b"1234", "all/a.csv": b"aaaa", "all/b.csv": b"bbbb"})
    dvc_place.pushed("cars.csv", "all")
    file, folder = "dvc:cars.csv.dvc", "dvc:all.dvc"
    of_file, of_a = dvc_place.object(md5(b"1234")), dvc_place.object(md5(b"aaaa"))
    into = tmp_path / "into"

    replace(of_file, b"12x4")
    with pytest.raises(IntegrityError, match="its bytes have not the md5"):
        dvc_place.fetch(file, into)
    replace(of_file, b"12")
    version = dvc_place.look(file)
    assert not version.ready
    assert "has 2 bytes" in version.note
    with pytest.raises(IntegrityError, match="says 4 bytes"):
        dvc_place.fetch(file, into)
    replace(of_a, b"aaab")
    with pytest.raises(IntegrityError, match=md5(b"aaaa")):
        dvc_place.fetch(folder, into)
    of_a.unlink()
    with pytest.raises(NotFoundError, match="no such object"):
        dvc_place.fetch(folder, into)
    assert list(into.iterdir()) == []


def test_a_server_that_is_down_or_busy(
    dvc_bucket: Place, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(dvc_bucket.root / MODEL, {"cars.csv": b"1234"})
    source = dvc_bucket.pushed("cars.csv")
    port = int(s3.endpoint.rpartition(":")[2])
    with busy(port, times=2) as busy_port:
        dvc_bucket.dvc.configure(url=dvc_bucket.url, region=REGION, endpointurl=f"http://127.0.0.1:{busy_port}")
        assert dvc_bucket.fetch(source, tmp_path).read_bytes() == b"1234"
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    with busy(port, times=9) as busy_port:
        dvc_bucket.dvc.configure(url=dvc_bucket.url, region=REGION, endpointurl=f"http://127.0.0.1:{busy_port}")
        with pytest.raises(RemoteError, match="503"):
            dvc_bucket.look(source)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    dvc_bucket.dvc.configure(url=dvc_bucket.url, region=REGION, endpointurl=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(RemoteError, match="cannot be reached"):
        dvc_bucket.fetch(source, tmp_path, f"dvc:{md5(b'1234')}")


def test_a_connection_that_breaks_off_is_resumed(dvc_bucket: Place, s3: S3, tmp_path: Path) -> None:
    write(dvc_bucket.root / MODEL, {"big.bin": BIG})
    source = dvc_bucket.pushed("big.bin")
    with cutting(int(s3.endpoint.rpartition(":")[2]), times=2, after=MIB + 5000) as port:
        dvc_bucket.dvc.configure(url=dvc_bucket.url, region=REGION, endpointurl=f"http://127.0.0.1:{port}")
        assert dvc_bucket.fetch(source, tmp_path).read_bytes() == BIG


def test_logins_are_the_environments_and_no_message_has_those_of_the_configuration(
    dvc_bucket: Place, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(dvc_bucket.root / MODEL, {"cars.csv": b"1234"})
    source = dvc_bucket.pushed("cars.csv")
    login = {"access_key_id": "hush-id", "secret_access_key": "hush-hush"}
    dvc_bucket.dvc.configure(url=dvc_bucket.url, endpointurl=s3.endpoint, region=REGION, **login)
    assert dvc_bucket.look(source).ready
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(RefusedError, match="refuses access") as refused:
        dvc_bucket.look(source)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match="credentials") as missing:
        dvc_bucket.look(source)
    assert "hush" not in str(refused.value) + str(missing.value)


def test_a_bucket_that_is_not_there(dvc_bucket: Place, s3: S3) -> None:
    write(dvc_bucket.root / MODEL, {"cars.csv": b"1234"})
    source = dvc_bucket.pushed("cars.csv", push=False)
    dvc_bucket.dvc.configure(url="s3://no-such-bucket-here/x", endpointurl=s3.endpoint, region=REGION)
    with pytest.raises(NotFoundError, match="no such bucket"):
        dvc_bucket.look(source)
    with pytest.raises(NotFoundError, match="no such bucket"):
        data.add(dvc_bucket.root / MODEL / "cars.csv", "new.dvc", MODEL, dvc_bucket.tree, dvc_bucket.root)


def test_a_file_of_several_parts_is_added_whole_or_not_at_all(dvc_bucket: Place, tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    big.write_bytes(bytes(number % 253 for number in range(MIB)) * 21)
    pointer = data.add(big, "big.bin.dvc", MODEL, dvc_bucket.tree, dvc_bucket.root)
    (dvc_bucket.root / MODEL / "big.bin.dvc").write_bytes(pointer)
    dvc_bucket.dvc("pull", "big.bin.dvc", within=MODEL)
    assert (dvc_bucket.root / MODEL / "big.bin").read_bytes() == big.read_bytes()

    for size in (100, 20 * MIB):  # one request, and several
        remote = Remote(open_objects(dvc_bucket.url, dvc_bucket.client.meta.endpoint_url))
        with pytest.raises(IntegrityError, match="its bytes have not the md5"):
            remote.write("0" * 32, size, [memoryview(b"x" * MIB)] * (size // MIB) or [memoryview(b"x" * 100)])
        assert remote.size("0" * 32) is None
        assert not dvc_bucket.client.list_multipart_uploads(Bucket=dvc_bucket.url.split("/")[2]).get("Uploads")


def test_a_large_file_is_never_in_memory(dvc_bucket: Place, tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    with big.open("wb") as file:
        for _ in range(LARGE // MIB):
            file.write(os.urandom(MIB))
    out = dvc_bucket.root / MODEL / "big.bin.dvc"
    for words in (("add", big, "--out", out), ("fetch", f"dvc:{MODEL}/big.bin.dvc", tmp_path / "into")):
        argv = [sys.executable, "-c", MEASURED, "data", *map(str, words)]
        done = subprocess.run(argv, cwd=dvc_bucket.root, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout.split()[-1]) * 1024 < LARGE // 2
    assert filecmp.cmp(big, tmp_path / "into/big.bin", shallow=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system is mounted")
def test_a_full_disk(dvc_place: Place, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    write(dvc_place.root / MODEL, {"all/big.bin": BIG, "all/a": b"1"})
    folder = dvc_place.pushed("all")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        with pytest.raises(RemoteError, match="the disk has"):
            dvc_place.fetch(folder, small)
        assert list(small.iterdir()) == []
        pieces = [memoryview(bytes(MIB))] * 3
        with pytest.raises(RemoteError, match="No space left"):
            write_file(small / "x", 0, pieces)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)
