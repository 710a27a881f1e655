"""Which rows a model never learns from."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest

from modelpack.errors import InputError
from modelpack.quality import split

ROWS = pandas.DataFrame({"id": range(2000), "x": [each % 7 / 2 for each in range(2000)], "name": ["ä"] * 2000})


def ids(table: pandas.DataFrame) -> set[int]:
    return set(table["id"])


def test_every_row_is_on_one_side_in_its_order() -> None:
    train, heldout = split(ROWS, ["id"], 0.2)
    assert ids(train) | ids(heldout) == ids(ROWS)
    assert not ids(train) & ids(heldout)
    assert 0.17 < len(heldout) / len(ROWS) < 0.23
    assert train["id"].is_monotonic_increasing
    assert train.index.tolist() == list(range(len(train)))


def test_what_was_held_out_stays_so_among_other_rows_and_with_a_larger_share() -> None:
    _, heldout = split(ROWS, ["id"], 0.2)
    more = pandas.concat([ROWS.sample(frac=1, random_state=1), ROWS.assign(id=ROWS["id"] + 5000)])
    assert ids(heldout) == {each for each in ids(split(more, ["id"], 0.2)[1]) if each < 5000}
    assert ids(heldout) < ids(split(ROWS, ["id"], 0.3)[1])


def test_the_split_does_not_depend_on_a_columns_type() -> None:
    _, heldout = split(ROWS, ["id"], 0.2)
    for kind in (float, str, "Int64", object):
        changed = ROWS.assign(id=ROWS["id"].astype(kind))
        assert set(split(changed, ["id"], 0.2)[1]["id"].astype(int)) == ids(heldout)


def test_one_word_in_a_column_moves_no_other_row(tmp_path: Path) -> None:
    numbers = [f"{each}.0" for each in range(500)] + [f"{each}.50" for each in range(500)] + ["1e3", "007"]
    for values, word in ((numbers, "?"), (["true", "false", "TRUE"] * 50, "")):
        held = []
        for more in ([], [word]):
            lines = [f"{each},{place}" for place, each in enumerate([*values, *more])]
            (tmp_path / "rows.csv").write_text("\n".join(["key,place", *lines]) + "\n")
            _, heldout = split(pandas.read_csv(tmp_path / "rows.csv"), ["key"], 0.4)
            held.append({each for each in heldout["place"] if each < len(values)})
        assert held[0] == held[1]


def test_the_split_is_the_same_on_every_machine() -> None:
    rows = pandas.DataFrame({"a": ["x", "y", None, "ä", ""] * 2, "b": range(10)})
    assert split(rows, [], 0.5)[1]["b"].tolist() == [0, 1, 2, 4, 6, 8, 9]


def test_equal_rows_are_on_the_same_side_and_columns_do_not_run_together() -> None:
    twice = pandas.concat([ROWS, ROWS])
    train, heldout = split(twice, [], 0.2)
    assert not ids(train) & ids(heldout)
    pairs = pandas.DataFrame([(f"{n}a", "b") for n in range(100)] + [(f"{n}", "ab") for n in range(100)])
    held = split(pairs, [], 0.5)[1]
    joined = held[0] + held[1]
    assert joined.duplicated().any()
    assert not joined.duplicated(keep=False).all()


@pytest.mark.parametrize(
    ("rows", "key", "words"),
    [
        (ROWS, ["nme"], "there is no column 'nme'; did you mean 'name'?"),
        (ROWS, ["name"], "data.heldout: of 2000 rows, no row would be"),
        (ROWS.head(0), ["id"], "of 0 rows, no row would be held out"),
    ],
)
def test_what_cannot_be_split(rows: pandas.DataFrame, key: list[str], words: str) -> None:
    with pytest.raises(InputError) as raised:
        split(rows, key, 0.2)
    assert words in str(raised.value)
