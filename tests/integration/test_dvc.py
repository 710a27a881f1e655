"""What dvc pushed is fetched, and what is added dvc pulls: the real program on a folder and on an S3 server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from modelpack import data
from modelpack.errors import InputError, NotFoundError
from tests.integration.dvc_place import MODEL, Place, content, md5, write
from tests.integration.servers.s3 import REGION, S3

MIB = 1 << 20
NAMES = {
    "a.csv": b"a,b\n1,2\n",
    "Z": b"",
    "ä ö+%&?#.json": b"{}",
    "sub dir/x\"y'\\z": b"crlf\r\nline\r\n",
    "sub.a/\U0001f600/deep": b"\0\r\n",
    "\uff5e/～": b"9",
    "big.bin": bytes(number * number % 251 for number in range(3 * MIB + 7)),
}


def test_what_dvc_pushed_is_fetched(dvc_place: Place, tmp_path: Path) -> None:
    write(dvc_place.root / MODEL / "data dir ä", NAMES)
    write(dvc_place.root / MODEL, {"cars.csv": b"a,b\n1,2\n"})
    dvc_place.pushed("data dir ä", "cars.csv")
    folder, file = "dvc:data dir ä.dvc", "dvc:cars.csv.dvc"
    assert dvc_place.look(file).ready
    assert dvc_place.look(folder).ready
    assert content(dvc_place.fetch(folder, tmp_path / "into")) == NAMES
    fetched = dvc_place.fetch(file, tmp_path / "into")
    assert (fetched, fetched.read_bytes()) == (tmp_path / "into/cars.csv", b"a,b\n1,2\n")
    assert sorted(each.name for each in (tmp_path / "into").iterdir()) == ["cars.csv", "data dir ä"]


def test_what_is_added_dvc_pulls(dvc_place: Place, tmp_path: Path) -> None:
    model = write(tmp_path / "trained", NAMES)
    for path, out in ((model, "mödel x #1.dvc"), (model / "big.bin", "weights.bin.dvc")):
        pointer = data.add(path, out, MODEL, dvc_place.tree, dvc_place.root)
        (dvc_place.root / MODEL / out).write_bytes(pointer)
        dvc_place.dvc("pull", out, within=MODEL)
        assert "up to date" in dvc_place.dvc("status", out, within=MODEL)
        version = dvc_place.look(f"dvc:{out}")
        assert version.ready
        # dvc's own words for the same files
        dvc_place.dvc("add", "--force", out.removesuffix(".dvc"), within=MODEL)
        assert (dvc_place.root / MODEL / out).read_bytes() == pointer
    assert content(dvc_place.root / MODEL / "mödel x #1") == NAMES
    assert (dvc_place.root / MODEL / "weights.bin").read_bytes() == NAMES["big.bin"]


def test_older_versions_are_fetched_while_the_remote_has_them(dvc_place: Place, tmp_path: Path) -> None:
    write(dvc_place.root / MODEL, {"cars.csv": b"old", "all/a.csv": b"old"})
    dvc_place.pushed("cars.csv", "all")
    file, folder = "dvc:cars.csv.dvc", "dvc:all.dvc"
    before = dvc_place.look(file).text, dvc_place.look(folder).text
    write(dvc_place.root / MODEL, {"cars.csv": b"newer", "all/a.csv": b"newer"})
    dvc_place.pushed("cars.csv", "all", push=False)
    for source, old in ((file, before[0]), (folder, before[1])):
        version = dvc_place.look(source)
        assert (version.ready, version.text != old) == (False, True)
        assert "not in" in version.note
        with pytest.raises(NotFoundError, match="no such object"):
            dvc_place.fetch(source, tmp_path / "into")
        assert not (tmp_path / "into").exists() or not any((tmp_path / "into").iterdir())
        fetched = dvc_place.fetch(source, tmp_path / "into", old)
        assert (fetched / "a.csv" if fetched.is_dir() else fetched).read_bytes() == b"old"
        shutil.rmtree(tmp_path / "into")
    dvc_place.dvc("push")
    assert dvc_place.look(file).ready
    assert dvc_place.fetch(file, tmp_path / "into").read_bytes() == b"newer"


def test_an_output_of_a_pipeline(dvc_place: Place, tmp_path: Path) -> None:
    stage = "stages:\n  prepare:\n    cmd: mkdir -p out && printf 'a\\n1\\n' > out/cars.csv\n    outs: [out/cars.csv]\n"
    write(dvc_place.root / MODEL, {"dvc.yaml": stage.encode()})
    dvc_place.dvc("repro", within=MODEL)
    dvc_place.dvc("push")
    source = "dvc:dvc.lock#out/cars.csv"
    assert dvc_place.look(source).ready
    assert dvc_place.fetch(source, tmp_path).read_bytes() == b"a\n1\n"
    with pytest.raises(NotFoundError, match="has no output 'nothing'"):
        dvc_place.look("dvc:dvc.lock#nothing")


def test_objects_of_dvc_2_are_fetched_as_dvc_pulls_them(dvc_place: Place, tmp_path: Path) -> None:
    text, binary = b"a,b\r\n1,2\r\n", b"\0\r\n" * 600
    names = {"text.csv": (text, text.replace(b"\r\n", b"\n")), "binary": (binary, binary)}
    listed = json.dumps([{"md5": md5(hashed), "relpath": name} for name, (_, hashed) in sorted(names.items())]).encode()
    for data_, hashed in (*names.values(), (listed, listed)):
        oid = md5(hashed) + (".dir" if data_ is listed else "")
        write(dvc_place.objects, {f"{oid[:2]}/{oid[2:]}": data_})
    folder = f"outs:\n- md5: {md5(listed)}.dir\n  size: {len(text + binary)}\n  nfiles: 2\n  path: old\n"
    file = f"outs:\n- md5: {md5(names['text.csv'][1])}\n  size: {len(text)}\n  path: text.csv\n"
    write(dvc_place.root / MODEL, {"old.dvc": folder.encode(), "text.csv.dvc": file.encode()})
    dvc_place.dvc("pull", within=MODEL)
    assert dvc_place.look("dvc:old.dvc").ready
    assert content(dvc_place.fetch("dvc:old.dvc", tmp_path)) == content(dvc_place.root / MODEL / "old")
    assert dvc_place.fetch("dvc:text.csv.dvc", tmp_path).read_bytes() == text


def test_an_output_with_a_remote_of_its_own(dvc_place: Place, tmp_path: Path) -> None:
    config = dvc_place.root / ".dvc" / "config"
    text = config.read_text().replace("[core]\n    remote = store\n", "")
    config.write_text(f"{text}['remote \"Second\"']\n    url = {tmp_path / 'other'}\n")
    write(dvc_place.root / MODEL, {"cars.csv": b"1"})
    source = dvc_place.pushed("cars.csv", push=False)
    with pytest.raises(InputError, match=r"\.dvc/config: names no default remote"):
        dvc_place.look(source)
    pointer = dvc_place.root / MODEL / "cars.csv.dvc"
    pointer.write_text(pointer.read_text() + "  remote: second\n")
    assert not dvc_place.look(source).ready
    again = data.add(dvc_place.root / MODEL / "cars.csv", "cars.csv.dvc", MODEL, dvc_place.tree, dvc_place.root)
    assert b"remote: second" in again
    pointer.write_bytes(again)
    assert dvc_place.look(source).ready
    shutil.rmtree(dvc_place.root / ".dvc" / "cache")
    dvc_place.dvc("pull", "--force", "cars.csv.dvc", within=MODEL)
    assert dvc_place.fetch(source, tmp_path / "into").read_bytes() == b"1"


def test_adding_again_sends_nothing(dvc_place: Place, tmp_path: Path) -> None:
    model = write(tmp_path / "trained", {"a": b"1", "b/c": b"2"})
    first = data.add(model, "model.dvc", MODEL, dvc_place.tree, dvc_place.root)
    sent = {each: each.stat().st_ino for each in dvc_place.objects.rglob("*") if each.is_file()}
    assert data.add(model, "model.dvc", MODEL, dvc_place.tree, dvc_place.root) == first
    assert sent == {each: each.stat().st_ino for each in dvc_place.objects.rglob("*") if each.is_file()}
    assert len(sent) == 3


def test_data_in_a_bucket(dvc_bucket: Place, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    files = write(tmp_path / "files", {"a.csv": b"x\n1\n", "ä b/c.csv": b"x\n2\n", "page.html": b"<p>"})
    location = f"{dvc_bucket.url}/cars"
    assert data.put(location, files) == location
    assert data.put(f"{location}/", files / "page.html") == f"{location}/page.html"
    key = location.partition("//")[2].partition("/")[2]
    head = dvc_bucket.client.head_object(Bucket=location.split("/")[2], Key=f"{key}/page.html")
    assert head["ContentType"] == "text/html"

    version = dvc_bucket.look(location)
    assert version.text.startswith("s3:")
    fetched = data.fetch(location, MODEL, dvc_bucket.tree, version.text, tmp_path / "into")
    assert (fetched.name, content(fetched)) == ("cars", content(files))
    assert data.table(fetched)["x"].tolist() == [1, 2]
    one = f"{location}/a.csv"
    assert (
        data.fetch(one, MODEL, dvc_bucket.tree, dvc_bucket.look(one).text, tmp_path / "one").read_bytes() == b"x\n1\n"
    )

    data.put(f"{location}", write(tmp_path / "more", {"a.csv": b"x\n3\n"}) / "a.csv")
    assert dvc_bucket.look(location).text != version.text
    with pytest.raises(NotFoundError, match=r"is not s3:.* any more"):
        data.fetch(location, MODEL, dvc_bucket.tree, version.text, tmp_path / "again")
    with pytest.raises(NotFoundError, match="nothing below it"):
        dvc_bucket.look(f"{dvc_bucket.url}/nothing")
