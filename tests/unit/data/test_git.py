"""Data in the repository itself."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from modelpack import data
from modelpack.errors import InputError, NotFoundError, RefusedError


class Repository:
    """A Tree with a past."""

    def __init__(self, files: dict[str, bytes], older: dict[str, bytes]) -> None:
        self._files, self._older = files, older

    def read(self, path: str) -> bytes | None:
        return self._files.get(path)

    def object_at(self, path: str) -> str:
        return f"{len(self._files[path]):040x}" if path in self._files else ""

    def paths(self, prefix: str = "") -> tuple[str, ...]:
        return tuple(sorted(each for each in self._files if each.startswith(prefix)))

    def objects(self, names: Sequence[str]) -> list[bytes | None]:
        return [self._older.get(each) for each in names]


OLD = "0" * 39 + "9"
TREE = Repository({"m/a.csv": b"1", "m/all/b.csv": b"22", "m/all/c/d.csv": b"333", "m/allx": b""}, {OLD: b"old"})


def test_a_file_in_its_present_and_in_an_older_version(tmp_path: Path) -> None:
    version = data.look("git:a.csv", "m", TREE)
    assert version == data.Version("git:" + "0" * 39 + "1")
    assert data.fetch("git:a.csv", "m", TREE, version.text, tmp_path).read_bytes() == b"1"
    assert data.fetch("git:a.csv", "m", TREE, f"git:{OLD}", tmp_path).read_bytes() == b"old"
    with pytest.raises(NotFoundError, match="has no object"):
        data.fetch("git:a.csv", "m", TREE, f"git:{'7' * 40}", tmp_path)
    with pytest.raises(InputError, match="is no version of Git's"):
        data.fetch("git:a.csv", "m", TREE, "git:--help", tmp_path)


def test_a_folder_changes_with_its_files(tmp_path: Path) -> None:
    version = data.look("git:all", "m", TREE)
    fetched = data.fetch("git:all", "m", TREE, version.text, tmp_path)
    assert {each.relative_to(fetched).as_posix() for each in fetched.rglob("*.csv")} == {"b.csv", "c/d.csv"}
    changed = Repository({"m/all/b.csv": b"new", "m/all/c/d.csv": b"333"}, {})
    assert data.look("git:all", "m", changed).text != version.text
    with pytest.raises(NotFoundError, match=r"is not git:.* in this commit"):
        data.fetch("git:all", "m", changed, version.text, tmp_path)
    with pytest.raises(NotFoundError, match="m/nothing: is not in the repository"):
        data.look("git:nothing", "m", TREE)


def test_a_checkout_has_the_objects_that_git_has(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"x\n1\n")
    wanted = subprocess.run(["git", "hash-object", "a.csv"], cwd=tmp_path, capture_output=True, text=True, check=True)
    tree = data.Checkout(tmp_path)
    assert data.look("git:a.csv", "", tree).text == f"git:{wanted.stdout.strip()}"
    assert tree.read("nothing/at/all") is None


def test_no_link_leads_out_of_a_checkout(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/secret").write_text("x")
    root = tmp_path / "repo"
    root.mkdir()
    (root / "link").symlink_to("../out/secret")
    (root / "folder").symlink_to("../out")
    for path in ("link", "folder/secret"):
        with pytest.raises(RefusedError, match="a link leads to it"):
            data.Checkout(root).read(path)
