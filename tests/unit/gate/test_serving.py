from __future__ import annotations

import pytest

from modelpack.errors import InputError
from modelpack.fields import read
from modelpack.gate.serving import Level, Share, Signal
from modelpack.gate.signals import read_signals

WHERE = {"namespace": "default", "name": "mpg", "role": "primary"}
ERRORS = """signals:
- name: errors
  type: proportion
  total: rq{c="${name}-${role}"}
  bad: rq{c="${name}-${role}",code="5"}
  limit: 0.01
"""
SLOW = "signals:\n- {name: slow, type: latency, histogram: 'time{a=\"x\"}', threshold: 100, unit: ms, limit: 0.05}\n"
MEMORY = "signals:\n- {name: memory, type: level, query: 'm{n=\"${namespace}\"}', max: 0.9, for: 10m}\n"


def read_one(text: str) -> Share | Level:
    (found,) = read_signals(read(text, "gate.yaml"), {}, "mpg")
    assert isinstance(found, Share | Level)
    return found


class Answers:
    """A Prometheus that gives these numbers one after the other."""

    def __init__(self, *numbers: float | None) -> None:
        self.numbers, self.asked = list(numbers), list[str]()

    def __call__(self, query: str) -> float | None:
        self.asked.append(query)
        return self.numbers.pop(0)


def judge(text: str, *numbers: float | None) -> Signal:
    return read_one(text).judge(Answers(*numbers), WHERE)


def test_errors_are_counted_over_the_window_of_what_serves() -> None:
    prometheus = Answers(10_000.0, 20.0)
    read_one(ERRORS).judge(prometheus, WHERE)
    assert prometheus.asked == [
        'sum(increase(rq{c="mpg-primary"}[3600s]))',
        'sum(increase(rq{c="mpg-primary",code="5"}[3600s]))',
    ]


def test_slow_answers_are_those_above_a_bound_however_it_is_written() -> None:
    prometheus = Answers(10_000.0, 9_000.0)
    found = read_one(SLOW).judge(prometheus, WHERE)
    assert prometheus.asked == [
        'sum(increase(time_count{a="x"}[3600s]))',
        'sum(increase(time_bucket{a="x",le=~"100(\\\\.0+)?"}[3600s]))',
    ]
    assert found.stale and found.value == pytest.approx(0.1)
    assert "10 % of 10,000 answers are slower than 100 ms, surely at least" in found.reason


def test_a_threshold_that_is_no_bound_is_no_slowness() -> None:
    found = judge(SLOW, 10_000.0, None)
    assert (found.status, found.reason) == ("unknown", "100 is no bound of time_bucket")


@pytest.mark.parametrize(
    ("total", "bad", "status"),
    [
        (10_000.0, 200.0, "stale"),
        (10_000.0, 110.0, "ok"),  # above the limit, but not surely
        (10_000.0, 0.0, "ok"),
        (10_000.0, None, "ok"),  # a proxy shows a counter once it is first used
        (499.0, 499.0, "waiting"),
        (None, None, "waiting"),
        (600.0, 700.0, "stale"),  # read one after the other
    ],
)
def test_errors_are_stale_once_they_are_surely_above_the_limit(
    total: float | None, bad: float | None, status: str
) -> None:
    assert judge(ERRORS, total, bad).status == status


@pytest.mark.parametrize(
    ("numbers", "status"),
    [
        ((0.95, 0.92), "stale"),
        ((0.95, 0.5), "ok"),  # not for so long
        ((0.95, None), "ok"),  # nobody knows what was before
        ((0.5,), "ok"),
        ((None,), "waiting"),
    ],
)
def test_a_level_is_stale_once_it_was_beyond_its_limit_for_so_long(numbers: tuple[float | None], status: str) -> None:
    assert judge(MEMORY, *numbers).status == status


def test_a_level_asks_for_the_best_value_of_the_time() -> None:
    prometheus = Answers(0.95, 0.92)
    read_one(MEMORY).judge(prometheus, WHERE)
    span = '((m{n="default"})[600s:20s])'
    assert prometheus.asked[1] == f"min_over_time{span} and count_over_time{span} >= 24"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (MEMORY.replace("max: 0.9, ", ""), "gate.yaml:2.*either max or min"),
        (MEMORY.replace("max: 0.9", "max: 0.9, min: 0.1"), "either max or min"),
        (MEMORY.replace("namespace", "spacename"), r"\$\{spacename\} is not one of"),
        (MEMORY.replace("'m{n=\"${namespace}\"}'", "''"), "is empty or longer"),
        (ERRORS.replace("limit: 0.01", "limit: 2"), "not between"),
        (ERRORS.replace("limit: 0.01", "limit: 0.01\n  alarms: 0"), "not between"),
        (SLOW.replace("threshold: 100, ", ""), "threshold.*is missing"),
    ],
)
def test_what_makes_no_sense_is_said(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_one(text)
