"""The gate's counting, and the gate in a cluster, with a real Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import InputError, RemoteError
from modelpack.gate.checks import Need
from modelpack.gate.checks.check import HISTOGRAM
from modelpack.gate.cluster import InCluster
from modelpack.gate.engine import Gate
from modelpack.gate.meter import Meter, Steady
from modelpack.gate.prometheus import Prometheus
from modelpack.gate.rollouts import Call
from modelpack.gate.selectors import Selector
from modelpack.gate.store import Store
from modelpack.gate.target import Endpoint, Target
from tests.fakes.cluster import CANARIES, FakeApi, canary, config_map, workload
from tests.fakes.counted import Reads
from tests.fakes.rehearsal import V1, V2
from tests.integration.conftest import available
from tests.integration.servers.prometheus import Exporter, exporter, prometheus

ENDPOINT = Endpoint("http://x", V2)
GATE = """\
apiVersion: modelpack.dev/v1
kind: Gate
metadata: {name: mpg}
horizon: 10m
checks:
- name: errors
  type: proportion
  total: rq{role="${role}"}
  bad: rq{role="${role}",code="5"}
  margin: 0.02
  min_sample: 300
"""


def selector(text: str) -> Selector:
    return Selector.parse(text, lambda problem: InputError("gate.yaml", problem))


ERRORS: Any = Reads(
    "errors", (Need("total", selector('rq{role="${role}"}')), Need("bad", selector('rq{role="${role}",code="5"}')))
)
SLOW: Any = Reads("slow", (Need("", selector('rt{role="${role}"}'), HISTOGRAM),))


class Scene:
    """Two Envoys that a real Prometheus scrapes every second."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.envoys = [stack.enter_context(exporter()) for _ in range(2)]
        self.url = stack.enter_context(
            available(lambda: prometheus(folder / "prometheus", [each.url for each in self.envoys]))
        )

    def scraped(self, exporters: list[Exporter] | None = None, times: int = 2) -> None:
        """Wait until each has been scraped so often."""
        wanted = [(each, len(each.seen) + times) for each in exporters or self.envoys]
        end = time.monotonic() + 20
        while any(len(each.seen) < count for each, count in wanted):
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(0.3)  # what was scraped is not stored at once


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(tmp_path_factory.mktemp("scene"), stack)


@pytest.fixture(autouse=True)
def _fresh(scene: Scene) -> None:
    for each in scene.envoys:
        each.restart()
    scene.scraped()


def test_every_request_of_a_steady_weight_is_counted_once(scene: Scene) -> None:
    target = Target("default", "mpg", "Progressing", 10, "1", ENDPOINT, ENDPOINT, scene.url, 10, 1)
    one, other = scene.envoys
    step = 1

    def source(target: Target, selectors: object) -> Prometheus:
        return Prometheus(target.metrics, selectors)  # type: ignore[arg-type]

    def look() -> dict[tuple[str, int], tuple[float, ...]]:
        steady = Steady(step, 10.0 * step, ENDPOINT, ENDPOINT)
        for name, gains in meter.measure(steady, time.time(), lambda: (time.time(), steady)).gains.items():
            for each in gains:
                cells = ("total", "bad") if name == "errors" else ("+Inf", "100")
                row = tuple(arm.get(cell, 0.0) for arm in (each.canary, each.primary) for cell in cells)
                counted[name, each.step] = tuple(
                    map(sum, zip(counted.get((name, each.step), (0,) * 4), row, strict=True))
                )
        assert meter.unreachable == ""
        return counted

    for each in scene.envoys:
        each.add('rq{role="primary",code="2"}', 5000)
    scene.scraped()
    meter = Meter("r", target, (ERRORS, SLOW), source, time.time())
    counted: dict[tuple[str, int], tuple[float, ...]] = {}
    look()
    scene.scraped()
    look()
    for each in scene.envoys:
        each.add('rq{role="primary",code="2"}', 100)
        each.add('rq{role="canary",code="2"}', 40)  # first used now: counts from zero
        each.add('rq{role="canary",code="5"}', 2)
        for bound, count in (("50", 30), ("100", 60), ("+Inf", 70)):
            each.add(f'rt_bucket{{role="canary",le="{bound}"}}', count)
    scene.scraped()
    assert look() == {("errors", 1): (84, 4, 200, 0), ("slow", 1): (140, 120, 0, 0)}
    scene.scraped()
    assert look() == {("errors", 1): (84, 4, 200, 0), ("slow", 1): (140, 120, 0, 0)}
    one.restart()
    one.add('rq{role="canary",code="2"}', 7)
    other.add('rq{role="canary",code="2"}', 3)
    scene.scraped()
    assert look()["errors", 1] == (94, 4, 200, 0)
    step = 2
    other.add('rq{role="canary",code="2"}', 1000)  # while the weight changes
    scene.scraped()
    look()
    scene.scraped()
    look()
    other.add('rq{role="canary",code="2"}', 11)
    scene.scraped()
    look()
    assert counted["errors", 1] == (94, 4, 200, 0)
    assert counted["errors", 2] == (11, 0, 0, 0)


def test_a_query_that_prometheus_refuses_says_why(scene: Scene) -> None:
    source = Prometheus(scene.url, [Selector("odd-name")])
    with pytest.raises(RemoteError, match=r"refused the query odd-name.*parse error"):
        source.samples(Selector("odd-name"), "canary", 0, 10)


def test_a_query_gives_one_number_or_says_why_not(scene: Scene) -> None:
    source = Prometheus(scene.url, [])
    for each in scene.envoys:
        each.add('rq{role="canary",code="2"}', 21)
    scene.scraped()
    now = time.time()
    asked = ("sum(rq)", "scalar(vector(2))", "sum(nothing)", "sum(rq) / 0 * 0")
    assert [source.query(each, now) for each in asked] == [42, 2, None, None]
    for text, problem in (("rq", "gives 2 numbers"), ("rq[5m]", "gives a matrix")):
        with pytest.raises(InputError, match=problem):
            source.query(text, now)
    with pytest.raises(RemoteError, match="refused the query"):
        source.query("sum(", now)


def test_labels_are_written_as_promql_reads_them(scene: Scene) -> None:
    scene.envoys[0].add('odd{path="a\\"b\\\\c\\nd",role="canary"}', 3)
    scene.scraped()
    wanted = selector('odd{path="a\\"b\\\\c\\nd",role="${role}"}')
    now = time.time()
    (found,) = Prometheus(scene.url, [wanted.fill({"role": "canary"})]).samples(wanted, "canary", now - 30, now)
    assert found.points[-1][1] == 3 and found.labels["path"] == 'a"b\\c\nd'


@pytest.fixture
def api() -> FakeApi:
    api = FakeApi()
    api.put(canary())
    api.put(workload(V2))
    api.put(workload(V1, "mpg-primary"))
    api.put(config_map("gate-mpg", {"gate.yaml": GATE}))
    return api


@pytest.mark.parametrize(("bad", "hook", "verdict"), [(0, "confirm-promotion", "accept"), (4, "rollback", "reject")])
def test_a_rollout_is_decided_by_what_prometheus_scraped(
    scene: Scene, api: FakeApi, tmp_path: Path, bad: int, hook: str, verdict: str
) -> None:
    store = Store.in_file(tmp_path / "gate.sqlite")
    gate = Gate(InCluster(api.cluster, scene.url), store)

    def ask(hook: str) -> int:
        return gate.decide(Call(hook, "default", "mpg", "Progressing", "c1", "mpg")).status

    gate.start()
    try:
        assert ask("confirm-traffic-increase") == 200
        api.objects[CANARIES.format("default") + "/mpg"]["status"]["canaryWeight"] = 50
        end = time.monotonic() + 60
        while ask(hook) != 200:
            assert time.monotonic() < end, store.rollouts()[0].decision
            for each in scene.envoys:
                each.add('rq{role="canary",code="2"}', 30 - bad)
                each.add('rq{role="canary",code="5"}', bad)
                each.add('rq{role="primary",code="2"}', 30)
            time.sleep(0.25)
        assert store.rollouts()[0].decision.verdict == verdict
    finally:
        gate.stop()
        store.close()
