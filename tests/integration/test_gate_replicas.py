"""Several gates on one PostgreSQL, each a process of its own: one decision, one count, one that watches."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from modelpack.errors import InputError, RemoteError
from modelpack.gate.database import LEASE
from modelpack.gate.engine import RENEWAL
from modelpack.gate.store import Store
from tests.fakes.counted import counted
from tests.fakes.rehearsal import GATE, model_server, serve, webhook
from tests.integration.servers.gate import GOOD, QUICK, ProcessScene
from tests.integration.servers.relay import pausing

pytest.importorskip("psycopg")


class Pair:
    """Two gates over one rehearsal and one database. `one` watches: it was there first."""

    def __init__(self, root: Path, stack: ExitStack, database: str, *more: str) -> None:
        class Shared(ProcessScene):
            words = ("--log-format", "json", *more)
            program = QUICK
            environ = {"MODELPACK_GATE_DATABASE": database}  # noqa: RUF012

        self.one = Shared(root, stack, GOOD, model_server(0.1))
        self.store = Store(database)
        stack.callback(self.store.close)
        self.two = Shared.__new__(Shared)
        self.two.folder, self.two.envoy = self.one.folder, self.one.envoy
        stack.callback(self.two.stop)
        self.until_watching(self.one)
        self.two.start()

    @staticmethod
    def watches(scene: ProcessScene) -> bool:
        return "modelpack_gate_watches 1.0" in requests.get(f"{scene.url}/metrics", timeout=5).text

    def until_watching(self, scene: ProcessScene, seconds: float = 40) -> None:
        end = time.monotonic() + seconds
        while not self.watches(scene):
            assert time.monotonic() < end
            time.sleep(0.1)

    def counted(self) -> float:
        """The canary's requests, as the database has them once no more come in."""
        counts: list[float] = []
        while len(counts) < 5 or len(set(counts[-5:])) > 1:
            counts.append(sum(canary for _, canary, _ in counted(self.store, self.store.open()[0].id)))
            time.sleep(0.3)
        return counts[-1]

    def until_counted(self, count: float, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while (found := self.counted()) < count:
            assert time.monotonic() < end, f"{found} of {count}"
        assert found == count


@pytest.fixture
def pair(tmp_path: Path, postgres: str) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(tmp_path, stack, postgres)


def test_calls_to_both_at_once_mint_one_rollout_and_get_one_answer(pair: Pair) -> None:
    def ask(number: int) -> int:
        return (pair.one, pair.two)[number % 2].ask("rollback", checksum=f"c{number // 8}").status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(ask, range(64))) == {403}
    # a checksum that comes back during one analysis brings its rollout back
    one, two = ([(each["id"], each["state"]) for each in gate.rollouts()] for gate in (pair.one, pair.two))
    assert len(one) == 8 and one == two
    assert [state for _, state in one].count("active") == 1


def test_requests_are_counted_once_whoever_watches(pair: Pair) -> None:
    one, two = pair.one, pair.two
    assert pair.watches(one) and not pair.watches(two)
    for each in (one, two):
        each.until("confirm-traffic-increase", 200)
    one.folder.write(weight=50)
    one.traffic(20, 20, looks=1)
    time.sleep(1)
    one.traffic(50, 50, looks=4)
    before = pair.counted()
    assert before in (200, 220)
    assert one.end() == 0  # it gives the lease back
    pair.until_watching(two, LEASE - RENEWAL - 1)  # sooner than it would run out
    assert pair.counted() == before
    two.traffic(50, 50, looks=4)
    pair.until_counted(before + 200)
    two.traffic(100, 100, looks=4)
    two.until("confirm-promotion", 200)

    one.start()
    assert one.ask("confirm-promotion").status_code == 200 and not pair.watches(one)
    two.end(signal.SIGKILL)
    pair.until_watching(one)
    assert one.ask("confirm-promotion").status_code == 200


def test_a_gate_that_was_stopped_for_a_while_adds_nothing(pair: Pair) -> None:
    one, two = pair.one, pair.two
    one.until("confirm-traffic-increase", 200)
    one.folder.write(weight=50)
    one.traffic(20, 20, looks=1)
    time.sleep(1)
    one.process.send_signal(signal.SIGSTOP)
    try:
        pair.until_watching(two)
        before = pair.counted()
        two.traffic(50, 50, looks=4)
        pair.until_counted(before + 200)
    finally:
        one.process.send_signal(signal.SIGCONT)
    time.sleep(2)
    assert pair.counted() == before + 200
    assert not pair.watches(one) and pair.watches(two)


def test_pre_rollout_waits_for_the_gate_that_asks(pair: Pair) -> None:
    assert pair.two.ask("pre-rollout").status_code == 200


def test_a_word_to_one_is_a_word_to_both(pair: Pair) -> None:
    one, two = pair.one, pair.two
    one.until("confirm-traffic-increase", 200)
    rollout = one.rollouts()[0]["id"]
    body = {"decision": "reject", "by": "ada", "note": "wrong data"}
    assert requests.post(f"{two.url}/api/v1/rollouts/{rollout}/approval", json=body, timeout=5).ok
    assert [each.ask("rollback").text for each in (one, two)] == ["reject: rejected by ada: wrong data\n"] * 2


def test_what_serves_is_watched_by_one_and_told_of_once(tmp_path: Path, postgres: str) -> None:
    heard: list[tuple[str, str]] = []

    def hear(path: str, body: bytes) -> tuple[int, bytes]:
        (alert,) = json.loads(body)["alerts"]
        heard.append((alert["labels"]["signal"], alert["status"]))
        return 200, b""

    def tell(url: str, what: str, key: str, value: float) -> None:
        many = [{"id": f"r{n}", key: value} for n in range(30)]
        assert requests.post(f"{url}/api/v1/models/mpg/{what}", json={what: many}, timeout=5).ok

    def until(what: Callable[[], Any], wanted: Any) -> None:
        end = time.monotonic() + 20
        while (found := what()) != wanted:
            assert time.monotonic() < end, found
            time.sleep(0.1)

    def shown() -> list[bool]:
        texts = [requests.get(f"{each.url}/metrics", timeout=5).text for each in (pair.one, pair.two)]
        return ["modelpack_gate_signal_status{" in each for each in texts]

    with ExitStack() as stack:
        receiver = stack.enter_context(serve(hear))
        pair = Pair(tmp_path, stack, postgres, "--alerts", receiver)
        one, two = pair.one, pair.two
        spec = "signals:\n- {name: live, type: labels, metric: mae, limit: 3, min_sample: 20}\n"
        (tmp_path / "models" / "mpg" / "gate.yaml").write_text(GATE + spec)
        assert two.ask("confirm-rollout").status_code == 200  # one hears of the Canary from the database
        tell(two.url, "predictions", "prediction", 20.0)
        tell(one.url, "labels", "truth", 29.0)
        until(lambda: heard, [("live", "firing")])
        health = [requests.get(f"{each.url}/api/v1/models/mpg/health", timeout=5).json() for each in (one, two)]
        assert health[0] == health[1] and health[0]["status"] == "stale"
        until(shown, [True, False])
        one.end(signal.SIGKILL)
        pair.until_watching(two, LEASE + 5)
        tell(two.url, "labels", "truth", 20.5)
        until(lambda: heard, [("live", "firing"), ("live", "resolved")])
        one.start()
        time.sleep(2.5)
        assert heard == [("live", "firing"), ("live", "resolved")]


def test_while_the_database_hangs_nothing_passes_and_no_call_waits_too_long(tmp_path: Path, postgres: str) -> None:
    port = urlsplit(postgres).port
    assert port
    with ExitStack() as stack:
        through, flows = stack.enter_context(pausing(port))

        class Relayed(ProcessScene):
            environ = MappingProxyType({"MODELPACK_GATE_DATABASE": postgres.replace(f":{port}/", f":{through}/")})

        s = Relayed(tmp_path, stack, GOOD, model_server(0.1))
        s.until("confirm-traffic-increase", 200)
        flows.clear()
        with ThreadPoolExecutor(40) as pool:  # more than there are connections; each waits 10 s at most
            answers = list(pool.map(lambda _: s.ask("confirm-traffic-increase").status_code, range(40)))
        assert set(answers) == {403}
        assert requests.get(f"{s.url}/healthz", timeout=5).ok
        flows.set()
        s.until("confirm-traffic-increase", 200, 30)


def test_a_lease_is_renewed_while_looks_hold_it_and_taken_only_once_it_ran_out(postgres: str) -> None:
    with ExitStack() as stack:
        one, two = (stack.enter_context(closing(Store(postgres))) for _ in range(2))
        term = one.lead()
        assert term and not two.lead() and one.lead() == term
        with two.transaction():
            assert two.leads(term)  # as a look does that writes what it measured
            begun = time.monotonic()
            assert one.lead() == term and time.monotonic() - begun < 1
        one.yield_lease()
        assert two.lead() and not one.lead() and not one.leads(term)


def test_an_address_of_no_database_is_a_sentence_without_the_password(postgres: str) -> None:
    with pytest.raises(RemoteError, match="cannot be opened") as refused:
        Store(postgres.replace("@127.0.0.1", "@127.0.0.2"))
    assert postgres.split(":")[2].split("@")[0] not in str(refused.value)
    for url in ("mysql://ada:sesame@db/x", "sesame", "postgresql+psycopg://ada:sesame@db:port/x"):
        with pytest.raises(InputError) as wrong:
            Store(url)
        assert "sesame" not in str(wrong.value)


@pytest.mark.parametrize("body", [webhook(checksum="\u0000"), {"name": "a", "namespace": "\u0000"}])
def test_what_postgresql_cannot_hold_is_no_server_error(pair: Pair, body: dict[str, object]) -> None:
    assert requests.post(f"{pair.one.url}/flagger/rollback", json=body, timeout=5).status_code == 422
    for path in ("api/v1/rollouts/%00", "api/v1/rollouts?model=%00", "rollouts/%00"):
        assert requests.get(f"{pair.one.url}/{path}", timeout=5).status_code < 500


def test_schemathesis_finds_no_server_error_with_postgresql(pair: Pair) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{pair.two.url}/openapi.json"]
    options = ["--url", pair.two.url, "--checks", "not_a_server_error", "--max-examples", "10", "--seed", "1"]
    ran = subprocess.run([*command, *options], capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout[-4000:]
