from __future__ import annotations

from dataclasses import replace

from modelpack import quality
from modelpack.gitops.evaluation import markdown
from modelpack.gitops.report import LONGEST
from modelpack.quality.evaluation import Evaluation, Row
from modelpack.quality.table import cells

ROW = Row("held-out", "", "mae", 80, 2.4137, 2.1053, -0.3084, -0.5161, -0.1007, "pass")
SEGMENT = Row("held-out", "origin=usa", "mae", 8, 2.5, None)
EVALUATION = Evaluation("mpg", "v2", "v1", True, "mae 2.414 -> 2.105", 0.95, (ROW, SEGMENT))
NASTY = "x|`y`\n# @team closes #1 <script>[a](b)\x1b[31m"


def test_numbers_have_the_decimals_that_their_interval_deserves() -> None:
    assert cells(ROW) == ("held-out", "mae", "80", "2.41", "2.11", "−0.31", "−0.52 to −0.10", "pass")
    wide = replace(ROW, low=-51.61, high=10.07, difference=-20.4)
    assert cells(wide)[3:7] == ("2", "2", "−20", "−52 to +10")
    assert cells(SEGMENT) == ("held-out, origin=usa", "mae", "8", "2.50", "–", "–", "–", "")
    assert cells(replace(ROW, low=0.0, high=0.0, difference=0.0, old=0.0, new=0.0))[3] == "0.000"


def test_text_is_a_table_with_verdict_and_reason() -> None:
    lines = quality.as_text(EVALUATION).splitlines()
    assert lines[0] == "mpg v2 against v1: passed (95 % intervals)"
    assert lines[3].split() == ["held-out", "mae", "80", "2.41", "2.11", "−0.31", "−0.52", "to", "−0.10", "pass"]
    assert lines[-1] == "mae 2.414 -> 2.105"


def test_what_was_left_out_is_told_once_beside_the_table() -> None:
    note = "3 rows that the current model has no answer to are left out"
    rows = (
        replace(ROW, reason=note),
        replace(ROW, metric="rmse", reason=note),
        replace(ROW, metric="r2", verdict="fail"),
    )
    found = replace(EVALUATION, rows=rows)
    assert quality.as_text(found).splitlines()[-2:] == ["mae 2.414 -> 2.105", f"note: held-out: {note}"]
    assert markdown(found).splitlines()[-2:] == ["", f"Note: held-out: {note}."]
    assert "note" not in quality.as_text(EVALUATION) and "Note" not in markdown(EVALUATION)
    nasty = markdown(replace(EVALUATION, rows=(replace(ROW, reason=NASTY),)))
    assert "<script" not in nasty and "@team" not in nasty and "`y`" not in nasty


def test_a_terminal_is_sent_no_control_characters() -> None:
    found = replace(EVALUATION, version=NASTY, reason=NASTY, rows=(replace(ROW, group=NASTY),))
    assert all(each.isprintable() for each in quality.as_text(found).split("\n"))
    assert "\x1b" not in markdown(found)


def test_markdown_is_a_table_too() -> None:
    lines = markdown(EVALUATION).splitlines()
    assert lines[0].startswith("**Quality gate: ✅ passed**: mae 2.414")
    assert "| held-out | mae | 80 | 2.41 | 2.11 | −0.31 | −0.52 to −0.10 | ✅ |" in lines
    assert "❌ not passed" in markdown(replace(EVALUATION, passed=False))
    assert "no current model" in markdown(replace(EVALUATION, against=""))


def test_markdown_obeys_nobody() -> None:
    text = markdown(replace(EVALUATION, version=NASTY, against=NASTY, reason=NASTY, rows=(replace(ROW, group=NASTY),)))
    assert "<script" not in text
    assert "@team" not in text
    assert "[a](b)" not in text
    assert "`y`" not in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert [line.count("|") for line in table] == [9, 9, 9]


def test_where_room_ends_overall_rows_and_failures_stay() -> None:
    many = [replace(ROW, group=f"maker={each:04d}{'x' * 60}") for each in range(2000)]
    many[1500] = replace(many[1500], verdict="fail")
    text = markdown(replace(EVALUATION, rows=(*many, ROW)))
    assert len(text) <= LONGEST
    assert "1500" in text
    assert "| held-out | mae |" in text
    assert "more | |" in text
