from __future__ import annotations

import json

import pytest

from modelpack.errors import InputError
from modelpack.gate.checks.golden import MAX_BYTES
from modelpack.gate.config import GateConfig, parse
from tests.fakes.rehearsal import GATE, GOLDEN


def read(gate: str = GATE, golden: str | None = GOLDEN) -> GateConfig:
    return parse(gate.encode(), "gate.yaml", golden.encode() if golden is not None else None, "golden.jsonl")


def test_a_gate_is_read() -> None:
    config = read()
    assert (config.name, config.horizon, config.alpha) == ("mpg", 600.0, 0.05)
    assert [check.name for check in config.checks] == ["golden", "errors", "latency"]
    assert config.golden and len(config.golden.examples) == 40
    assert [config.alpha_of(check) for check in config.comparisons] == [0.025, 0.025]


def test_a_check_may_have_its_own_alpha() -> None:
    config = read(GATE.replace("statistic: errors", "statistic: errors\n  alpha: 0.01"))
    assert config.alpha_of(config.comparisons[0]) == 0.01


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1d", 86400), ("0.5s", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert read(GATE.replace("10m", text)).horizon == seconds


@pytest.mark.parametrize(
    ("old", "new", "where", "problem"),
    [
        ("horizon: 10m", "horizon: soon", "gate.yaml:4", "not a duration"),
        ("horizon: 10m", "horizon: 0s", "gate.yaml:4", "not a duration"),
        ("horizon:", "horizont:", "gate.yaml", "horizon"),
        ("metric: mae", "metric: mea", "gate.yaml:6", "did you mean 'mae'"),
        ("margin: 0.02", "margin: 2", "gate.yaml:12", "not between"),
        ("min_sample: 500", "min_sampel: 500", "gate.yaml", "min_sample"),
        ("type: comparison", "type: comparision", "gate.yaml:8", "did you mean 'comparison'"),
        ("name: latency", "name: errors", "gate.yaml:14", "given twice"),
        ("name: latency", "name: 'a b'", "gate.yaml:14", "not a name"),
        ("_xx{envoy", "_xx[envoy", "gate.yaml:10", "not a selector"),
        ("${role}", "${rolle}", "gate.yaml:10", "is not one of"),
        ("/v1/models", "v1/models", "gate.yaml:6", "not a path"),
        ("kind: Gate", "kind: Model", "gate.yaml:2", "not one of"),
    ],
)
def test_mistakes_are_named_with_their_line(old: str, new: str, where: str, problem: str) -> None:
    assert old in GATE
    with pytest.raises(InputError) as caught:
        read(GATE.replace(old, new))
    assert str(caught.value).startswith(where) and problem in str(caught.value)


def test_a_gate_without_checks_is_refused() -> None:
    with pytest.raises(InputError, match="would accept everything"):
        read(GATE.partition("checks:")[0])


LINE = {"id": "a", "request": {}, "expected": 1}


@pytest.mark.parametrize(
    ("golden", "where", "problem"),
    [
        (None, "golden.jsonl", "no such file"),
        ("\n\n", "golden.jsonl", "no examples"),
        (json.dumps(LINE) + "\n\n{", "golden.jsonl:3", "not JSON"),
        ("[]", "golden.jsonl:1", "not a mapping"),
        ("[" * 100_000, "golden.jsonl:1", "nested"),
        (f"{json.dumps(LINE)}\n{json.dumps(LINE)}", "golden.jsonl:2", "given twice"),
        (json.dumps({**LINE, "expected": "x"}), "golden.jsonl:1", "expected"),
        (json.dumps({**LINE, "expected": float("nan")}), "golden.jsonl:1", "expected"),
        (json.dumps({**LINE, "expected": True}), "golden.jsonl:1", "expected"),
        (json.dumps({**LINE, "extra": 1}), "golden.jsonl:1", "'extra'"),
        (json.dumps({"id": "a", "expected": 1}), "golden.jsonl:1", "'request' is missing"),
        (json.dumps({**LINE, "id": "\ud800"}), "golden.jsonl:1", "printable"),
        (" " * (MAX_BYTES + 1), "golden.jsonl", "more than"),
    ],
)
def test_a_golden_set_with_a_mistake_is_refused_with_its_line(golden: str | None, where: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        read(golden=golden)
    assert str(caught.value).startswith(where) and problem in str(caught.value)
