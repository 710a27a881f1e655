"""Tables from files, and places that files are put."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack import data
from modelpack.errors import InputError, ModelpackError, NotFoundError


def test_a_file_and_a_folder_of_files(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/2.CSV").write_bytes("\ufeffx,y\n3,ä\n".encode())
    (tmp_path / "a.csv").write_text("x,y\n1,\n2,b\n")
    (tmp_path / "README.md").write_text("no table")
    (tmp_path / ".hidden.csv").write_text("z\n1\n")
    table = data.table(tmp_path)
    assert table["x"].tolist() == [1, 2, 3]
    assert table["y"].isna().tolist() == [True, False, False]
    assert table.index.tolist() == [0, 1, 2]
    assert data.table(tmp_path / "a.csv")["y"].tolist()[1] == "b"


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        ({"a.csv": b""}, InputError, "a.csv:1: is empty"),
        ({"a.csv": b"x,,y\n"}, InputError, "a.csv:1: has a column without a name"),
        ({"a.csv": b"x,y,x\n"}, InputError, "a.csv:1: has the column 'x' twice"),
        ({"a.csv": b"x,y\n1,2\n1,2,3\n"}, InputError, "a.csv: is no table: .*line 3"),
        ({"a.csv": b"x\n\xff\n"}, InputError, "a.csv: is no table: .*utf-8"),
        ({"a.csv": b"x\n1\n", "b.csv": b"x,z\n1,2\n"}, InputError, "b.csv: has other columns than a.csv: z"),
        ({"a.txt": b"x\n1\n"}, InputError, "holds no table"),
        ({"a.parquet": b"PAR1"}, InputError, "a.parquet: is no table"),
        ({}, NotFoundError, "no such file"),
    ],
)
def test_what_is_no_table(tmp_path: Path, files: dict[str, bytes], error: type[ModelpackError], words: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=words):
        data.table(tmp_path if files else tmp_path / "nothing")


def test_put_writes_a_file_or_a_folders_files(tmp_path: Path) -> None:
    (tmp_path / "run/sub").mkdir(parents=True)
    (tmp_path / "run/sub/a").write_text("1")
    (tmp_path / "run/b.html").write_text("2")
    there = tmp_path / "there"
    assert data.put(str(there), tmp_path / "run") == str(there)
    assert (there / "sub/a").read_text() == "1"
    assert data.put(str(there / "more"), tmp_path / "run/b.html") == f"{there}/more/b.html"
    with pytest.raises(InputError, match="gs://…: is no place"):
        data.put("gs://bucket", tmp_path / "run")


def test_sources_that_are_none() -> None:
    for source in ("", "cars.csv", "ftp://x", "dvc:", "http://x"):
        with pytest.raises(InputError, match="is no kind of data"):
            data.look(source, "m", data.Checkout(Path()))
