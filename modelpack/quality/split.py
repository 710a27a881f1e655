"""Which rows a model never learns from."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

from modelpack.errors import InputError
from modelpack.fields import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas import DataFrame, Series

_SPACE = 1 << 64
_TRUTHS = ("true", "false")


def split(table: DataFrame, key: Sequence[str], share: float) -> tuple[DataFrame, DataFrame]:
    """Training and held-out rows, in their order. `share` of all rows is held out, more or less: a row is if the first
    8 bytes of the SHA-256 of its key fall below that share of their range. So a row once held out stays so, however
    many come with it, and equal rows are on the same side.

    `key` are the columns that tell a row, all of them if it is empty (then a new column deals all rows anew). A value
    counts by its text, 4, 4.0 and "4.0" as the same. Raises InputError for columns that are not there, and if either
    side would be empty.
    """
    held = [place < share * _SPACE for place in _places(table, key)]
    if not any(held) or all(held):
        side = "no row would be left to train on" if any(held) else "no row would be held out"
        raise InputError("data.heldout", f"of {len(held)} rows, {side}", "more rows or another share are needed")
    import numpy

    mask = numpy.asarray(held)
    return table[~mask].reset_index(drop=True), table[mask].reset_index(drop=True)


def folds(table: DataFrame, key: Sequence[str], count: int) -> tuple[tuple[DataFrame, DataFrame], ...]:
    """Training and test rows of each of `count` folds: every row is in the test rows of one. A row's fold follows from
    its key, as in `split`, and not from whether it is held out. Raises InputError as there."""
    import numpy

    fold = numpy.asarray([place % count for place in _places(table, key)])
    if len(set(fold.tolist())) < max(2, count):
        raise InputError("folds", f"{len(fold)} rows do not fill {count}", "more rows or fewer folds are needed")
    return tuple(
        (table[fold != each].reset_index(drop=True), table[fold == each].reset_index(drop=True))
        for each in range(count)
    )


def _places(table: DataFrame, key: Sequence[str]) -> list[int]:
    """A number below _SPACE for each row, by its key. Raises InputError for columns that are not there."""
    for each in key:
        if each not in table.columns:
            near = nearest(each, (str(column) for column in table.columns))
            raise InputError("data.key", f"there is no column {each!r}", f"did you mean {near!r}?" if near else "")
    columns = [labels(table[each]) for each in (key or table.columns)]
    return [_place(values) for values in zip(*columns, strict=True)]


def _place(values: tuple[str, ...]) -> int:
    # lengths keep ("a", "bc") and ("ab", "c") apart
    text = "".join(f"{len(each)}:{each}" for each in values)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def texts(column: Series) -> list[str]:
    """A column's values as text that is the same whatever type the column has today: a missing value makes integers
    floats, one word makes numbers texts."""
    missing = column.isna().tolist()
    return ["" if gone else _text(value) for value, gone in zip(column.tolist(), missing, strict=True)]


def labels(column: Series) -> list[str]:
    """The same however they are written: 4, 4.0 and "4.0" are one."""
    return [_plain(text) for text in texts(column)]


def _plain(text: str) -> str:
    """A number's or a truth value's text as it is where the whole column is of them: one word in a CSV's column leaves
    the others as they are written, "4.0", "4e0" or "true"."""
    if text.lower() in _TRUTHS:
        return text.capitalize()
    try:
        return str(int(text))
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        return text
    return _text(value) if math.isfinite(value) else text


def _text(value: object) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return str(int(value))
    return str(value)
