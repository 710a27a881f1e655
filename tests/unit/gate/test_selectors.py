from __future__ import annotations

import pytest

from modelpack.errors import InputError
from modelpack.gate.selectors import Selector


def parse(text: str) -> Selector:
    return Selector.parse(text, lambda problem: InputError("gate.yaml:7", problem))


@pytest.mark.parametrize(
    ("text", "metric", "labels"),
    [
        ("up", "up", {}),
        ("up{}", "up", {}),
        (' up { a = "b" , c="d", } ', "up", {"a": "b", "c": "d"}),
        (r'a:b{x="q\"\\\n,}"}', "a:b", {"x": 'q"\\\n,}'}),
    ],
)
def test_selectors_are_read(text: str, metric: str, labels: dict[str, str]) -> None:
    found = parse(text)
    assert (found.metric, dict(found.labels)) == (metric, labels)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not a selector"),
        ("rate(up[5m])", "not a selector"),
        ('up{a=~"b"}', "only = is known"),
        ('up{a!="b"}', "only = is known"),
        ("up{a=b}", 'label="value"'),
        ('up{a="b" c="d"}', 'label="value"'),
        ('up{a="b",a="c"}', "given twice"),
        ('up{a="${pod}"}', "is not one of"),
    ],
)
def test_what_is_no_selector_is_refused_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=r"gate\.yaml:7") as caught:
        parse(text)
    assert problem in str(caught.value)


def test_placeholders_are_filled_and_labels_matched() -> None:
    selector = parse('up{cluster="${namespace}_${name}-${role}_8080"}')
    half = selector.fill({"namespace": "default", "name": "mpg"})
    full = half.fill({"role": "canary"})
    assert full.matches({"cluster": "default_mpg-canary_8080", "other": "x"})
    assert not full.matches({"cluster": "default_mpg-primary_8080"})
