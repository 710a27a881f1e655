"""A table against its data.yaml, and against the table before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modelpack.quality.answers import odd_ones
from modelpack.quality.checks import Checks, Column, Drift, parse
from modelpack.quality.drift import drift
from modelpack.quality.split import texts
from modelpack.quality.validation import Row, Validation

if TYPE_CHECKING:
    from pandas import DataFrame, Series

_EXAMPLES = 3
_BOOLEANS = frozenset({"true", "false"})


def validate(table: DataFrame, checks: bytes | None, name: str, previous: DataFrame | None = None) -> Validation:
    """Hold a table against the data.yaml whose bytes are `checks`, and against the table `previous`. Without checks one
    row or more is asked for, and drift is only noted. `name` is what messages call the checks' file.

    Raises InputError, with file and line, for checks that are none.
    """
    wanted = parse(checks, name) if checks is not None else Checks(drift=Drift(stops=False))
    rows = [*_shape(table, wanted), *_columns(table, wanted), *_drift(table, previous, wanted)]
    failed = [each for each in rows if each.verdict == "fail"]
    reason = f"{len(table)} rows pass {len(rows)} checks"
    if failed:
        first = failed[0]
        where = f"{first.column}: " if first.column else ""
        reason = f"{len(failed)} of {len(rows)} checks failed, first {where}{first.check} ({first.found})"
    return Validation(name, not failed, reason, tuple(rows))


def _row(column: str, check: str, wanted: str, found: str, passed: bool) -> Row:
    return Row(column, check, wanted, found, "pass" if passed else "fail")


def _shape(table: DataFrame, wanted: Checks) -> list[Row]:
    rows = [_row("", "rows", f"{wanted.rows} or more", str(len(table)), len(table) >= wanted.rows)]
    known = {each.name for each in wanted.columns}
    if not wanted.extra:
        extra = [str(each) for each in table.columns if each not in known]
        rows.append(_row("", "extra columns", "none", ", ".join(extra) or "none", not extra))
    key = list(wanted.key) or list(table.columns)
    if absent := [each for each in key if each not in table.columns]:
        rows.append(_row("", "duplicates", "the key's columns", f"no {', '.join(absent)}", False))
    elif wanted.duplicates is not None:
        count = int(table.duplicated(subset=key).sum())
        share = count / len(table) if len(table) else 0.0
        limit = f"{wanted.duplicates:.2%} or less"
        rows.append(_row("", "duplicates", limit, f"{count} rows, {share:.2%}", share <= wanted.duplicates))
    return rows


def _columns(table: DataFrame, wanted: Checks) -> list[Row]:
    """One row for each thing that is asked of a column; pandera finds the values that break it."""
    rows = []
    broken = _broken(table, wanted)
    for column in wanted.columns:
        if column.name not in table.columns:
            if column.required:
                rows.append(_row(column.name, "required", "the column", "it is not there", False))
            continue
        values = table[column.name]
        share = float(values.isna().mean()) if len(values) else 0.0
        limit = f"{column.missing:.2%} or less"
        rows.append(_row(column.name, "missing", limit, f"{share:.2%}", share <= column.missing))
        for check, text in _asked(column):
            passed = (column.name, check) not in broken
            found = "all" if passed else _found(values, _predicate(column, check))
            rows.append(_row(column.name, check, text, found, passed))
    return rows


def _asked(column: Column) -> list[tuple[str, str]]:
    """The checks that pandera makes of a column: its name, and what is wanted."""
    asked = [("type", column.kind)] if column.kind else []
    asked += [("low", f"{column.low:g} or more")] if column.low is not None else []
    asked += [("high", f"{column.high:g} or less")] if column.high is not None else []
    asked += [("values", ", ".join(column.values))] if column.values else []
    return asked + ([("unique", "no value twice")] if column.unique else [])


def _found(column: Series, check: Any) -> str:
    """How many values break a check, and the first of them."""
    present = column.reset_index(drop=True).dropna()
    broken = present[~check(present)]
    return _examples([(row + 1, value) for row, value in broken.items()])


def _examples(broken: Sequence[tuple[int, Any]]) -> str:
    shown = ", ".join(f"{value!r} in row {row}" for row, value in broken[:_EXAMPLES])
    return f"{len(broken)} not: {shown}{', …' if len(broken) > _EXAMPLES else ''}"


def _broken(table: DataFrame, wanted: Checks) -> set[tuple[str, str]]:
    """Column and name of each check that some value breaks."""
    from pandera.errors import SchemaErrors
    from pandera.pandas import Check, DataFrameSchema
    from pandera.pandas import Column as Asked

    columns = {}
    for each in wanted.columns:
        # it is slow at telling of many values, and one is enough to know
        checks = [
            Check(_predicate(each, check), name=check, error=check, ignore_na=True, n_failure_cases=1)
            for check, _ in _asked(each)
        ]
        columns[each.name] = Asked(checks=checks, nullable=True, required=False, name=each.name)
    try:
        DataFrameSchema(columns).validate(table, lazy=True)
    except SchemaErrors as error:
        broken = set(zip(error.failure_cases["column"], error.failure_cases["check"], strict=True))
        if broken <= {(each.name, check) for each in wanted.columns for check, _ in _asked(each)}:
            return broken
        raise  # a check that broke itself has not passed
    return set()


def _predicate(column: Column, check: str) -> Any:
    """From a series without missing values to which of them pass."""
    made = {
        "type": lambda values: _is(values, column.kind),
        "low": lambda values: ~(_numbers(values) < column.low),
        "high": lambda values: ~(_numbers(values) > column.high),
        "values": lambda values: _series(values, [each in column.values for each in texts(values)]),
        "unique": lambda values: ~values.duplicated(),
    }
    return made[check]


def _is(values: Series, kind: str) -> Series:
    """Which values are of a type. Texts may be anything: in a CSV a column of numbers is read as numbers."""
    import numpy
    import pandas

    if kind == "text":
        return _series(values, [True] * len(values))
    if kind == "boolean":
        return _series(values, [each.lower() in _BOOLEANS for each in texts(values)])
    if kind == "time":
        return pandas.to_datetime(values, errors="coerce", format="ISO8601", utc=True).notna()
    numbers = _numbers(values)
    finite = numpy.isfinite(numbers)
    return finite & (numbers % 1 == 0) if kind == "integer" else finite


def _numbers(values: Series) -> Series:
    import pandas

    return pandas.to_numeric(values, errors="coerce").astype(float)


def _series(values: Series, flags: list[bool]) -> Series:
    import pandas

    return pandas.Series(flags, index=values.index, dtype=bool)


def _drift(table: DataFrame, previous: DataFrame | None, wanted: Checks) -> list[Row]:
    """Columns that only count rows, as a key does, are new in every table and left out."""
    if previous is None or not len(previous) or not len(table):
        return []
    own = {each.name: each for each in wanted.columns}
    limits = {}
    for each in table.columns:
        column = own.get(each, Column(str(each), psi=wanted.drift.psi))
        if each in previous.columns and each not in wanted.key and not column.unique and column.psi is not None:
            limits[each] = column.psi
    named = {each.name for each in wanted.columns if each.values or each.kind in ("text", "boolean", "time")}
    rows = []
    for name in [each for each in limits if each not in named]:
        if odd := odd_ones(texts(table[name])):
            del limits[name]  # compared by value, each number would be another
            words = f"{_examples(odd)}; if that is meant, data.yaml says type: text"
            rows.append(_row(str(name), "drift", "numbers, as the others are", words, False))
    for shift in drift(table, previous, limits, wanted.drift.alarms, named):
        found = f"PSI {shift.psi:.3f}, {shift.test} p {shift.p:.2g}"
        verdict = "pass" if not shift.drifted else "fail" if wanted.drift.stops else "note"
        rows.append(Row(str(shift.column), "drift", f"PSI {limits[shift.column]:g} or less", found, verdict))
    return rows
