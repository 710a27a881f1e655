"""A training.yaml that is somebody's mischief is an input error, not a traceback: it would stop every other model."""

from __future__ import annotations

import pytest

from modelpack.cli.train import parameter_of
from modelpack.errors import InputError
from modelpack.training.definition import parse
from tests.fakes.training import TRAINING


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("limit: 0.5", f"limit: 1{'0' * 400}", "limit: is not a number"),
        ("timeout: 60s", f"timeout: 60s, retries: 0x{'f' * 400}", "retries: is not a number"),
        ("timeout: 60s", f"timeout: {'9' * 400}s", "is not a duration"),
        ("slope: 2.0", "slope: .nan", "slope is not a finite number"),
        ("slope: 2.0", "slope: -.inf", "slope is not a finite number"),
        ("slope: 2.0", "slope: !!python/object/apply:os.getcwd []", "is not a plain value"),
        ("{command:", "{comand:", "comand.*did you mean 'command'"),
        ('"git:points.csv"', '"git:../points.csv"', "is not a path below the model's folder"),
    ],
)
def test_what_cannot_be_meant_is_refused(old: str, new: str, words: str) -> None:
    assert parse(TRAINING.encode(), "training.yaml").name == "line"
    assert old in TRAINING
    with pytest.raises(InputError, match=words) as refused:
        parse(TRAINING.replace(old, new).encode(), "training.yaml")
    assert "training.yaml:" in str(refused.value) and len(str(refused.value)) < 600


@pytest.mark.parametrize("word", ["slope", "=1", "sl ope=1", "slope=.nan", "slope=-.inf"])
def test_a_parameter_that_is_none_is_refused(word: str) -> None:
    assert parameter_of("slope=2.5") == ("slope", 2.5)
    with pytest.raises(InputError, match="--parameter"):
        parameter_of(word)
