"""A version's evaluation and origin, as a build is told them: refused in a sentence, or carried by the index alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelpack.errors import InputError
from modelpack.provenance import lineage_of, metrics_of, read_lineage, read_metrics, to_annotations


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "is not a JSON object"),
        ("1.5", "is not a JSON object"),
        ("[]", "is not a JSON object"),
        ('{"mae": ', "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"mae": "1.9"}', "'mae' is not a finite number"),
        ('{"mae": true}', "'mae' is not a finite number"),
        ('{"mae": {"usa": 1}}', "'mae' is not a finite number"),
        ('{"mae": NaN}', "'mae' is not a finite number"),
        ('{"mae": 1e999}', "'mae' is not a finite number"),
        (f'{{"mae": 1{"0" * 400}}}', "'mae' is not a finite number"),
        ('{"mae": 1, "mae": 2}', "has 'mae' twice"),
        ('{"": 1}', "'' is not a metric's name"),
        ('{"a\\nb": 1}', r"'a\\nb' is not a metric's name"),
        (json.dumps({f"m{n}": n for n in range(51)}), "has 51 metrics, more than 50"),
        (" " * (1 << 20) + "{}", "larger than 1 MiB"),
    ],
)
def test_metrics_that_are_refused(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "metrics.json"
    file.write_text(text)
    with pytest.raises(InputError, match=words):
        read_metrics(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_metrics(tmp_path / "metrics.json")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["run"], "is not KEY=VALUE"),
        (["Run=7"], "'Run' is not a key"),
        (["=7"], "'' is not a key"),
        (["run=7", "run=8"], "--lineage run: is given twice"),
        (["run= "], "--lineage run: is not one line"),
        (["run=a\nb"], "--lineage run: is not one line"),
        ([f"run={'x' * 1001}"], "--lineage run: is not one line"),
        ([f"k{n}=1" for n in range(21)], "is given 21 times"),
        (["data=https://ada:secret@example.com/x"], "--lineage data: holds a password"),
    ],
)
def test_lineage_that_is_refused(given: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_lineage(given)
    assert "secret" not in str(caught.value)


def test_what_is_told_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "metrics.json"
    file.write_text('{"rmse": 2.5, "mae": 1.93, "n": 80}')
    notes = to_annotations(read_metrics(file), read_lineage(["run=7", "data=s3://datasets/mpg?v=2"]))
    assert notes["dev.modelpack.metrics"] == '{"mae":1.93,"n":80,"rmse":2.5}'
    assert metrics_of(notes) == {"mae": 1.93, "n": 80, "rmse": 2.5}
    assert lineage_of(notes) == {"data": "s3://datasets/mpg?v=2", "run": "7"}
    assert to_annotations({}, {}) == {}


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"a": "b", "c": NaN, " ": 1}'])
def test_what_others_wrote_there_is_left_out(text: str) -> None:
    assert metrics_of({"dev.modelpack.metrics": text}) == {}
    assert lineage_of({"dev.modelpack.lineage.": text, "dev.modelpack.lineage.a": "\x1b", "x": "y"}) == {}
