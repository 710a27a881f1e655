"""What two models answered to the same rows, read from tables and texts into arrays."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelpack.errors import InputError
from modelpack.quality.metrics import UNKNOWN

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

MOST_CLASSES = 1000
_ODD = 0.1  # share of values that are no numbers above which a column is one of texts
_SOME = 10  # values below which one text among numbers says nothing
_LARGEST = 1e100  # a number whose square still is one, and can be divided by a small variance
_WHOLE = re.compile(r"([+-]?\d+)\.0+")


@dataclass(frozen=True)
class Sample:
    """Rows that models were asked about: the table with target and segments, and what they predicted, in its order.

    A prediction is a number or a text; `old` is None where there is no current model.
    """

    table: pd.DataFrame
    new: Sequence[Any]
    old: Sequence[Any] | None = None


@dataclass(frozen=True)
class Answers:
    """A sample's rows as arrays. `truth`, `new` and `old` are numbers, or which of `classes` each one is, UNKNOWN if it
    is none; `classes` are those of the truth. `answered_new` and `answered_old` tell which rows have an answer."""

    truth: npt.NDArray[Any]
    new: npt.NDArray[Any]
    old: npt.NDArray[Any] | None
    answered_new: npt.NDArray[np.bool_]
    answered_old: npt.NDArray[np.bool_]
    classes: tuple[str, ...] = ()


def predictions(path: Path) -> list[str]:
    """Column `prediction` of a CSV file. Raises InputError."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if "prediction" not in (rows.fieldnames or ()):
                raise InputError(path, "has no column `prediction`", "write one row for each row that was asked for")
            return [row["prediction"] or "" for row in rows]
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}") from error
    except (csv.Error, UnicodeError) as error:
        raise InputError(path, f"is not CSV: {error}") from error


def read(sample: Sample, target: str, name: str, *, classes: bool) -> Answers:
    """A sample's arrays; `name` is what messages call it. Raises InputError for what cannot be compared."""
    import numpy as np

    if target not in sample.table.columns:
        raise InputError(name, f"has no column {target!r}", "the target of training.yaml is a column of the data")
    truth = sample.table[target].tolist()
    if not truth:
        raise InputError(name, "holds no rows", "hold out a larger share, or bring more data")
    for what, given in (("the candidate", sample.new), ("the current model", sample.old)):
        if given is not None and len(given) != len(truth):
            raise InputError(name, f"has {len(truth)} rows, and {what} predicted {len(given)}", "predict each row once")
    parse = label if classes else number
    wanted, new = [parse(each) for each in truth], [parse(each) for each in sample.new]
    old = None if sample.old is None else [parse(each) for each in sample.old]
    if None in wanted:
        kind = "label" if classes else "finite number"
        remedy = "leave such rows out of the data, or let its checks refuse them"
        raise InputError(f"{name}, row {wanted.index(None) + 1}", f"{target} is no {kind}", remedy)
    if classes and all(number(each) is not None for each in wanted) and (odd := odd_ones(new)):
        row, text = odd[0]
        problem = f"the candidate predicted {str(text)[:50]!r}, and the others are numbers"
        raise InputError(f"{name}, row {row}", problem, "write one of the labels, or nothing, to `prediction`")
    answered = np.array([each is not None for each in new])
    before = answered if old is None else np.array([each is not None for each in old])
    if not classes:
        earlier = None if old is None else np.array(old, dtype=float)
        return Answers(np.array(wanted, dtype=float), np.array(new, dtype=float), earlier, answered, before)
    known = tuple(sorted({str(each) for each in wanted}, key=_order))
    if len(known) > MOST_CLASSES:
        raise InputError(name, f"{target} has {len(known)} classes", "mae, rmse and r2 are for numbers")
    for what, each in (("the candidate", new), ("the current model", old)):
        if each is not None:
            _refuse_scores(each, known, name, what)
    codes = {each: place for place, each in enumerate(known)}

    def coded(labels: Sequence[Any]) -> npt.NDArray[np.int64]:
        return np.array([codes.get(str(each), UNKNOWN) for each in labels], dtype=np.int64)

    return Answers(coded(wanted), coded(new), None if old is None else coded(old), answered, before, known)


def number(value: Any) -> float | None:
    """A finite number, None for anything else."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) and abs(found) < _LARGEST else None


def odd_ones(values: Sequence[Any]) -> tuple[tuple[int, Any], ...]:
    """The rows, from 1, of the few values that are no numbers where the others are, with what they are. None where no
    value is one, where many are none, and of fewer than ten."""
    there = [(row, each) for row, each in enumerate(values, 1) if label(each) is not None]
    odd = tuple((row, each) for row, each in there if number(each) is None)
    return odd if len(there) >= _SOME and len(odd) <= max(1.0, _ODD * len(there)) else ()


def label(value: Any) -> str | None:
    """A class as text, so that 3, 3.0 and "3" are one; None for a missing one."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    text = str(value).strip()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else None if text in ("", "nan", "NaN", "<NA>", "None") else text


def _refuse_scores(given: Sequence[Any], known: Sequence[str], name: str, what: str) -> None:
    """A score in the place of a label would count as a wrong label, row by row."""
    found = {each for each in given if each is not None} - set(known)
    scores = [number(each) for each in found]
    if found and all(each is not None and 0 < each < 1 for each in scores):
        problem = f"{what} predicted scores like {min(found)} in the place of labels"
        raise InputError(name, problem, "write the label to `prediction`, its score to `score`")


def _order(text: str) -> tuple[bool, float, str]:
    """Numbers by value, before texts."""
    value = number(text)
    return value is None, value or 0.0, text
