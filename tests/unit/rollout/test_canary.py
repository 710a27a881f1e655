"""A Canary is read whole, or refused with the line of what a rehearsal cannot walk."""

from __future__ import annotations

import pytest

from modelpack.errors import InputError, NotFoundError
from modelpack.rollout import Canary, Header, find_canary
from modelpack.target import Target
from tests.fakes import serving

TARGET = Target("deployment.yaml", "Deployment", "mpg", "model")

WEIGHTED = """\
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: mpg, namespace: models}
spec:
  provider: contour
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: mpg}
  progressDeadlineSeconds: 120
  service: {port: 8080, portDiscovery: true, apex: {labels: {a: b}}}
  analysis:
    interval: 1m30s
    threshold: 3
    maxWeight: 50
    stepWeight: 10
    webhooks:
    - {name: gate, type: rollback, url: "http://gate/flagger/rollback", timeout: 500ms, metadata: {model: mpg}}
    - {name: load, url: "http://load/", retries: 2, muteAlert: true}
"""


def parse(text: str) -> Canary:
    return find_canary([("other.yaml", b"kind: Service\n"), ("canary.yaml", text.encode())], TARGET)


def test_everything_that_decides_a_rollout_is_read() -> None:
    canary = parse(WEIGHTED)
    assert (canary.name, canary.namespace, canary.service, canary.port) == ("mpg", "models", "mpg", 8080)
    assert (canary.interval, canary.threshold, canary.deadline) == (90.0, 3, 120.0)
    assert (canary.max_weight, canary.step_weight, canary.step_weights, canary.iterations) == (50, 10, (), 0)
    gate, load = canary.webhooks
    assert (gate.type, gate.timeout, gate.metadata) == ("rollback", 0.5, {"model": "mpg"})
    assert (load.type, load.timeout, load.retries) == ("rollout", 10.0, 2)
    assert canary.hooks("rollback") == (gate,)


@pytest.mark.parametrize(
    ("analysis", "weights"),
    [
        ("{stepWeight: 30}", [30, 60, 90]),
        ("{stepWeights: [1, 10, 80]}", [1, 10, 80]),
        ("{stepWeights: [10, 100]}", [10, 100]),
    ],
)
def test_weights_climb_as_flaggers_do(analysis: str, weights: list[int]) -> None:
    canary = parse(WEIGHTED.split("  analysis:")[0] + f"  analysis: {analysis}\n")
    weight, seen = 0, []
    while weight < canary.max_weight and len(seen) < len(weights):
        weight = min(100, weight + canary.next_step(weight))
        seen.append(weight)
    assert seen == weights
    assert canary.next_step(canary.max_weight) > 0  # what leads to promotion


def test_defaults_are_flaggers() -> None:
    canary = parse(WEIGHTED.split("  analysis:")[0] + "  analysis: {interval: 5s, iterations: 2}\n")
    assert (canary.interval, canary.threshold, canary.timeout) == (10.0, 1, 15.0)
    assert parse(WEIGHTED.replace(", namespace: models", "")).namespace == "default"


def test_an_ab_test_matches_headers_as_contour_does() -> None:
    match = "[{headers: {x-user: {exact: me}}}, {headers: {agent: {prefix: Fire}}}]"
    canary = parse(WEIGHTED.split("  analysis:")[0] + f"  analysis: {{iterations: 2, match: {match}}}\n")
    assert canary.match == (Header("x-user", exact="me"), Header("agent", contains="Fire"))


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("    threshold: 3", "    threshhold: 3", 11, "did you mean 'threshold'"),
        ("    stepWeight: 10", "    stepWeigth: 10", 13, "did you mean 'stepWeight'"),
        ("    threshold: 3", "    metrics: [{name: x}]", 11, "not supported by a rehearsal"),
        ("    threshold: 3", "    mirror: true", 11, "not supported by a rehearsal"),
        ("    stepWeight: 10", "    sessionAffinity: {cookieName: c}", 13, "not supported by a rehearsal"),
        ("  provider: contour", "  skipAnalysis: true", 5, "nothing to rehearse"),
        ("  provider: contour", "  suspend: true", 5, "starts nothing"),
        ("  provider: contour", "  provider: kubernetes", 5, "never splits live traffic"),
        ("  provider: contour", "  providr: contour", 5, "not a known key"),
        ("portDiscovery: true", "retries: {attempts: 3}", 8, "not supported by a rehearsal"),
        ("    stepWeight: 10", "    iterations: 3\n    stepWeight: 10", 9, "exactly one of"),
        ("    stepWeight: 10", "    primaryReadyThreshold: 1", 9, "exactly one of"),
        ("    maxWeight: 50\n    stepWeight: 10", "    stepWeights: [10, 5]", 12, "does not rise"),
        ("    interval: 1m30s", "    interval: soon", 10, "is not a duration"),
        ("type: rollback", "type: rolback", 15, "did you mean 'rollback'"),
        ("http://load/", "load", 16, "not an http address"),
        ("flagger.app/v1beta1", "flagger.app/v1alpha3", 1, "not one of flagger.app/v1beta1"),
    ],
)
def test_what_cannot_be_walked_is_refused_with_its_line(old: str, new: str, line: int, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(WEIGHTED.replace(old, new))
    assert caught.value.subject == f"canary.yaml:{line}"
    assert problem in str(caught.value)


def test_values_that_switch_nothing_on_are_no_obstacle() -> None:
    parse(WEIGHTED.replace("    threshold: 3", "    threshold: 3\n    mirror: false\n    metrics: []"))


def test_the_canary_is_the_one_that_names_the_target() -> None:
    other = WEIGHTED.replace("name: mpg}\n  progress", "name: other}\n  progress")
    assert parse(f"{other}---\n{WEIGHTED}").name == "mpg"
    with pytest.raises(NotFoundError, match="targetRef"):
        parse(other)


@pytest.mark.parametrize(
    ("analysis", "steps"),
    [
        ("stepWeights: [10, 25, 50]", (10, 25, 50)),
        ("stepWeight: 30\n    maxWeight: 50", (30, 60)),
        ("stepWeight: 40", (40, 80, 100)),
        ("iterations: 3", ()),
    ],
)
def test_the_weights_on_the_way_up(analysis: str, steps: tuple[int, ...]) -> None:
    assert serving.plan("v1", canary=serving.canary(analysis)).canary.steps == steps
