from __future__ import annotations

import json

import pytest

from modelpack.errors import InputError
from modelpack.gate.checks.golden_set import MAX_BYTES
from modelpack.gate.config import GateConfig, parse
from tests.fakes.rehearsal import GATE, GOLDEN


def read(gate: str = GATE, golden: str | None = GOLDEN) -> GateConfig:
    files = {"gate.yaml": gate.encode()}
    return parse(files if golden is None else files | {"golden.jsonl": golden.encode()}, "mpg")


def test_a_gate_is_read() -> None:
    config = read()
    assert (config.name, config.horizon, config.alpha) == ("mpg", 600.0, 0.05)
    assert [check.name for check in config.checks] == ["golden", "errors", "latency"]
    assert len(config.goldens[0].examples) == 40
    assert sum(map(config.alpha_of, config.checks)) == pytest.approx(0.05)


def test_a_check_may_have_its_own_alpha_and_the_others_share_what_is_left() -> None:
    config = read(GATE.replace("type: proportion", "type: proportion\n  alpha: 0.01"))
    assert [config.alpha_of(each) for each in config.checks] == pytest.approx([0.02, 0.01, 0.02])


@pytest.mark.parametrize("own", [0.05, 0.2])
def test_the_checks_alphas_fit_into_the_rollouts(own: float) -> None:
    with pytest.raises(InputError, match="the checks' own are"):
        read(GATE.replace("type: proportion", f"type: proportion\n  alpha: {own}"))


def test_the_old_name_of_a_check_says_the_new_one() -> None:
    with pytest.raises(InputError, match="it is called proportion now"):
        read(GATE.replace("type: proportion", "type: comparison"))


def test_a_person_is_asked_once() -> None:
    asked = "- {name: sign, type: approval}\n- {name: owner, type: approval, when: before-traffic}\n"
    with pytest.raises(InputError, match="approval a second time"):
        read(GATE.replace("checks:\n", f"checks:\n{asked}"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1d", 86400), ("0.5s", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert read(GATE.replace("10m", text)).horizon == seconds


@pytest.mark.parametrize(
    ("old", "new", "where", "problem"),
    [
        ("horizon: 10m", "horizon: soon", "mpg/gate.yaml:4", "not a duration"),
        ("horizon: 10m", "horizon: 0s", "mpg/gate.yaml:4", "not a duration"),
        ("horizon:", "horizont:", "mpg/gate.yaml", "horizon"),
        ("metric: mae", "metric: mea", "mpg/gate.yaml:6", "did you mean 'mae'"),
        ("margin: 0.02", "margin: 2", "mpg/gate.yaml:11", "not between"),
        ("min_sample: 500", "min_sampel: 500", "mpg/gate.yaml", "min_sample"),
        ("type: proportion", "type: proporion", "mpg/gate.yaml:8", "did you mean 'proportion'"),
        ("name: latency", "name: errors", "mpg/gate.yaml:13", "given twice"),
        ("name: latency", "name: 'a b'", "mpg/gate.yaml:13", "not a name"),
        ("_xx{envoy", "_xx[envoy", "mpg/gate.yaml:9", "not a selector"),
        ("${role}", "${rolle}", "mpg/gate.yaml:9", "is not one of"),
        ("/v1/models", "v1/models", "mpg/gate.yaml:6", "not a path"),
        ("kind: Gate", "kind: Model", "mpg/gate.yaml:2", "not one of"),
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
        (None, "mpg/golden.jsonl", "no such file"),
        ("\n\n", "mpg/golden.jsonl", "no examples"),
        (json.dumps(LINE) + "\n\n{", "mpg/golden.jsonl:3", "not JSON"),
        ("[]", "mpg/golden.jsonl:1", "not a mapping"),
        ("[" * 100_000, "mpg/golden.jsonl:1", "nested"),
        (f"{json.dumps(LINE)}\n{json.dumps(LINE)}", "mpg/golden.jsonl:2", "given twice"),
        (json.dumps({**LINE, "expected": "x"}), "mpg/golden.jsonl:1", "expected"),
        (json.dumps({**LINE, "expected": float("nan")}), "mpg/golden.jsonl:1", "expected"),
        (json.dumps({**LINE, "expected": True}), "mpg/golden.jsonl:1", "expected"),
        (json.dumps({**LINE, "extra": 1}), "mpg/golden.jsonl:1", "'extra'"),
        (json.dumps({"id": "a", "expected": 1}), "mpg/golden.jsonl:1", "'request' is missing"),
        (json.dumps({**LINE, "id": "\ud800"}), "mpg/golden.jsonl:1", "printable"),
        (" " * (MAX_BYTES + 1), "mpg/golden.jsonl", "more than"),
    ],
)
def test_a_golden_set_with_a_mistake_is_refused_with_its_line(golden: str | None, where: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        read(golden=golden)
    assert str(caught.value).startswith(where) and problem in str(caught.value)
