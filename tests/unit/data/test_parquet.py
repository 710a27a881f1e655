"""Parquet files, as pandas and others write them: the same tables as the same rows in CSV."""

from __future__ import annotations

import datetime
import decimal
import random
from pathlib import Path
from typing import Any

import pandas
import pyarrow
import pytest
from pyarrow import parquet

from modelpack import data, quality
from modelpack.errors import InputError, ModelpackError
from tests.command import modelpack

ROWS = 300
TABLE = pandas.DataFrame(
    {
        "number": [each / 7 for each in range(ROWS)],
        "integer": pandas.array([None, *range(1, ROWS)], dtype="Int64"),
        "text": ["a", "b", None] * 100,
        "flag": [True, False, None] * 100,
        "kind": pandas.Categorical(["x", "y", "z"] * 100),
        "price": [decimal.Decimal("1.50"), decimal.Decimal("2.25"), None] * 100,
        "day": [datetime.date(2024, 1, 1 + each % 28) for each in range(ROWS)],
        "time": pandas.date_range("2024-01-01T10:00", periods=ROWS, freq="7min", tz="UTC"),
    }
)


def test_a_file_is_the_table_that_its_csv_is(tmp_path: Path) -> None:
    TABLE.to_parquet(tmp_path / "a.parquet")
    TABLE.to_csv(tmp_path / "a.csv", index=False)
    one, other = data.table(tmp_path / "a.parquet"), data.table(tmp_path / "a.csv")
    assert list(one.columns) == list(other.columns)
    one.to_csv(tmp_path / "again.csv", index=False)  # as a run hands it to what trains
    pandas.testing.assert_frame_equal(data.table(tmp_path / "again.csv"), other)
    assert [one[each].dtype.kind for each in ("number", "integer", "price")] == ["f", "f", "f"]
    found = quality.validate(one, None, "", other)
    assert found.passed and not [each for each in found.rows if each.verdict != "pass" and each.column != "time"]


def test_row_numbers_are_no_column_and_a_named_index_is_one(tmp_path: Path) -> None:
    TABLE[TABLE["number"] > 3].to_parquet(tmp_path / "some.parquet")
    TABLE.set_index("text").to_parquet(tmp_path / "named.parquet")
    assert list(data.table(tmp_path / "some.parquet").columns) == list(TABLE.columns)
    assert sorted(data.table(tmp_path / "named.parquet").columns) == sorted(TABLE.columns)


def test_the_files_of_a_folder_are_one_table(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    TABLE[:100].to_parquet(tmp_path / "a.parquet")
    TABLE[100:].assign(kind="new").to_parquet(tmp_path / "b/part-0.snappy.parquet")
    (tmp_path / "_SUCCESS").touch()
    table = data.table(tmp_path)
    assert len(table) == ROWS and table["number"].tolist() == TABLE["number"].tolist()
    assert set(table["kind"]) == {"x", "y", "z", "new"}
    TABLE[:10].to_csv(tmp_path / "c.csv", index=False)
    assert len(data.table(tmp_path)) == ROWS + 10


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"x": [[1], [2]]}, "column 'x' is of list<.*>: a table has one number or text in each place"),
        ({"x": [{"a": 1}, {"a": 2}]}, "column 'x' is of struct"),
        ({"x": [b"\0", b"\1"]}, "column 'x' is of binary"),
        ({"": [1, 2]}, "has a column without a name"),
    ],
)
def test_columns_that_no_table_has(tmp_path: Path, columns: dict[str, Any], words: str) -> None:
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=f"a.parquet: .*{words}"):
        data.table(tmp_path)


def test_a_column_twice(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.Table.from_arrays([[1], [2]], names=["x", "x"]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a.parquet: has the column 'x' twice"):
        data.table(tmp_path)


def test_a_column_that_stands_in_folders_names_is_not_lost_in_silence(tmp_path: Path) -> None:
    for year in (1970, 1971):
        folder = tmp_path / f"data/year={year}"
        folder.mkdir(parents=True)
        pandas.DataFrame({"x": [year]}).to_parquet(folder / "a.parquet")
    with pytest.raises(InputError, match=r"lies in a folder that is called year=1970, .*; write the column into"):
        data.table(tmp_path / "data")
    assert list(data.table(folder).columns) == ["x"]  # above what was asked for it is a folder like any other


def test_a_small_file_of_too_many_rows_is_not_unpacked(tmp_path: Path) -> None:
    nothing = pyarrow.nulls(1 << 20)
    parquet.write_table(pyarrow.table({f"c{each}": nothing for each in range(500)}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 1 << 20
    with pytest.raises(InputError, match=r"has \d+ rows of 500 columns, more than memory takes"):
        data.table(tmp_path)


def test_damaged_files_are_sentences(tmp_path: Path) -> None:
    file, dice = tmp_path / "a.parquet", random.Random(7)
    TABLE[["number", "text"]].to_parquet(file)
    whole = file.read_bytes()
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 8)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        file.write_bytes(bytes(damaged[: dice.randrange(len(damaged))] if dice.random() < 0.3 else damaged))
        try:
            data.table(file)
        except ModelpackError:
            refused += 1
    assert refused > 50


def test_validated_by_hand_against_the_files_before(tmp_path: Path) -> None:
    for name, shift in (("last", 0.0), ("now", 30.0)):
        (tmp_path / name).mkdir()
        for part in (0, 1):
            rows = TABLE[["number"]][part::2] + shift
            rows.to_parquet(tmp_path / name / f"part-{part}.parquet")
    checks = (
        "apiVersion: modelpack.dev/v1\nkind: DataChecks\nrows: {least: 300}\ncolumns:\n- {name: number, type: number}\n"
    )
    (tmp_path / "data.yaml").write_text(checks)
    done = modelpack("validate", "now", "--checks", "data.yaml", "--previous", "last", cwd=tmp_path)
    assert done.code == 4 and "number  drift" in done.out
    assert modelpack("validate", "last", "--checks", "data.yaml", "--previous", "last", cwd=tmp_path).code == 0
