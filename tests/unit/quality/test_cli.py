"""`modelpack evaluate`, from files to an exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelpack.cli import main

TRAINING = """\
apiVersion: modelpack.dev/v1
kind: Training
metadata: {name: mpg}
data: {source: "git:data.csv", target: mpg}
train: {command: [python, train.py]}
quality:
  predict: [python, predict.py]
  metrics: [{name: mae, margin: 0.2, limit: 3.0, benchmark: 1.0}]
  segments: [origin]
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    values = [10 + each % 30 for each in range(60)]
    texts = {
        "training.yaml": TRAINING,
        "truth.csv": "mpg,origin\n" + "".join(f"{each},usa\n" for each in values),
        "good.csv": "prediction,score\n" + "".join(f"{each + 0.5},1\n" for each in values),
        "bad.csv": "prediction\n" + "".join(f"{each + 2.5}\n" for each in values),
        "short.csv": "prediction\n1\n",
        "other.csv": "score\n1\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return {name: str(tmp_path / name) for name in [*texts, "missing.csv"]}


def run(files: dict[str, str], *words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--training", files["training.yaml"], *(files.get(each, each) for each in words)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_passed_and_not_passed(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, "--truth", "truth.csv", "--new", "good.csv", "--old", "bad.csv") == 0
    assert "mpg good against bad: passed" in capsys.readouterr().out
    assert run(files, "--truth", "truth.csv", "--new", "bad.csv", "--old", "good.csv", "--json") == 4
    out = capsys.readouterr()
    assert json.loads(out.out)["passed"] is False
    assert out.err.startswith("error: mpg: the candidate did not pass")


def test_the_benchmark_has_a_say_and_markdown_is_to_be_had(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--truth", "truth.csv", "--new", "good.csv", "--benchmark", "truth.csv", "bad.csv", "--markdown")
    assert run(files, *words) == 4
    out = capsys.readouterr().out
    assert "| benchmark | mae | 60 |" in out
    assert "at most 1 is wanted" in out


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (("--truth", "truth.csv", "--new", "short.csv"), 2, "has 60 rows, and the candidate predicted 1"),
        (("--truth", "truth.csv", "--new", "other.csv"), 2, "has no column `prediction`"),
        (("--truth", "truth.csv", "--new", "missing.csv"), 2, "missing.csv: cannot be read"),
        (("--truth", "missing.csv", "--new", "good.csv"), 3, "missing.csv"),
        (("--truth", "truth.csv", "--new", "good.csv", "--target", "price"), 2, "has no column 'price'"),
        (("--truth", "truth.csv", "--new", "good.csv", "--benchmark-old", "good.csv"), 2, "without --benchmark"),
    ],
)
def test_mistakes_are_one_line(
    files: dict[str, str], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, problem: str
) -> None:
    assert run(files, *words) == code
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1
