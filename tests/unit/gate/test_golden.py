from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpack.errors import InputError
from modelpack.fields import read
from modelpack.gate.checks.check import Evidence, Pair, Reply, Window
from modelpack.gate.checks.golden import Golden
from modelpack.gate.checks.golden_exam import Rule
from modelpack.gate.checks.golden_metric import Metric
from modelpack.gate.checks.golden_set import Benchmark, Example

LOWER = {"mae", "rmse"}


def golden(
    metric: str = "mae",
    floor: float = 3.0,
    margin: float = 0.3,
    expected: Sequence[Any] = (1.0, 2.0),
    segments: Sequence[str] = (),
    **more: Any,
) -> Golden:
    examples = tuple(Example(f"e{n}", {}, value, segments[n] if segments else "") for n, value in enumerate(expected))
    known = {key: more.pop(key) for key in ("positive", "own") if key in more}
    measured = Metric(metric, metric in LOWER, **known)
    return Golden("golden", "/", measured, floor, margin, "mpg", examples=examples, **more)


def pairs(*answers: tuple[Any, Any]) -> Window:
    def reply(value: Any) -> Reply:
        return Reply(error=value) if isinstance(value, str) and value.startswith("!") else Reply(value)

    return Window(
        pairs=tuple(Pair(f"e{n}", reply(canary), reply(primary)) for n, (canary, primary) in enumerate(answers))
    )


def seeded(n: int, worse: float, seed: int = 1) -> tuple[Sequence[float], Window]:
    """`n` expected values and answers whose error is 1 on the average, the canary's `worse` more."""
    random = np.random.default_rng(seed)
    truth = random.normal(20, 5, n)
    primary = truth + random.choice([-1, 1], n) * random.uniform(0.5, 1.5, n)
    canary = truth + np.sign(primary - truth) * (abs(primary - truth) + worse + random.normal(0, 0.2, n))
    return [float(each) for each in truth], pairs(*zip(map(float, canary), map(float, primary), strict=True))


@pytest.mark.parametrize(
    ("check", "window", "verdict", "says"),
    [
        (golden(), Window(), "pending", "2 examples"),
        (golden(), pairs((1.1, 1.2), (2.1, 2.2)), "accept", "mae is 0.1 mpg (primary 0.2 mpg)"),
        (golden(), pairs((1.5, 1.1), (2.5, 2.1)), "reject", "more than 0.3 mpg worse"),
        (golden(), pairs((9, 9), (9, 9)), "reject", "the floor is 3 mpg"),
        (golden("rmse"), pairs((1, 1), (6, 2)), "reject", "rmse is 2.828"),
        (golden(), pairs(("!answered 500", 1), (2, 2)), "reject", "failed on 1 of 2 examples"),
        (golden(), pairs((1, 1), (2, "!answered 500")), "hold", "the primary failed on 1 of 2"),
        (golden(), pairs(("!a", "!b"), (2, 2)), "hold", "the primary failed"),
        (golden(), pairs(), "hold", "not one example was asked"),
        (golden("accuracy", 0.5, 0.0, ("usa", "japan")), pairs(("usa", "usa"), ("eu", "eu")), "accept", "is 0.5"),
        (golden("accuracy", 0.9, 0.5, ("usa", "japan")), pairs(("usa", "usa"), ("eu", "eu")), "reject", "floor"),
        (golden("accuracy", 0.1, 0.1, ("usa", "japan")), pairs(("usa", "usa"), ("eu", "japan")), "reject", "worse"),
    ],
)
def test_a_short_golden_set_is_an_exam(check: Golden, window: Window, verdict: str, says: str) -> None:
    found = check.evaluate(window)
    assert found.verdict == verdict and says in found.reason


@pytest.mark.parametrize(
    ("worse", "n", "verdict", "says"),
    [
        (0.0, 80, "accept", "on 80 examples ("),
        (0.25, 80, "accept", "and the margin of 0.3 mpg"),
        (0.5, 80, "reject", "more than 0.3 mpg worse than the primary"),
        (0.36, 25, "hold", "which 25 examples do not show, though some"),
        (-0.5, 80, "accept", "within the floor of 3 mpg"),
    ],
)
def test_what_is_rejected_is_shown_to_be_worse(worse: float, n: int, verdict: str, says: str) -> None:
    expected, window = seeded(n, worse)
    found = golden(expected=expected).evaluate(window)
    assert (found.verdict, found.n, found.n_primary) == (verdict, n, n), found.reason
    assert says in found.reason
    assert found.low is not None and found.high is not None and found.estimate is not None
    assert found.low < found.estimate < found.high and found.estimate == pytest.approx(worse, abs=0.15)


def test_the_interval_has_the_confidence_that_was_asked_for() -> None:
    expected, window = seeded(40, 0.0)
    check = golden(expected=expected)
    widths = []
    for alpha, shared in ((None, 0.05), (None, 0.01), (0.05, 0.01)):
        found = replace(check, alpha=alpha).evaluate(replace(window, alpha=shared))
        assert found.low is not None and found.high is not None
        assert f"at {100 * (1 - (alpha or shared)):g} %" in found.reason
        widths.append(found.high - found.low)
    assert widths[0] < widths[1] and widths[0] == widths[2]


def test_a_person_who_goes_back_asks_for_answers_only() -> None:
    window = replace(pairs((9, 1), (9, 2)), rollback=True)
    found = golden().evaluate(window)
    assert found.verdict == "accept" and "go back" in found.reason
    assert golden().evaluate(replace(pairs(("!no", "!no"), (9, 2)), rollback=True)).verdict == "hold"


SPAM = ["spam"] * 30 + ["ham"] * 30


@pytest.mark.parametrize(
    ("metric", "positive", "value"),
    [
        ("accuracy", "", 50 / 60),
        ("precision", "spam", 1.0),
        ("recall", "spam", 20 / 30),
        ("f1", "spam", 0.8),
        ("recall", "", (20 / 30 + 1) / 2),
        ("precision", "", (1 + 30 / 40) / 2),
    ],
)
def test_metrics_of_classes(metric: str, positive: str, value: float) -> None:
    window = pairs(*((("ham" if n < 10 else right), right) for n, right in enumerate(SPAM)))
    found = golden(metric, 0.5, 0.5, SPAM, positive=positive).evaluate(window)
    assert (found.canary, found.primary) == (pytest.approx(value), pytest.approx(1.0))


def test_the_area_under_the_curve_comes_from_scores() -> None:
    scores = [0.9, 0.8, 0.3, 0.4, 0.2, 0.1]
    check = golden("auc", 0.5, 0.2, ["spam"] * 3 + ["ham"] * 3, positive="spam")
    found = check.evaluate(pairs(*((each, 1.0 if n < 3 else 0.0) for n, each in enumerate(scores))))
    assert (found.canary, found.primary) == (pytest.approx(8 / 9), 1.0)
    assert [(each["id"], each["error"]) for each in found.worst[:2]] == [
        ("e2", pytest.approx(1 / 3)),
        ("e3", pytest.approx(1 / 3)),
    ]


def test_ties_count_by_half_in_the_area_under_the_curve() -> None:
    check = golden("auc", 0.1, 1.0, ["spam", "ham"] * 20, positive="spam")
    assert check.evaluate(pairs(*[(0.5, 0.5)] * 40)).canary == 0.5


@pytest.mark.parametrize(("right", "answer"), [(3, "3"), (3, 3.0), (True, "true"), ("a", "a"), ("7", 7)])
def test_one_class_may_be_written_in_several_ways(right: Any, answer: Any) -> None:
    found = golden("accuracy", 1.0, 0.0, [right, "x"]).evaluate(pairs((answer, right), ("x", "x")))
    assert (found.verdict, found.canary) == ("accept", 1.0)


def test_answers_that_are_no_class_at_all_are_named() -> None:
    found = golden("accuracy", 0.5, 0.1, ["0", "1"]).evaluate(pairs((0.31, "0"), (0.92, "1")))
    assert found.verdict == "reject" and "none of its answers is a class that is expected" in found.reason
    assert "0.31" in found.reason


def mean_excess(expected: Sequence[Any], predicted: Sequence[Any]) -> float:
    return sum(max(0.0, value - right) for right, value in zip(expected, predicted, strict=True)) / len(expected)


def test_a_users_metric_has_an_interval_too() -> None:
    expected, window = seeded(80, 0.5)
    own = golden("excess", 3.0, 0.1, expected, own=mean_excess)
    own = replace(own, metric=replace(own.metric, lower_is_better=True))
    found = own.evaluate(window)
    again = golden(expected=expected).evaluate(window)
    assert found.low is not None and found.high is not None and again.low is not None and again.high is not None
    assert found.low < (found.estimate or 0) < found.high and found.high - found.low < 1


def test_the_jackknife_of_a_mean_is_the_interval_of_a_mean() -> None:
    expected, window = seeded(60, 0.2)

    def mae(expected: Sequence[Any], predicted: Sequence[Any]) -> float:
        return float(np.abs(np.array(expected) - np.array(predicted)).mean())

    own = golden("own", expected=expected, own=mae)
    own = replace(own, metric=replace(own.metric, lower_is_better=True))
    ours, theirs = golden(expected=expected).evaluate(window), own.evaluate(window)
    assert (theirs.low, theirs.high) == (pytest.approx(ours.low), pytest.approx(ours.high))


def _raises(expected: Sequence[Any], predicted: Sequence[Any]) -> float:
    raise KeyError("column")


@pytest.mark.parametrize(
    ("own", "says"), [(_raises, "metric own raised KeyError"), (lambda *_: math.nan, "no finite number")]
)
def test_a_users_metric_that_fails_asks_a_person(own: Callable[..., float], says: str) -> None:
    found = golden("own", own=own).evaluate(pairs((1, 1), (2, 2)))
    assert found.verdict == "hold" and says in found.reason


def broken_segment(n: int, least: int = 20) -> Evidence:
    """`n` cars a country; the canary is 4 mpg worse for those of the last one."""
    random = np.random.default_rng(3)
    countries = [country for country in ("europe", "japan", "usa") for _ in range(n)]
    expected = [float(each) for each in random.normal(20, 5, 3 * n)]
    answers = [
        (right + float(random.normal(0, 0.5)) + 4 * (country == "usa"), right + float(random.normal(0, 0.5)))
        for country, right in zip(countries, expected, strict=True)
    ]
    check = golden(expected=expected, margin=2.0, segments=countries)
    return replace(check, segments=Rule(1.0, least)).evaluate(pairs(*answers))


def test_one_broken_segment_rejects() -> None:
    found = broken_segment(24)
    assert found.verdict == "reject" and "segment usa: mae is" in found.reason and "24 examples" in found.reason
    parts = {each.name: each for each in found.parts}
    assert {name: each.verdict for name, each in parts.items()} == {
        "europe": "accept",
        "japan": "accept",
        "usa": "reject",
    }
    assert parts["usa"].estimate == pytest.approx(3.6, abs=0.5) and parts["usa"].n == 24


def test_a_segment_with_few_examples_is_shown_and_decides_nothing() -> None:
    found = broken_segment(12)
    assert found.verdict == "accept"
    assert [(each.verdict, each.n, each.low) for each in found.parts] == [("undecided", 12, None)] * 3
    assert broken_segment(12, least=10).verdict == "reject"


def test_segments_without_a_rule_are_only_shown() -> None:
    expected, window = seeded(60, 0.0)
    found = golden(expected=expected, segments=["a", "b"] * 30).evaluate(window)
    seen = [(each.name, each.verdict, each.n) for each in found.parts]
    assert seen == [("a", "undecided", 30), ("b", "undecided", 30)]
    assert all(each.low is not None for each in found.parts)


def test_segments_share_their_half_of_alpha() -> None:
    expected, window = seeded(60, 0.0)
    both = golden(expected=expected, segments=["a"] * 30 + ["b"] * 30, alpha=0.05).evaluate(window)
    first = replace(window, pairs=(window.pairs or ())[:30])
    alone = golden(expected=expected[:30], alpha=0.025).evaluate(first)
    assert (both.parts[0].low, both.parts[0].high) == (pytest.approx(alone.low), pytest.approx(alone.high))


@pytest.mark.parametrize(
    ("score", "verdict"),
    [(0.9, "accept"), (0.6, "reject"), (0.77, "hold")],
)
def test_a_benchmark_is_held_against_too(score: float, verdict: str) -> None:
    expected, window = seeded(30, 0.0)
    check = golden(expected=expected, against=Rule(0.2), benchmark=Benchmark("last year's", score, {"usa": 0.1}))
    found = check.evaluate(window)
    assert found.verdict == verdict, found.reason
    assert "at 97.5 %" in found.reason  # each of two comparisons has half of alpha
    assert [(each.name, each.primary, each.verdict) for each in found.parts] == [("last year's", score, verdict)]
    if verdict != "accept":
        assert "all against last year's: mae is" in found.reason


def test_a_benchmark_of_a_segment_only_rejects() -> None:
    expected, window = seeded(60, 0.0)
    scores = Benchmark("last year's", 1.0, {"usa": 0.1})
    check = golden(expected=expected, segments=["usa"] * 60, against=Rule(0.2), benchmark=scores)
    found = check.evaluate(window)
    assert found.verdict == "reject" and "usa against last year's: mae is" in found.reason
    assert [each.name for each in found.parts] == ["usa", "last year's", "last year's, usa"]


def test_the_worst_examples_come_first_and_failures_before_them() -> None:
    found = golden(expected=(1.0, 2.0, 3.0)).evaluate(pairs((1.1, 1), (7, 2), ("!no", 3)))
    assert [(each["id"], each["error"]) for each in found.worst] == [
        ("e2", "!no"),
        ("e1", 5.0),
        ("e0", pytest.approx(0.1)),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"predictions": []},
        {"predictions": 3},
        {"predictions": ["x"]},
        {"predictions": [True]},
        {"predictions": [math.nan]},
        {"predictions": [1e200]},
        {"predictions": [10**400]},
    ],
)
def test_what_is_no_prediction_is_refused(answer: Any) -> None:
    with pytest.raises(ValueError, match="predict"):
        golden().read_prediction(answer)


def test_huge_numbers_still_have_a_verdict() -> None:
    expected = [1.0] * 30
    found = golden(expected=expected).evaluate(pairs(*[(9e99, 1.0)] * 30))
    assert found.verdict == "reject" and found.canary == pytest.approx(9e99)
    json.dumps(found.worst, allow_nan=False)


YAML = """name: golden
type: golden
path: /predict
metric: mae
floor: 3
margin: 0.3
"""


def parse(text: str) -> Golden:
    fields = read(text, "gate.yaml")
    fields.skip("type")
    check = Golden.parse(fields)
    fields.done()
    return check


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("metric: mae", "metric: recal", "did you mean 'recall'"),
        ("metric: mae", "metric: auc", "positive: is missing"),
        ("metric: mae", "metric: mae\npositive: spam", "gate.yaml:5: positive: is not a known key"),
        ("metric: mae", "metric: f1\npositive: spam\naverage: macro", "leave one of them out"),
        (
            "metric: mae",
            "metric: entry-point:nobody\nbetter: lower",
            "no entry point 'nobody' of group",
        ),
        ("metric: mae", "metric: entry-point:nobody", "better: is missing"),
        ("margin: 0.3", "margin: 0.3\nconfidence: 95", "not between 0.5 and 0.9999"),
        ("margin: 0.3", "margin: 0.3\nsegments: {margin: 1, min_sample: 2}", "not between 5 and any"),
        ("path: /predict", "path: predict", "not a path"),
    ],
)
def test_mistakes_in_gate_yaml_are_named(before: str, after: str, says: str) -> None:
    with pytest.raises(InputError, match=r"gate\.yaml:") as raised:
        parse(YAML.replace(before, after))
    assert says in str(raised.value)


def test_a_users_metric_is_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = "[modelpack.metrics]\nmost = ours:most\ngone = ours:gone\ntext = ours:text\n"
    (tmp_path / "ours-1.dist-info").mkdir()
    (tmp_path / "ours-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: ours\nVersion: 1\n")
    (tmp_path / "ours-1.dist-info" / "entry_points.txt").write_text(points)
    source = (
        "text = 'x'\ndef most(expected, predicted):\n    return sum(abs(a - b) for a, b in zip(expected, predicted))"
    )
    (tmp_path / "ours.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    check = parse(YAML.replace("mae", "entry-point:most\nbetter: lower"))
    assert (check.metric.name, check.metric.lower_is_better) == ("most", True)
    read_check = check.with_files({"golden.jsonl": LINES}, "mpg")
    found = read_check.evaluate(Window(pairs=(Pair("a", Reply(2), Reply(1)), Pair("b", Reply(4), Reply(2)))))
    assert (found.canary, found.primary) == (3.0, 0.0)
    for name, says in (("gone", "cannot be loaded"), ("text", "is not a function"), ("other", "there are gone, most")):
        with pytest.raises(InputError, match=says):
            parse(YAML.replace("mae", f"entry-point:{name}\nbetter: lower"))


LINES = b'{"id": "a", "request": {}, "expected": 1, "segment": "usa"}\n{"id": "b", "request": {}, "expected": 2}\n'
SCORES = b'{"name": "old", "scores": {"mae": 2.5}, "segments": {"usa": {"mae": 3}}}'


def test_what_is_read_from_the_files_beside_gate_yaml() -> None:
    text = f"{YAML}confidence: 0.9\nsegments: {{margin: 0.5}}\nbenchmark: {{margin: 0.2}}\n"
    check = parse(text).with_files({"golden.jsonl": LINES, "benchmark.json": SCORES}, "mpg")
    assert [(each.id, each.expected, each.segment) for each in check.examples] == [("a", 1, "usa"), ("b", 2, "")]
    assert check.benchmark == Benchmark("old", 2.5, {"usa": 3.0}) and check.alpha == 0.1
    described = check.description()
    assert (described["min_sample"], described["benchmark"], described["share"]) == (2, "old", False)


@pytest.mark.parametrize(
    ("more", "files", "says"),
    [
        ("", {}, "mpg/golden.jsonl: there is no such file"),
        ("benchmark: {margin: 1}", {"golden.jsonl": LINES}, "mpg/benchmark.json: there is no such file"),
        ("", {"golden.jsonl": b"\n"}, "holds no examples"),
        ("", {"golden.jsonl": LINES + LINES}, "mpg/golden.jsonl:3: id 'a' is given twice"),
        ("", {"golden.jsonl": LINES + b"{"}, "mpg/golden.jsonl:3: is not JSON"),
        ("", {"golden.jsonl": LINES + b"[" * 100_000}, "mpg/golden.jsonl:3: is nested too deeply"),
        ("", {"golden.jsonl": LINES.replace(b"2", b'"x"')}, "golden.jsonl:2: expected is not a value that mae can use"),
        ("", {"golden.jsonl": LINES.replace(b"2", b"NaN")}, "golden.jsonl:2: expected is not a value"),
        ("", {"golden.jsonl": LINES.replace(b"2", b'2, "odd": 1')}, "key 'odd' is not known"),
        ("segments: {margin: 1}", {"golden.jsonl": LINES.replace(b"usa", b"")}, "no example has a segment"),
        ("benchmark: {margin: 1}", {"golden.jsonl": LINES, "benchmark.json": b"[]"}, "is not a mapping"),
        (
            "benchmark: {margin: 1}",
            {"golden.jsonl": LINES, "benchmark.json": b'{"scores": {"rmse": 1}}'},
            "scores has no number 'mae'",
        ),
        (
            "benchmark: {margin: 1}",
            {"golden.jsonl": LINES, "benchmark.json": SCORES.replace(b"3", b"NaN")},
            "segment 'usa' has no number 'mae'",
        ),
    ],
)
def test_mistakes_in_the_files_are_named(more: str, files: dict[str, bytes], says: str) -> None:
    with pytest.raises(InputError) as raised:
        parse(YAML + more).with_files(files, "mpg")
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("metric", "says"), [("recall\npositive: 3", "no example expects '3'"), ("auc\npositive: 3", "no example expects")]
)
def test_a_positive_class_that_nobody_expects_is_a_mistake(metric: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse(YAML.replace("mae", metric)).with_files({"golden.jsonl": LINES}, "mpg")


def test_auc_needs_examples_of_both_kinds() -> None:
    files = {"golden.jsonl": LINES.replace(b"2", b"1")}
    with pytest.raises(InputError, match="every example expects '1'"):
        parse(YAML.replace("mae", "auc\npositive: 1")).with_files(files, "mpg")
    assert parse(YAML.replace("mae", "recall\npositive: 1")).with_files(files, "mpg").examples
