from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from modelpack.errors import InputError, NotFoundError, RemoteError
from modelpack.gate.config import GateConfig, parse
from modelpack.gate.exposition import Exposition
from modelpack.gate.feedback import TELLING, Episode, Feedback
from modelpack.gate.samples import Series
from modelpack.gate.selectors import Selector
from modelpack.gate.store import Store
from modelpack.gate.watch import Watch, message, receiver, worst
from tests.fakes.rehearsal import GATE, GOLDEN, serve

SIGNALS = """signals:
- {name: memory, type: level, query: m, max: 1, for: 1m}
- {name: cpu, type: level, query: c, max: 1, for: 1m}
"""


class Prometheus:
    def __init__(self) -> None:
        self.numbers: dict[str, float] = {}
        self.asked = 0
        self.dead = False

    def samples(self, selector: Selector, role: str, start: float, end: float) -> list[Series]:
        raise AssertionError

    def query(self, text: str, at: float) -> float | None:
        self.asked += 1
        if self.dead:
            raise RemoteError("prometheus", "cannot be read")
        found = [value for name, value in self.numbers.items() if name == text or f"(({name})[" in text]
        return found[0] if found else None


class FakeGate:
    """A gate that knows one model, and what a Prometheus says of it."""

    def __init__(self, store: Store) -> None:
        self.feedback = Feedback(store, self.now)
        self.prometheus = Prometheus()
        self.time = 1000.0
        self.leading = True
        self.away = False
        self.served = {("default", "mpg"): "mpg"}
        self.asked_for: list[tuple[str, str]] = []

    def now(self) -> float:
        return self.time

    def canaries(self) -> Mapping[tuple[str, str], str]:
        return self.served

    def metrics(self, namespace: str, name: str) -> Prometheus:
        self.asked_for.append((namespace, name))
        return self.prometheus

    def serves(self, namespace: str, name: str) -> str:
        if self.away:
            raise RemoteError("the API server", "cannot be reached")
        return "v2" if (namespace, name) == ("default", "mpg") else ""

    def read_config(self, namespace: str, model: str) -> tuple[Mapping[str, bytes], GateConfig]:
        if model != "mpg":
            raise NotFoundError(model, "there is no such model")
        files = {"gate.yaml": (GATE + SIGNALS).encode(), "golden.jsonl": GOLDEN.encode()}
        return files, parse(files, "mpg")


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[FakeGate]:
    store = Store.in_file(tmp_path / "gate.sqlite")
    yield FakeGate(store)
    store.close()


def statuses(watch: Watch) -> dict[str, str]:
    return {each["name"]: each["status"] for each in watch.look("default", "mpg")}


def test_what_serves_is_looked_at_though_nobody_asks(gate: FakeGate) -> None:
    gate.prometheus.numbers = {"m": 2.0, "c": 0.5}
    watch = Watch(gate)
    watch.round()
    assert {each["name"]: each["status"] for each in watch.latest["default", "mpg", "mpg"]} == {
        "memory": "stale",
        "cpu": "ok",
    }


def test_the_version_that_serves_is_the_primarys(gate: FakeGate) -> None:
    watch = Watch(gate)
    assert watch.version("default", "mpg") == "v2"
    assert watch.version("default", "nope") == "" == watch.version("other", "mpg")
    gate.away = True
    assert watch.version("default", "mpg") == ""


def test_of_several_gates_one_watches(gate: FakeGate) -> None:
    heard: list[Episode] = []
    gate.prometheus.numbers = {"m": 2.0}
    watch = Watch(gate, heard.append)
    watch.round()
    assert watch.latest and len(heard) == 1
    gate.leading = False
    watch.round()
    assert not watch.latest
    gate.feedback.mark(heard[0], TELLING)
    watch.round()
    assert len(heard) == 1


def test_of_several_canaries_of_a_model_in_a_namespace_the_first_by_name_is_measured(gate: FakeGate) -> None:
    gate.served = {("default", "mpg-us"): "mpg", ("default", "mpg-eu"): "mpg", ("other", "mpg-us"): "mpg"}
    watch = Watch(gate)
    watch.round()
    assert set(watch.latest) == {("default", "mpg-eu", "mpg"), ("other", "mpg-us", "mpg")}
    assert set(gate.asked_for) == {("default", "mpg-eu"), ("other", "mpg-us")}


def test_a_gate_yaml_that_cannot_be_read_is_seen(gate: FakeGate) -> None:
    gate.served = {("default", "other"): "other"}
    watch = Watch(gate)
    watch.round()
    (found,) = watch.latest["default", "other", "other"]
    assert (found["name"], found["status"]) == ("gate.yaml", "unknown") and "no such model" in found["reason"]


def test_a_prometheus_that_is_away_is_no_good_news(gate: FakeGate) -> None:
    gate.prometheus.dead = True
    watch = Watch(gate)
    assert statuses(watch) == {"memory": "unknown", "cpu": "unknown"} and len(gate.asked_for) == 1
    assert worst(watch.look("default", "mpg")) == "unknown"
    gate.prometheus.dead, gate.prometheus.numbers = False, {"m": 2.0}
    assert statuses(watch) == {"memory": "stale", "cpu": "waiting"}
    gate.prometheus.dead = True
    assert statuses(watch)["memory"] == "stale"  # until somebody knows better


def test_an_unknown_model_is_said(gate: FakeGate) -> None:
    with pytest.raises(NotFoundError):
        Watch(gate).look("default", "other")


def test_each_episode_is_told_once_and_again_only_if_nobody_heard(gate: FakeGate) -> None:
    heard: list[Episode] = []
    deaf = True

    def tell(episode: Episode) -> None:
        if deaf:
            raise RemoteError("http://receiver", "answered 500")
        heard.append(episode)

    gate.prometheus.numbers = {"m": 2.0}
    watch = Watch(gate, tell)
    watch.round()
    deaf = False
    for _ in range(3):
        watch.round()
    gate.prometheus.numbers, gate.time = {"m": 0.5}, 1060.0
    deaf = True
    watch.round()
    deaf = False
    for _ in range(3):
        watch.round()
    assert [(each.name, each.ended) for each in heard] == [("memory", None), ("memory", 1060.0)]


def test_prometheus_is_shown_what_was_seen_but_no_alerts_of_its_own(gate: FakeGate, tmp_path: Path) -> None:
    gate.prometheus.numbers = {"m": 2.0}
    gate.feedback.set_alert("mpg", "FarOff", "x", firing=True)
    watch = Watch(gate)
    watch.round()
    store = Store.in_file(tmp_path / "other.sqlite")
    shown = Exposition(store, lambda rollout: gate.read_config("default", "mpg")[1], watch, lambda: True)
    lines = shown.text().decode().splitlines()
    store.close()
    seen = {each for each in lines if each.startswith("modelpack_gate_signal")}
    labels = 'kind="level",model="mpg",name="mpg",namespace="default",signal="memory"'
    assert f'modelpack_gate_signal_status{{{labels},status="stale"}} 1.0' in seen
    assert f'modelpack_gate_signal_status{{{labels},status="ok"}} 0.0' in seen
    assert {
        f"modelpack_gate_signal_{key}{{{labels}}} {number}" for key, number in (("value", "2.0"), ("limit", "1.0"))
    } <= seen
    assert not any("FarOff" in each for each in seen)
    assert not any("signal_value" in each and 'signal="cpu"' in each for each in seen)  # nobody knows


def test_the_worst_signal_is_the_models_status() -> None:
    assert worst([]) == "unwatched"
    assert worst([{"status": "ok"}, {"status": "waiting"}]) == "waiting"
    assert worst([{"status": "unknown"}, {"status": "stale"}, {"status": "ok"}]) == "stale"


EPISODE = Episode("mpg", "default", "labels", "live-error", "mae 5 of 60 labels", 0.0, None)


def test_a_receiver_gets_what_alertmanager_would_post() -> None:
    posted: list[tuple[str, bytes]] = []

    def answer(path: str, body: bytes) -> tuple[int, bytes]:
        posted.append((path, body))
        return 200, b"{}"

    with serve(answer) as url:
        receiver(f"{url}/hook?key=secret")(EPISODE)
    ((path, body),) = posted
    assert path == "/hook?key=secret" and json.loads(body) == message(EPISODE)
    alert = message(EPISODE)["alerts"][0]
    assert (alert["status"], alert["labels"]["model"], alert["startsAt"]) == ("firing", "mpg", "1970-01-01T00:00:00Z")


@pytest.mark.parametrize("status", [301, 404, 500])
def test_an_address_is_a_secret_and_no_redirect_is_followed(status: int) -> None:
    with serve(lambda path, body: (status, b"")) as url, pytest.raises(RemoteError) as found:
        receiver(f"{url}/hook?key=secret")(EPISODE)
    assert "secret" not in str(found.value) and "127.0.0.1" in str(found.value)
    with pytest.raises(RemoteError) as found:
        receiver("http://127.0.0.1:9/?key=secret")(EPISODE)
    assert "secret" not in str(found.value)


@pytest.mark.parametrize("url", ["ftp://host/secret", "host", "http://", "file:///etc/passwd"])
def test_a_receiver_has_an_http_address(url: str) -> None:
    with pytest.raises(InputError, match="is not an http address"):
        receiver(url)
