from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from modelpack.cli.simulate import simulate
from modelpack.errors import InputError, NotFoundError
from modelpack.gate.checks import Window
from modelpack.gate.config import GateConfig, parse
from modelpack.gate.drawing import Baseline
from modelpack.gate.simulate import Plan, Traffic, counters, plan, run, usual
from modelpack.rollout import read_canary
from tests.command import modelpack

ROOT = Path(__file__).parents[3]
HEAD = "apiVersion: modelpack.dev/v1\nkind: Gate\nmetadata: {name: mpg}\nhorizon: 10m\nchecks:\n"
ERRORS = "- {name: errors, type: proportion, total: a, bad: b, margin: 0.02, min_sample: 500}\n"
DETECT = ERRORS.replace("margin: 0.02", "margin: 0")
SEGMENTS = ERRORS.replace("}", ", segments: {label: region, values: [eu, us]}}")
APPROVAL = "- {name: owner, type: approval, when: before-promotion}\n"
P90 = "- {name: p90, type: latency, histogram: h, quantile: 0.9, margin: 50, unit: ms, min_sample: 500}\n"
SLOW = "- {name: slow, type: latency, histogram: h, threshold: 100, margin: 0.05, min_sample: 500}\n"
MEAN = "- {name: revenue, type: mean, sum: s, count: c, squares: q, margin: 0.5, better: higher, min_sample: 500}\n"
SHARE = "- {name: slo, type: slo, total: a, bad: b, max: 0.05, min_sample: 100}\n"
TIME = "- {name: slo, type: slo, histogram: h, quantile: 0.9, max: 500, min_sample: 100}\n"
DRIFT = "- {name: drift, type: drift, predictions: true, statistic: psi, limit: 0.1, min_sample: 500}\n"
BUSY = Traffic(100.0, (10.0, 25.0, 50.0), 10.0)


def gate(checks: str) -> GateConfig:
    return parse({"gate.yaml": (HEAD + checks).encode()}, "mpg")


def planned(checks: str, traffic: Traffic = BUSY, **baselines: Baseline) -> Plan:
    return plan(gate(checks), traffic, baselines)


def test_a_good_canary_is_promoted_once_weights_have_climbed_and_a_bad_one_is_rejected() -> None:
    found = planned(ERRORS)
    good, bad = run(found, {}, 20, seed=1), run(found, {"errors": 0.1}, 20, seed=1)
    assert (good.promoted, bad.rejected, bad.by) == (20, 20, {"errors": 20})
    assert good.seconds[0] >= BUSY.climb and bad.seconds[0] < BUSY.climb
    assert good.bad is None and bad.bad == pytest.approx(0.1 * bad.canary)


def test_more_traffic_gives_a_verdict_sooner() -> None:
    slow, fast = (run(planned(ERRORS, Traffic(rate, (50.0,), 10.0)), {}, 20, seed=1).seconds[0] for rate in (10, 100))
    assert fast < slow


def test_what_is_watched_for_any_worsening_is_promoted_at_the_horizon() -> None:
    found = run(planned(DETECT), {}, 20, seed=1)
    assert found.promoted >= 16 and found.seconds[0] == 600


def test_too_little_traffic_is_held_for_a_person() -> None:
    found = run(planned(ERRORS, Traffic(0.1, (10.0,), 60.0)), {}, 20, seed=1)
    assert (found.held, found.waiting, found.seconds[0]) == (20, {"errors": 20}, 630.0)


def test_the_same_seed_gives_the_same_figures() -> None:
    found = planned(ERRORS)
    assert run(found, {"errors": 0.03}, 20, seed=4) == run(found, {"errors": 0.03}, 20, seed=4)
    assert run(found, {"errors": 0.03}, 20, seed=4) != run(found, {"errors": 0.03}, 20, seed=5)


@pytest.mark.parametrize(
    ("check", "baseline", "worse", "primary", "difference"),
    [
        (ERRORS, Baseline(0.03), 0.02, 0.03, 0.02),
        (SLOW, Baseline(0.2), 0.1, 0.2, 0.1),
        (P90, Baseline(100.0), 150.0, 100.0, 150.0),  # bounds of the buckets: between two a quantile is a guess
        (MEAN, Baseline(5.0, 2.0), 1.0, 5.0, -1.0),  # a lower revenue is worse
        (SHARE, Baseline(0.02), 0.01, 0.02, None),
        (TIME, Baseline(250.0), 250.0, 250.0, None),
    ],
)
def test_counters_are_drawn_as_the_baseline_says(
    check: str, baseline: Baseline, worse: float, primary: float, difference: float | None
) -> None:
    config = gate(check)
    name = config.checks[0].name
    found = plan(config, Traffic(3000.0, (50.0,), 10.0), {name: baseline})
    seen = found.sources[name].check.evaluate(
        Window(slices=counters(found, name, worse, np.random.default_rng(1)), elapsed=1.0)
    )
    numbers = [seen.canary - (difference if difference is not None else worse) if seen.canary else None]
    if difference is not None:
        numbers.append(seen.primary)
        assert seen.estimate == pytest.approx(difference, rel=0.3)
    assert numbers == [pytest.approx(primary, rel=0.1)] * len(numbers)


def test_a_drift_is_found_and_its_absence_is_not() -> None:
    found = planned(DRIFT)
    assert run(found, {"drift": 1.0}, 5, seed=1).rejected == 5
    assert run(found, {}, 5, seed=1).promoted == 5


def test_a_threshold_that_the_proxy_has_no_bucket_for_is_said() -> None:
    slow = SLOW.replace("histogram: h, threshold: 100", "histogram: envoy_cluster_upstream_rq_time, threshold: 60")
    promise = slow.replace("latency", "slo").replace("margin: 0.05", "max: 0.1")
    warning = "60 is no bucket of Envoy's, and without it the gate holds: the nearest are 50 and 100"
    assert warning in planned(slow).sources["slow"].says and warning in planned(promise).sources["slow"].says
    for known in (slow.replace("60", "100"), SLOW.replace("100", "60")):  # nobody knows another server's buckets
        assert "bucket" not in planned(known).sources["slow"].says


def test_a_drift_is_said_in_terms_of_the_limit() -> None:
    says = planned(DRIFT.replace("0.1", "0.5")).sources["drift"].says
    assert "+0.5 standard deviations are psi 0.238, the limit is 0.5" in says


def test_segments_share_the_traffic() -> None:
    slices = counters(planned(SEGMENTS), "errors", 0.0, np.random.default_rng(1))
    totals = {name: sum(each.canary["total"] for each in rows) for name, rows in slices.items()}
    assert totals[""] == totals["eu"] + totals["us"] and totals["eu"] == pytest.approx(totals["us"], rel=0.1)


def test_checks_that_count_the_same_see_the_same_requests() -> None:
    found = planned(ERRORS + SHARE)
    assert found.sources["errors"].says == found.sources["slo"].says == "1 % of the primary's answers are bad"
    told = planned(ERRORS + SHARE, slo=Baseline(0.03))
    assert told.sources["errors"].says == told.sources["slo"].says == "3 % of the primary's answers are bad"
    both = run(planned(ERRORS + SHARE), {"slo": 0.1}, 20, seed=1)
    assert both.rejected == 20 and both.by["slo"] and both.by["errors"]
    assert both.bad == pytest.approx(0.1 * both.canary)


@pytest.mark.parametrize(
    ("checks", "baselines", "worse", "problem"),
    [
        (ERRORS, {}, {"erors": 0.1}, "erors: is no check of this gate.yaml.*did you mean 'errors'"),
        (ERRORS, {"x": Baseline(1.0)}, {}, "x: is no check"),
        (ERRORS, {}, {"errors": 0.0}, "cannot be worse by 0"),
        (ERRORS, {}, {"errors": 1.5}, "cannot be worse by 1.5.*at most 0.99"),
        (ERRORS, {"errors": Baseline(2.0)}, {}, "cannot have a baseline of 2"),
        (ERRORS + APPROVAL, {}, {"owner": 1.0}, "owner: is of type approval, which rests on no counters"),
        (MEAN, {}, {}, "write --baseline revenue=MEAN:SD"),
        (APPROVAL, {}, {}, "has no check of counters"),
        (ERRORS + SHARE, {"errors": Baseline(0.1), "slo": Baseline(0.2)}, {}, "errors and slo: count the same"),
        (ERRORS + SHARE, {}, {"errors": 0.1, "slo": 0.2}, "errors and slo: count the same"),
    ],
)
def test_what_makes_no_sense_is_said(checks: str, baselines: Any, worse: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        run(plan(gate(checks), BUSY, baselines), worse, 1, seed=1)


def test_each_check_has_a_regression_that_one_would_want_to_catch() -> None:
    assert usual(planned(ERRORS + DETECT.replace("errors", "any"))) == ({"errors": 0.04}, {"any": 0.01})


def test_canary_requests_follow_the_weights() -> None:
    assert BUSY.canary(25.0) == 100 * (0.1 * 10 + 0.25 * 10 + 0.5 * 5)
    assert BUSY.canary(100.0) == 100 * (0.1 * 10 + 0.25 * 10 + 0.5 * 80)
    assert (BUSY.tick(10.0), BUSY.tick(10.1)) == (10.0, 20.0)


def test_a_chance_has_its_interval() -> None:
    found = run(planned(ERRORS), {}, 20, seed=1)
    assert found.chance("promoted") == (1.0, pytest.approx(0.839, abs=1e-3), 1.0)
    assert found.chance("rejected") == (0.0, 0.0, pytest.approx(0.161, abs=1e-3))


CANARY = """apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: mpg}
spec:
  targetRef: {kind: Deployment, name: mpg}
  service: {port: 8080}
  analysis: {interval: 10s, stepWeights: [10, 25, 50]}
"""


def test_a_file_with_one_canary_is_read() -> None:
    assert read_canary(b"kind: Service\n---\n" + CANARY.encode(), "c.yaml").steps == (10, 25, 50)
    with pytest.raises(NotFoundError, match=r"c\.yaml: holds no Canary"):
        read_canary(b"kind: Service\n", "c.yaml")
    with pytest.raises(InputError, match="holds 2 Canaries"):
        read_canary(f"{CANARY}---\n{CANARY}".encode(), "c.yaml")


def test_the_command_prints_a_table_or_json(tmp_path: Path) -> None:
    (tmp_path / "gate.yaml").write_text(HEAD + ERRORS + APPROVAL)
    (tmp_path / "canary.yaml").write_text(CANARY)
    words = ("gate", "simulate", "gate.yaml", "--traffic", "100/s", "--canary", "canary.yaml", "--rollouts", "20")
    table = modelpack(*words, "--worse", "errors=0.1", cwd=tmp_path)
    assert (table.code, table.err) == (0, "")  # no progress where nobody looks
    rows = {line.split("  ")[0]: line.split() for line in table.out.splitlines()}
    assert "100.0" in rows["as good"] and "owner: is of type approval" in table.out
    assert rows["errors +10 points"][3:7] == ["0.0", "%", "100.0", "%"]
    found = json.loads(modelpack(*words, "--json", cwd=tmp_path).out)
    assert found["traffic"] == {"rate": 100.0, "weights": [10.0, 25.0, 50.0], "interval": 10.0}
    assert [each["worse"] for each in found["canaries"]] == [{}, {"errors": 0.04}]
    assert found["canaries"][0]["promoted"]["share"] == 1.0


def test_a_worse_canary_that_is_promoted_is_pointed_out(tmp_path: Path) -> None:
    (tmp_path / "gate.yaml").write_text(HEAD + DRIFT.replace("0.1", "0.5"))
    words = ("gate", "simulate", "gate.yaml", "--traffic", "100/s", "--rollouts", "20", "--worse")
    small, large = (modelpack(*words, f"drift={each}", cwd=tmp_path).out for each in ("0.5", "2"))
    assert "drift +0.5 standard deviations: promoted in 100 %: this gate.yaml lets it pass" in small
    assert "lets it pass" not in large


def test_a_mistake_names_the_file_that_was_given(tmp_path: Path) -> None:
    (tmp_path / "typo.yaml").write_text(HEAD + ERRORS.replace("propor", "propo"))
    found = modelpack("gate", "simulate", "typo.yaml", "--traffic", "100/s", cwd=tmp_path)
    assert found.code == 2 and found.err.startswith("error: typo.yaml:6: checks[0].type:")


def test_the_documentation_shows_the_example_as_it_is() -> None:
    text, example = (ROOT / "docs/gate.md").read_text(), (ROOT / "model-images/mpg/gate.yaml").read_bytes()
    golden = (ROOT / "model-images/mpg/golden.jsonl").read_bytes()
    config = parse({"gate.yaml": example, "golden.jsonl": golden}, "mpg")
    for name, source in plan(config, BUSY, {}).sources.items():
        assert f"\n{name}: {source.says}\n" in text
    shown = parse({"gate.yaml": text.split("```yaml\n")[1].split("```")[0].encode(), "golden.jsonl": golden}, "mpg")
    here = {each.name: each for each in config.checks}
    assert all(each == here[each.name] for each in shown.checks if each.name != "golden")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--traffic", "fast"), "'fast' is not like 50/s"),
        (("--traffic", "0/s"), "'0/s' is no traffic: it has to be above 0"),
        (("--traffic", "5/s", "--weights", "10,x"), "is not a list of percents"),
        (("--traffic", "5/s", "--interval", "soon"), "is not a duration"),
        (("--traffic", "5/s", "--baseline", "errors"), "is not CHECK=VALUE or CHECK=VALUE:SD"),
        (("--traffic", "5/s", "--worse", "errors=much"), "is not CHECK=VALUE"),
        (("--traffic", "5/s", "--worse", "erors=1"), "did you mean 'errors'"),
    ],
)
def test_words_that_make_no_sense(tmp_path: Path, words: tuple[str, ...], problem: str) -> None:
    (tmp_path / "gate.yaml").write_text(HEAD + ERRORS)
    runner = CliRunner().invoke(simulate, [str(tmp_path / "gate.yaml"), *words], standalone_mode=False)
    assert runner.exception and problem in f"{runner.exception} {getattr(runner.exception, 'message', '')}"
