"""Pointers, remotes and folders' lists, which anybody may have written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from modelpack import data
from modelpack.data.pointer import IGNORE, with_ignored
from modelpack.errors import (
    InputError,
    IntegrityError,
    ModelpackError,
    NotFoundError,
    RefusedError,
)
from tests.fakes.git_serving import git

CONFIG = "[core]\n    remote = store\n['remote \"store\"']\n    url = ../store # where\n"
MD5 = "e5ebd4c02cefbe7955977c67ada242b7"
POINTER = f"outs:\n- md5: {MD5}\n  size: 8\n  hash: md5\n  path: cars.csv\n"
CARS = b"a,b\n1,2\n"
BOMB = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)), POINTER])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, ".dvc/config", CONFIG)
    write(tmp_path, "m/cars.csv.dvc", POINTER)
    return tmp_path


def write(root: Path, path: str, content: str | bytes) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content if isinstance(content, bytes) else content.encode())


def put(root: Path, content: bytes, suffix: str = "") -> str:
    """An object of the remote; gives its md5."""
    md5 = hashlib.md5(content).hexdigest() + suffix
    write(root, f"store/files/md5/{md5[:2]}/{md5[2:]}", content)
    return md5


def look(root: Path, source: str = "dvc:cars.csv.dvc") -> data.Version:
    return data.look(source, "m", data.Checkout(root), root)


def fetch(root: Path, source: str = "dvc:cars.csv.dvc", version: str = "") -> Path:
    version = version or look(root, source).text
    return data.fetch(source, "m", data.Checkout(root), version, root / "into", root)


def folder(root: Path, listed: object) -> str:
    """A pointer to a folder whose list is `listed`; gives the source."""
    content = listed if isinstance(listed, bytes) else json.dumps(listed).encode()
    write(root, "m/all.dvc", POINTER.replace(MD5, put(root, content, ".dir")).replace("cars.csv", "all"))
    return "dvc:all.dvc"


def test_a_version_is_ready_when_its_object_is_in_the_remote(root: Path) -> None:
    version = look(root)
    assert (version.text, version.ready) == (f"dvc:{MD5}", False)
    assert version.note.startswith(f"m/cars.csv.dvc names {MD5}, which is not in {root}/store yet")
    assert put(root, CARS) == MD5
    assert look(root) == data.Version(f"dvc:{MD5}")
    assert fetch(root).read_bytes() == CARS


@pytest.mark.parametrize(
    ("pointer", "error", "words"),
    [
        ("", InputError, "m/cars.csv.dvc: is empty"),
        ("outs: 3\n", InputError, "m/cars.csv.dvc:1: outs: is not a list"),
        ("outs: []\n", NotFoundError, "m/cars.csv.dvc: has no outputs"),
        ("outs: [\n", InputError, "m/cars.csv.dvc:2: is not YAML"),
        ("[" * 5000, InputError, "nested more than"),
        ("outs:\n- etag: x\n  path: a\n", InputError, r"m/cars.csv.dvc:2: outs\[0\].md5: is missing"),
        (POINTER.replace(MD5, "../../../etc/passwd"), InputError, r"m/cars.csv.dvc:2: .* is no md5"),
        (POINTER.replace(MD5, MD5.upper()), InputError, "is no md5"),
        (POINTER.replace("size: 8", "size: -1"), InputError, r"m/cars.csv.dvc:3: outs\[0\].size: -1 is not between"),
        (POINTER.replace("size: 8", "size: .inf"), InputError, "size: is not a number"),
        (POINTER.replace("path: cars.csv", "path: .."), RefusedError, r"m/cars.csv.dvc:5: '\.\.' is not a path that"),
        (POINTER.replace("path: cars.csv", 'path: "a\\0b"'), RefusedError, "is not a path that"),
        (POINTER.replace("path: cars.csv", "path: x/.git"), RefusedError, "is not a path that"),
        (POINTER + POINTER.removeprefix("outs:\n"), InputError, "names several such outputs"),
        (POINTER + "#" * (4 << 20), InputError, "at most are read"),
    ],
)
def test_pointers_that_are_none(root: Path, pointer: str, error: type[ModelpackError], words: str) -> None:
    write(root, "m/cars.csv.dvc", pointer)
    with pytest.raises(error, match=words):
        look(root)


def test_a_bomb_of_yaml_does_not_go_off(root: Path) -> None:
    write(root, "m/cars.csv.dvc", BOMB)
    assert look(root).text == f"dvc:{MD5}"


def test_an_absurd_size_is_no_reason_to_make_room(root: Path) -> None:
    put(root, CARS)
    write(root, "m/cars.csv.dvc", POINTER.replace("size: 8", f"size: {10**18}"))
    assert "has 8 bytes" in look(root).note
    with pytest.raises(IntegrityError, match="says 1000000000000000000 bytes"):
        fetch(root)


@pytest.mark.parametrize(
    "source", ["dvc:../m/cars.csv.dvc", "dvc:/etc/passwd", "dvc:a//b.dvc", "git:../x", "git:a/.git/x"]
)
def test_sources_that_leave_the_models_folder(root: Path, source: str) -> None:
    with pytest.raises(RefusedError, match="is not a path that stays in its folder"):
        look(root, source)


@pytest.mark.parametrize(
    ("config", "error", "words"),
    [
        ("", InputError, ".dvc/config: names no default remote"),
        ("[core]\nremote = nix\n", InputError, "has no url for the remote 'nix'"),
        ("hunter2\n", InputError, "cannot be read as DVC's configuration"),
        ("[core]\nx = hunter2\nx = hunter2\n", InputError, "cannot be read as DVC's configuration"),
        (b"\xff", InputError, "cannot be read as DVC's configuration"),
        (CONFIG.replace("../store", "gs://hunter2"), InputError, "gs://…: is no place for objects"),
        (CONFIG.replace("../store", "https://me:hunter2@host/x"), InputError, "https://…: is no place for objects"),
        (CONFIG.replace("../store", "s3://me:hunter2@host/x"), InputError, "holds a login"),
        (
            CONFIG.replace("../store", "s3://bucket/x\n    endpointurl = http://me:hunter2@host"),
            InputError,
            "its endpoint is no address",
        ),
        (CONFIG.replace("../store", "s3://bucket/x\n    endpointurl = file:///x"), InputError, "its endpoint is no"),
        (CONFIG.replace("../store", "s3://bucket/x\n    endpointurl = http://[::1"), InputError, "its endpoint is no"),
        (CONFIG + "    version_aware = true\n", InputError, "'store' is version_aware"),
    ],
)
def test_remotes_that_do_not_do(root: Path, config: str | bytes, error: type[ModelpackError], words: str) -> None:
    write(root, ".dvc/config", config)
    with pytest.raises(error, match=words) as raised:
        look(root)
    assert "hunter2" not in str(raised.value)


def test_without_dvc_and_without_a_folder(root: Path) -> None:
    with pytest.raises(InputError, match="its remote is a relative path"):
        data.look("dvc:cars.csv.dvc", "m", data.Checkout(root), None)
    (root / ".dvc/config").unlink()
    with pytest.raises(NotFoundError, match=r"no folder above it has a \.dvc/config"):
        look(root)
    with pytest.raises(NotFoundError, match=r"m/nothing\.dvc: is not in the repository"):
        look(root, "dvc:nothing.dvc")


def test_the_nearest_configuration_counts_and_names_do_not_depend_on_case(root: Path) -> None:
    write(root, "m/.dvc/config", CONFIG.replace("../store", "../../store").replace('"store"', '"Store"'))
    write(root, ".dvc/config", "")
    put(root, CARS)
    assert look(root).ready


@pytest.mark.parametrize(
    ("listed", "error"),
    [
        (b"{", IntegrityError),
        (b"[" * 100_000, IntegrityError),
        (b'{"a": 1}', IntegrityError),
        ([{"md5": MD5}], IntegrityError),
        ([{"md5": "../x", "relpath": "a"}], IntegrityError),
        ([{"md5": MD5, "relpath": "../a"}], RefusedError),
        ([{"md5": MD5, "relpath": "/etc/passwd"}], RefusedError),
        ([{"md5": MD5, "relpath": "a/../../b"}], RefusedError),
        ([{"md5": MD5, "relpath": ""}], RefusedError),
        ([{"md5": MD5, "relpath": "a\nb"}], RefusedError),
        ([{"md5": MD5, "relpath": "a"}, {"md5": MD5, "relpath": "a/b"}], RefusedError),
    ],
)
def test_folders_lists_that_are_none(root: Path, listed: object, error: type[ModelpackError]) -> None:
    put(root, CARS)
    source = folder(root, listed)
    with pytest.raises(error, match=r"m/all\.dvc"):
        fetch(root, source)
    assert not (root / "into").exists()


def test_a_list_beyond_all_measure_is_not_read(root: Path) -> None:
    source = folder(root, [])
    md5 = look(root, source).text.removeprefix("dvc:")
    with (root / f"store/files/md5/{md5[:2]}/{md5[2:]}").open("r+b") as file:
        file.truncate(1 << 30)
    with pytest.raises(RefusedError, match="its list of files has 1073741824 bytes"):
        fetch(root, source)


def test_what_was_in_the_place_is_replaced_whole_or_stays(root: Path) -> None:
    put(root, CARS)
    source = folder(root, [{"md5": MD5, "relpath": "b/c.csv"}])
    write(root, "into/all/old", b"old")
    write(root, "into/cars.csv/old", b"old")
    assert [each.name for each in fetch(root, source).rglob("*")] == ["b", "c.csv"]
    assert fetch(root).read_bytes() == CARS
    (root / f"store/files/md5/{MD5[:2]}/{MD5[2:]}").write_bytes(b"x")
    with pytest.raises(IntegrityError, match=MD5):
        fetch(root, source)
    assert (root / "into/all/b/c.csv").read_bytes() == CARS
    assert sorted(each.name for each in (root / "into").iterdir()) == ["all", "cars.csv"]


@pytest.mark.parametrize("version", ["dvc:", "dvc:../x", f"dvc:{MD5}.dirx", f"git:{MD5}", MD5])
def test_versions_that_are_none(root: Path, version: str) -> None:
    with pytest.raises(InputError, match="is no version"):
        fetch(root, version=version)


def test_an_output_of_the_lock_is_named(root: Path) -> None:
    stage = "outs:\n    - path: out/c#s.csv\n      hash: md5\n      md5: {}\n      size: 8\n"
    write(root, "m/dvc.lock", f"schema: '2.0'\nstages:\n  a:\n    cmd: x\n    {stage.format(MD5)}  b:\n    cmd: y\n")
    put(root, CARS)
    assert look(root, "dvc:dvc.lock#out/c#s.csv").ready
    assert fetch(root, "dvc:dvc.lock#out/c#s.csv").name == "c#s.csv"
    with pytest.raises(InputError, match="does not say which output"):
        look(root, "dvc:dvc.lock")


def test_what_cannot_be_added(root: Path) -> None:
    tree = data.Checkout(root)
    write(root, "model/a", b"1")
    for out in ("model", ".dvc", "x/.dvc"):
        with pytest.raises(InputError, match=r"is not the name of a \.dvc file"):
            data.add(root / "model", out, "m", tree, root)
    (root / "model/link").symlink_to("a")
    with pytest.raises(RefusedError, match="is a link"):
        data.add(root / "model", "model.dvc", "m", tree, root)
    (root / "model/link").unlink()
    (root / "model/link").symlink_to("/etc/passwd")
    with pytest.raises(RefusedError, match="leaves the model"):
        data.add(root / "model", "model.dvc", "m", tree, root)
    assert not (root / "store").exists()


def test_folders_of_version_control_are_left_out(root: Path) -> None:
    write(root, "model/a", b"1")
    write(root, "model/.git/config", b"secret")
    pointer = data.add(root / "model", "model.dvc", "m", data.Checkout(root), root)
    assert b"nfiles: 1\n" in pointer
    assert sum(each.is_file() for each in (root / "store").rglob("*")) == 2


@pytest.mark.parametrize(
    ("before", "name", "after"),
    [
        (None, "model", b"/model\n"),
        (b"", "model", b"/model\n"),
        (b"*.bin", "model", b"*.bin\n/model\n"),
        (b"*.bin\r\n", "model", b"*.bin\r\n/model\r\n"),
        (b"/model\n*.bin\n", "model", b"/model\n*.bin\n"),
        (b"model/\r\n", "model", b"model/\r\n"),
        (b"/models\n", "model", b"/models\n/model\n"),
        (b"\xff\n", "m\xf6del #1", b"\xff\n/m\xc3\xb6del #1\n"),
        (None, "a[b]*? ", b"/a\\[b]\\*\\?\\ \n"),
    ],
)
def test_the_output_is_left_out_of_git_beside_its_file(before: bytes | None, name: str, after: bytes) -> None:
    assert with_ignored(before, name) == after
    assert with_ignored(after, name) == after


@pytest.mark.parametrize("name", ["model", "a[b]*? ", "#x", "!x", "m\xf6del", "  two  ", "a b"])
def test_git_reads_the_line_as_the_very_name(tmp_path: Path, name: str) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / IGNORE).write_bytes(with_ignored(None, name))
    for each in (name, "other", "ab", f"sub/{name}"):
        (tmp_path / each).parent.mkdir(exist_ok=True)
        (tmp_path / each).write_text("x")
    seen = git(tmp_path, "-c", "core.quotePath=false", "ls-files", "-z", "--others", "--exclude-standard").split("\0")
    assert sorted(filter(None, seen)) == sorted([IGNORE, "other", "ab", f"sub/{name}"])
