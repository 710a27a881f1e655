from __future__ import annotations

import pandas as pd
import pytest

from modelpack.errors import InputError
from modelpack.quality import folds

TABLE = pd.DataFrame({"car": [f"car {each}" for each in range(100)], "mpg": range(100)})


def test_every_row_is_tested_once_and_never_learned_from_then() -> None:
    found = folds(TABLE, ["car"], 5)
    assert sorted(car for _, test in found for car in test["car"]) == sorted(TABLE["car"])
    for train, test in found:
        assert not set(train["car"]) & set(test["car"])
        assert len(train) + len(test) == 100
        assert len(test) > 8


def test_a_rows_fold_stays() -> None:
    more = pd.concat([TABLE[::-1], pd.DataFrame({"car": ["another"], "mpg": [1]})])
    for (_, before), (_, after) in zip(folds(TABLE, ["car"], 5), folds(more, ["car"], 5), strict=True):
        assert set(before["car"]) == set(after["car"]) - {"another"}


@pytest.mark.parametrize(("rows", "key", "count"), [(1, "car", 5), (100, "cra", 5), (100, "car", 1)])
def test_folds_that_cannot_be_are_an_error(rows: int, key: str, count: int) -> None:
    with pytest.raises(InputError):
        folds(TABLE[:rows], [key], count)
