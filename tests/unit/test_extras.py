"""A command whose library is not installed says in one sentence which extra brings it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modelpack.cli import EXTRAS, main

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "model-images/mpg"


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("pandas", ["validate", "rows.csv", "--checks", str(EXAMPLE / "data.yaml")]),
        ("pandera", ["validate", "rows.csv", "--checks", str(EXAMPLE / "data.yaml")]),
        (
            "pandas",
            ["evaluate", "--truth", "rows.csv", "--new", "rows.csv", "--training", str(EXAMPLE / "training.yaml")],
        ),
    ],
)
def test_what_is_missing_is_named_with_its_extra(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    package: str,
    words: list[str],
) -> None:
    (tmp_path / "rows.csv").write_text("mpg,prediction\n1,1\n")
    monkeypatch.chdir(tmp_path)
    for each in (package, f"{package}.errors"):  # where it is loaded already, its modules are found one by one
        monkeypatch.setitem(sys.modules, each, None)  # as Python itself has it: the import fails
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr().err
    assert said == f"error: this needs {package}, run pip install 'modelpack-delivery[train]'\n"
    assert ended.value.code == 2


def test_every_extra_named_brings_the_package() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    brought = {line.partition(" = ")[0]: line for line in lines if line.endswith("]") or "] #" in line}
    for package, extra in EXTRAS.items():
        assert package in brought[extra] or (package, extra) == ("botocore", "s3")  # boto3 brings it
