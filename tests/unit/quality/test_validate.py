"""Tables against data.yaml."""

from __future__ import annotations

import json
from pathlib import Path

import pandas
import pytest

from modelpack.errors import InputError
from modelpack.quality import Validation, validate, validation
from tests.command import modelpack

HEAD = "apiVersion: modelpack.dev/v1\nkind: DataChecks\n"
TABLE = pandas.DataFrame(
    {
        "id": [1, 2, 3, 4],
        "mpg": [18.0, 15.5, None, 30.0],
        "origin": ["usa", "usa", "japan", "europe"],
        "new": [True, False, True, True],
        "day": ["2024-01-01", "2024-01-02", "2024-02-01T10:00:00Z", None],
    }
)


def check(checks: str, table: pandas.DataFrame = TABLE, previous: pandas.DataFrame | None = None) -> Validation:
    return validate(table, f"{HEAD}extra: true\n{checks}\n".encode(), "data.yaml", previous)


@pytest.mark.parametrize(
    ("checks", "failed"),
    [
        ("rows: {least: 4}", ""),
        ("rows: {least: 5}", "rows"),
        ("duplicates: {key: [origin], most: 0.25}", ""),
        ("duplicates: {key: [origin]}", "duplicates"),
        ("duplicates: {key: [nix]}", "duplicates"),
        ("duplicates: {}", ""),
        ("columns: [{name: id}]", ""),
        ("columns: [{name: nix}]", "required"),
        ("columns: [{name: nix, required: false}]", ""),
        ("columns: [{name: mpg}]", "missing"),
        ("columns: [{name: mpg, missing: 0.25}]", ""),
        ("columns: [{name: mpg, missing: 0.2}]", "missing"),
        ("columns: [{name: mpg, nullable: true, type: number, low: 15.5, high: 30}]", ""),
        ("columns: [{name: mpg, nullable: true, type: number, low: 16}]", "low"),
        ("columns: [{name: mpg, nullable: true, type: number, high: 29}]", "high"),
        ("columns: [{name: mpg, nullable: true, type: integer}]", "type"),
        ("columns: [{name: id, type: integer, unique: true}]", ""),
        ("columns: [{name: id, values: [1, 2, 3, 4]}]", ""),
        ("columns: [{name: origin, type: number}]", "type"),
        ("columns: [{name: origin, unique: true}]", "unique"),
        ("columns: [{name: origin, type: text, values: [usa, japan, europe]}]", ""),
        ("columns: [{name: origin, values: [usa, japan]}]", "values"),
        ("columns: [{name: new, type: boolean}]", ""),
        ("columns: [{name: id, type: boolean}]", "type"),
        ("columns: [{name: day, type: time, nullable: true}]", ""),
        ("columns: [{name: origin, type: time}]", "type"),
    ],
)
def test_each_check(checks: str, failed: str) -> None:
    found = check(checks)
    assert [each.check for each in found.rows if each.verdict == "fail"] == ([failed] if failed else [])
    assert found.passed == (not failed)


def test_columns_that_nobody_named_are_refused_unless_they_may_be_there() -> None:
    found = validate(TABLE, f"{HEAD}columns: [{{name: id}}, {{name: mpg, nullable: true}}]".encode(), "data.yaml")
    assert found.rows[1] == validation.Row("", "extra columns", "none", "origin, new, day", "fail")
    assert check("columns: [{name: id}]").passed


def test_infinite_numbers_are_none() -> None:
    table = pandas.DataFrame({"x": [1.0, float("inf")]})
    assert "1 not: inf in row 2" in validation.as_text(check("columns: [{name: x, type: number}]", table))


def test_a_failed_check_says_how_many_and_where() -> None:
    table = pandas.DataFrame({"x": [1, *[-1] * 5]}, index=[9] * 6)
    found = check("columns: [{name: x, type: number, low: 0}]", table)
    assert found.rows[-1].found == "5 not: -1 in row 2, -1 in row 3, -1 in row 4, …"
    assert found.reason == "1 of 4 checks failed, first x: low (5 not: -1 in row 2, -1 in row 3, -1 in row 4, …)"


def test_drift_stops_or_is_noted() -> None:
    now, before = (
        pandas.DataFrame({"id": range(300, 600), "x": ["b"] * 300}),
        pandas.DataFrame({"id": range(300), "x": ["a"] * 300}),
    )
    key = "duplicates: {key: [id]}\n"
    assert [each.verdict for each in check(key, now, before).rows] == ["pass", "pass", "fail"]
    noted = check(f"{key}drift: {{stops: false}}", now, before)
    assert (noted.passed, noted.rows[-1].verdict) == (True, "note")
    assert check(f"{key}columns: [{{name: x, drift: false}}]", now, before).passed
    assert check(f"{key}columns: [{{name: x, drift: {{psi: 100}}}}]", now, before).passed
    assert check(f"{key}drift: {{psi: 100}}", now, before).passed
    assert not check("columns: [{name: x, drift: false}]", now, before).passed  # a number in order is no key by itself
    without = validate(now, None, "", before)
    assert (without.passed, {each.verdict for each in without.rows}) == (True, {"pass", "note"})
    assert check(key, now, before.head(0)).passed


@pytest.mark.parametrize(
    ("checks", "words"),
    [
        ("kind: DataChecks\n", "apiVersion"),
        (HEAD + "colums: []\n", "data.yaml:3: colums: is not a known key; did you mean 'columns'?"),
        (HEAD + "columns:\n- {type: number}\n", "data.yaml:4: columns[0].name: is missing"),
        (HEAD + "columns:\n- {name: x}\n- {name: x}\n", "data.yaml:5: columns[1].name: there is a second column 'x'"),
        (HEAD + "columns:\n- {name: x, type: numbr}\n", "did you mean 'number'?"),
        (HEAD + "columns:\n- {name: x, low: 1}\n", "low: is a bound for numbers; add type: number"),
        (HEAD + "columns:\n- {name: x, type: number, low: 2, high: 1}\n", "low: 2 is above high, 1"),
        (HEAD + "columns:\n- {name: x, missing: 2}\n", "missing: 2 is not between 0 and 1"),
        (HEAD + "columns:\n- {name: x, drift: maybe}\n", "drift: is not true or false"),
        (HEAD + "drift: {psy: 1}\n", "did you mean 'psi'?"),
        (HEAD, "columns: are missing"),
    ],
)
def test_checks_that_are_none(checks: str, words: str) -> None:
    with pytest.raises(InputError) as raised:
        validate(TABLE, checks.encode(), "data.yaml")
    assert words in str(raised.value)


def test_it_is_stored_and_shown() -> None:
    table = pandas.DataFrame({"a|b": ["@all [x](http://x)\n\x1b[31m<b>"] * 2})
    found = check("columns: [{name: a|b, unique: true}]", table)
    assert validation.from_json(json.loads(json.dumps(validation.to_json(found)))) == found
    text = validation.as_text(found)
    assert "\x1b" not in text
    assert [line.split()[0] for line in text.splitlines()[2:]] == ["column", "a|b"]
    markdown = validation.as_markdown(found)
    row = markdown.splitlines()[-1]
    assert row.startswith(r"| a\|b | unique | no value twice |")
    for unsafe in ("@all", "[x](", "<b>", "\x1b"):
        assert unsafe not in markdown
    assert len(validation.as_text(found, every=True).splitlines()) > len(text.splitlines())


def test_the_command(tmp_path: Path) -> None:
    TABLE.to_csv(tmp_path / "cars.csv", index=False)
    column = "{name: mpg, type: number, low: 16, missing: 1}"
    (tmp_path / "data.yaml").write_text(f"{HEAD}extra: true\ncolumns:\n- {column}\n")
    words = ("validate", "cars.csv", "--checks", "data.yaml")
    failed = modelpack(*words, cwd=tmp_path)
    assert failed.code == 4
    assert "mpg     low    16 or more  1 not: 15.5 in row 2  fail" in failed.out
    assert failed.sentence.startswith("cars.csv: 1 of 4 checks failed, first mpg: low")
    (tmp_path / "data.yaml").write_text(f"{HEAD}extra: true\n")
    passed = modelpack(*words, "--previous", "cars.csv", "--json", cwd=tmp_path)
    assert (passed.code, json.loads(passed.out)["passed"]) == (0, True)
    (tmp_path / "data.yaml").write_text("x: 1\n")
    assert modelpack(*words, cwd=tmp_path).code == 2
    assert modelpack("validate", "cars.csv", cwd=tmp_path).sentence.startswith("--checks: is missing")


@pytest.mark.parametrize(("column", "says"), [("", True), ("- {name: x, type: text}", False), ("- {name: x}", True)])
def test_a_text_among_numbers_is_named_and_not_compared_by_value(column: str, says: bool) -> None:
    numbers = [n / 7 for n in range(200)]
    now, before = (pandas.DataFrame({"x": each}) for each in ([*map(str, numbers[:-1]), "n/a"], numbers))
    checks = (
        f"apiVersion: modelpack.dev/v1\nkind: DataChecks\nextra: true\ndrift: {{stops: false}}\ncolumns:\n{column}\n"
    )
    found = validate(now, checks.encode(), "data.yaml", before)
    assert found.passed is not says
    if says:
        assert "1 not: 'n/a' in row 200" in found.reason and "type: text" in found.reason
    assert validate(pandas.DataFrame({"x": numbers}), checks.encode(), "data.yaml", now).passed
