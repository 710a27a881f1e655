from __future__ import annotations

import pytest

from modelpack.errors import InputError
from modelpack.fields import read
from modelpack.gate.checks import Approval, Window, parse_check


@pytest.mark.parametrize(
    ("when", "window", "verdict", "says"),
    [
        ("before-traffic", Window(), "hold", "before the canary gets any traffic"),
        ("before-traffic", Window(ready=True), "hold", "before the canary gets any traffic"),
        ("before-traffic", Window(approved="ada"), "accept", "ada approved this rollout"),
        ("before-promotion", Window(), "undecided", "once every other check accepts"),
        ("before-promotion", Window(ready=True), "hold", "has to approve the promotion"),
        ("before-promotion", Window(ready=True, approved="ada"), "accept", "ada approved"),
        ("before-traffic", Window(rollback=True), "accept", "go back to this version"),
    ],
)
def test_an_approval_waits_for_a_person(when: str, window: Window, verdict: str, says: str) -> None:
    found = Approval("person", when).evaluate(window)
    assert found.verdict == verdict and says in found.reason


def test_it_is_read_from_gate_yaml_and_costs_no_alpha() -> None:
    check = parse_check(read("{name: person, type: approval, when: before-traffic}", "gate.yaml"))
    assert check == Approval("person", "before-traffic") and not check.compares and check.needs == ()
    with pytest.raises(InputError, match="did you mean 'before-traffic'"):
        parse_check(read("{name: person, type: approval, when: before-trafic}", "gate.yaml"))
