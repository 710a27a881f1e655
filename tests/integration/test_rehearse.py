"""Whole rehearsals: a real Envoy, two real servers, real traffic, a gate that answers from a script."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import NotFoundError, RefusedError, RemoteError
from modelpack.rehearse.envoy import Envoy
from modelpack.rehearse.outcome import Outcome, Result, write_report
from modelpack.rehearse.processes import Processes
from modelpack.rehearse.session import Rehearsal, Settings
from modelpack.rehearse.state import State
from modelpack.rehearse.traffic import Request, Traffic, golden_traffic
from modelpack.rollout import Phase
from tests.fakes import serving
from tests.fakes.scripted_gate import ScriptedGate, scripted_gate
from tests.fakes.serving import GATE, GOLDEN, Shelf
from tests.integration.test_rehearse_left_behind import left_behind

REQUESTS = golden_traffic(GATE.encode(), GOLDEN.encode(), "golden.jsonl")


class Cluster:
    """A state folder and a shelf of images, to run one rehearsal after the other on."""

    def __init__(self, folder: Path, **models: dict[str, Any]) -> None:
        self.folder = folder
        self.shelf = Shelf(**models)

    def rehearsal(
        self, version: str, gate: ScriptedGate, *, rate: float = 100, timeout: float = 60, **files: str
    ) -> Rehearsal:
        settings = Settings(REQUESTS, rate, 25, timeout, gate.url)
        return Rehearsal(
            serving.plan(version, **files), serving.image(version), "c0ffee", State(self.folder), settings,
            unpack=self.shelf.unpack, export=self.shelf.export,
        )  # fmt: skip

    def run(self, version: str, gate: ScriptedGate, **options: Any) -> Outcome:
        with self.rehearsal(version, gate, **options) as rehearsal:
            return rehearsal.run()

    def requests_so_far(self) -> tuple[float, float]:
        """Answers by primary and canary, as the gate's scraper would read them."""
        target = json.loads((self.folder / "target.json").read_text())
        text = urllib.request.urlopen(target["metrics"], timeout=5).read().decode()
        assert 'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="default_mpg-canary_8080",le="100"}' in text
        series = r'^envoy_cluster_upstream_rq_xx\{.*envoy_cluster_name="default_mpg-%s_8080".*\} (\d+)$'
        return tuple(sum(map(float, re.findall(series % role, text, re.MULTILINE))) for role in ("primary", "canary"))  # type: ignore[return-value]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "state")
    with scripted_gate() as gate:
        assert cluster.run("v1", gate).result is Result.INITIALIZED
    yield cluster
    assert left_behind(cluster.folder) == []


def test_a_promotion_moves_live_traffic_as_the_weights_say_and_loses_none(cluster: Cluster) -> None:
    seen: list[tuple[float, float]] = []

    def answer(hook: str, body: dict[str, Any]) -> bool:
        if hook == "confirm-promotion":
            seen.append(cluster.requests_so_far())
            return len(seen) > 8
        return hook != "rollback"

    with scripted_gate(answer) as gate:
        outcome = cluster.run("v2", gate, rate=300, canary=serving.canary("stepWeight: 30\n    maxWeight: 30"))
    assert (outcome.result, outcome.result.exit_code) == (Result.PROMOTED, 0)
    assert outcome.traffic.failed == 0 < outcome.traffic.sent
    primary, canary = (end - start for start, end in zip(seen[0], seen[-1], strict=True))
    assert canary / (primary + canary) == pytest.approx(0.3, abs=0.08)
    phases = [moment.message for moment in outcome.moments if "->" in moment.message]
    assert phases == [
        "Initialized -> Progressing",
        "Progressing -> WaitingPromotion",
        "WaitingPromotion -> Promoting",
        "Promoting -> Finalising",
        "Finalising -> Succeeded",
    ]
    with scripted_gate() as gate:
        again = cluster.run("v2", gate)
    assert (again.result, again.primary_image) == (Result.UNCHANGED, str(serving.image("v2")))


def test_payloads_and_their_order_are_flaggers(cluster: Cluster) -> None:
    with scripted_gate() as gate:
        cluster.run("v2", gate, canary=serving.canary("stepWeights: [50]"))
    assert gate.asked("event") == [
        "confirm-rollout",
        *("rollback", "pre-rollout", "confirm-traffic-increase"),
        *("rollback", "rollout", "confirm-traffic-increase", "confirm-promotion"),
        "post-rollout",
    ]
    bodies = dict(gate.calls)
    assert set(bodies["rollback"]) == {"name", "namespace", "phase", "checksum", "metadata"}
    assert (bodies["rollback"]["metadata"], bodies["rollback"]["phase"]) == ({"model": "mpg"}, "Progressing")
    assert bodies["confirm-rollout"]["checksum"] != bodies["rollback"]["checksum"] == bodies["post-rollout"]["checksum"]
    assert bodies["post-rollout"]["phase"] == "Succeeded"
    assert set(bodies["event"]["metadata"]) == {"model", "eventMessage", "eventType", "timestamp"}


def test_a_rollback_keeps_the_primary_and_is_not_tried_again(cluster: Cluster, tmp_path: Path) -> None:
    with scripted_gate(lambda hook, body: True) as gate:
        with cluster.rehearsal("v2", gate) as rehearsal:
            outcome = rehearsal.run()
            outcome = write_report(outcome, rehearsal.gate, tmp_path / "report")
        assert (outcome.result, outcome.result.exit_code) == (Result.ROLLED_BACK, 7)
        assert outcome.primary_image == str(serving.image("v1"))
        report = json.loads((tmp_path / "report" / "report.json").read_text())
        assert (report["rehearsal"]["result"], report["rollout"]["id"]) == ("rolled back", "r1")
        assert "<title>r1" in (tmp_path / "report" / "report.html").read_text()
        assert cluster.run("v2", gate).result is Result.FAILED_BEFORE
    with scripted_gate() as gate:
        assert cluster.run("v1", gate).result is Result.UNCHANGED
        assert cluster.run("v3", gate).result is Result.PROMOTED


def test_failed_checks_roll_back_at_the_threshold(cluster: Cluster) -> None:
    with scripted_gate(lambda hook, body: hook not in ("rollback", "rollout")) as gate:
        outcome = cluster.run("v2", gate)
    assert outcome.result is Result.ROLLED_BACK
    assert gate.asked().count("rollout") == 2


def test_a_hold_ends_without_a_verdict_and_the_next_rehearsal_starts_afresh(cluster: Cluster) -> None:
    with scripted_gate() as gate:
        gate.final = True
        outcome = cluster.run("v2", gate)
    assert (outcome.result, outcome.result.exit_code) == (Result.HELD, 8)
    with scripted_gate() as gate:
        assert cluster.run("v2", gate).result is Result.PROMOTED
        assert dict(gate.calls)["rollback"]["checksum"] != outcome.status.checksum


def test_the_timeout_ends_a_wait(cluster: Cluster) -> None:
    with scripted_gate(lambda hook, body: hook in ("confirm-rollout", "pre-rollout")) as gate:
        outcome = cluster.run("v2", gate, timeout=2)
    assert (outcome.result, outcome.status.phase) == (Result.TIMED_OUT, Phase.PROGRESSING)


def test_whoever_has_to_approve_is_told_how_once_and_has_until_the_timeout(cluster: Cluster) -> None:
    with scripted_gate(lambda hook, body: hook in ("confirm-rollout", "pre-rollout")) as gate:
        gate.checks = ({"name": "owner", "type": "approval", "verdict": "hold"},)
        outcome = cluster.run("v2", gate, timeout=3)
    assert (outcome.result, outcome.result.exit_code) == (Result.TIMED_OUT, 8)
    (said,) = (each.message for each in outcome.moments if "approv" in each.message)
    how = f"modelpack gate approve r1 --gate {gate.url} --by NAME"
    assert re.fullmatch(rf"Waits [123] s for an approval \(owner\): {how}", said)


@pytest.mark.parametrize("token", ["", "t" * 24])
def test_where_a_gate_asks_for_a_token_a_rehearsal_says_so(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("MODELPACK_GATE_TOKEN", token)
    with scripted_gate(lambda hook, body: hook in ("confirm-rollout", "pre-rollout")) as gate:
        gate.token, gate.checks = "t" * 24, ({"name": "owner", "type": "approval", "verdict": "hold"},)
        outcome = cluster.run("v2", gate, timeout=3)
    said = [each.message for each in outcome.moments if "oken" in each.message or "approv" in each.message]
    if token:
        assert len(said) == 1 and said[0].endswith(f"modelpack gate approve r1 --gate {gate.url}"), "by its token"
    else:
        problem = "The gate does not say what it decides (this needs a token): put its token into $MODELPACK_GATE_TOKEN"
        assert said == [problem]


def test_a_gate_that_is_down_neither_promotes_nor_rolls_back(cluster: Cluster) -> None:
    with scripted_gate() as gate:
        pass
    hooks = serving.canary()
    for counted in ("pre-rollout", "rollout", "confirm-rollout"):
        hooks = "".join(line for line in hooks.splitlines(keepends=True) if f"type: {counted}," not in line)
    outcome = cluster.run("v2", gate, timeout=2, canary=hooks)
    assert (outcome.result, outcome.status.failed_checks, outcome.rollout) == (Result.TIMED_OUT, 0, None)
    assert outcome.reason.endswith("nothing answers there")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"crash": True}, "the model does not load"),
        ({"die_after": 3}, "ended by itself with exit code 9: the model ate the memory"),
        ({"unready": True}, r"not ready after 2 s \(GET /healthz answers 503\)"),
    ],
)
def test_a_server_that_fails_is_an_error_and_the_same_command_works_later(
    cluster: Cluster, model: dict[str, Any], words: str
) -> None:
    cluster.shelf.models = {"v2": model}
    with scripted_gate() as gate:
        with pytest.raises(RemoteError, match=words):
            cluster.run("v2", gate, canary=serving.canary(deadline=2))
        cluster.shelf.models = {}
        again = Cluster(cluster.folder)
        for folder in (cluster.folder / "revisions").iterdir():  # the same version, built anew
            model_file = folder / "volumes" / "model" / "model.json"
            model_file.write_text('{"version": "v2"}')
        assert again.run("v2", gate).result is Result.PROMOTED


def test_an_ab_test_sends_the_canary_what_matches(cluster: Cluster) -> None:
    match = "iterations: 1\n    match: [{headers: {x-user: {exact: me}}}]"
    answers: dict[str, str] = {}

    def answer(hook: str, body: dict[str, Any]) -> bool:
        address = next(m.message.split()[-1] for m in moments if "Traffic goes" in m.message)
        if hook == "confirm-promotion":
            for user in ("me", "you"):
                request = urllib.request.Request(f"{address}/predict", headers={"x-user": user})
                answers[user] = urllib.request.urlopen(request, timeout=5).headers["X-Version"]
        return hook != "rollback"

    with scripted_gate(answer) as gate, cluster.rehearsal("v2", gate, canary=serving.canary(match)) as rehearsal:
        moments = rehearsal._moments
        assert rehearsal.run().result is Result.PROMOTED
    assert answers == {"me": "v2", "you": "v1"}


def test_one_state_takes_one_rehearsal_at_a_time(cluster: Cluster) -> None:
    with (
        scripted_gate() as gate,
        cluster.rehearsal("v1", gate),
        pytest.raises(RefusedError, match="another rehearsal"),
    ):
        cluster.run("v2", gate)


def test_a_command_that_is_not_there_is_named(cluster: Cluster) -> None:
    deployment = serving.files("v2")["deployment.yaml"].decode().replace("[python, serve.py]", "[tritonserver, --x]")
    with scripted_gate() as gate, pytest.raises(NotFoundError, match="no program 'tritonserver'"):
        cluster.run("v2", gate, deployment=deployment)


def test_routes_change_within_a_second_and_drop_no_request(tmp_path: Path, servers: Servers) -> None:
    envoy = Envoy(serving.plan("v1").canary, tmp_path / "envoy", tmp_path / "envoy.log")
    with Processes() as processes:
        envoy.start(processes)
        envoy.serve("primary", servers("v1"))
        envoy.serve("canary", servers("v2"))
        with Traffic(envoy.address, (Request("GET", "/"),), 300) as traffic:
            for weight in (100, 0, 30, 100, 0):
                envoy.route(weight)  # returns when Envoy has it
                version = {0: "v1", 100: "v2"}.get(weight)
                if version:
                    assert urllib.request.urlopen(envoy.address, timeout=5).headers["X-Version"] == version
                envoy.serve("primary", servers("v1"))  # and its server may be replaced meanwhile
    assert traffic.summary().failed == 0 < traffic.summary().sent


def test_the_canary_gets_copies_that_are_no_requests_of_its_own(tmp_path: Path, servers: Servers) -> None:
    envoy = Envoy(serving.plan("v1").canary, tmp_path / "envoy", tmp_path / "envoy.log", mirror=True)

    def counted(name: str) -> int:
        text = urllib.request.urlopen(envoy.metrics, timeout=5).read().decode()
        found = re.findall(
            rf'^envoy_cluster_upstream_rq_total\{{.*"default_mpg-{name}_8080"\}} (\d+)$', text, re.MULTILINE
        )
        return sum(map(int, found))

    with Processes() as processes:
        envoy.start(processes)
        envoy.serve("primary", servers("v1"))
        envoy.serve("canary", servers("v2"))
        for weight, copies in ((0, 0), (10, 40)):
            envoy.route(weight)
            for number in range(40):
                request = urllib.request.Request(envoy.address, headers={"x-request-id": f"request-{weight}-{number}"})
                urllib.request.urlopen(request, timeout=5).read()
            until = time.monotonic() + 10
            while counted("mirror") != copies and time.monotonic() < until:
                time.sleep(0.05)
            assert counted("mirror") == copies
        assert counted("primary") + counted("canary") == 80
    both = {each for each, versions in servers.seen.items() if versions >= {"v1", "v2"}}
    assert both and all(each.startswith("request-10-") for each in both)


class Servers:
    """Starts answering servers in this process. `seen` has which versions got a request, by its id."""

    def __init__(self) -> None:
        self.seen: dict[str, set[str]] = {}
        self._running: list[ThreadingHTTPServer] = []

    def __call__(self, version: str) -> int:
        """The port of a new server."""
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                seen.setdefault(self.headers["x-request-id"], set()).add(version)
                self.send_response(200)
                self.send_header("X-Version", version)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self._running.append(server)
        return server.server_port

    def stop(self) -> None:
        for server in self._running:
            server.shutdown()
            server.server_close()


@pytest.fixture
def servers() -> Iterator[Servers]:
    found = Servers()
    yield found
    found.stop()
