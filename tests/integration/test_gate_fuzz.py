"""Whatever anybody sends to either port of a gate, with tokens and without, it is no server error."""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests

from tests.fakes.rehearsal import model_server, webhook
from tests.integration.servers.gate import GOOD, ProcessScene
from tests.integration.servers.process import free_port

pytest.importorskip("fastapi")

ADA = "a" * 24
SECONDS = 12.0  # for each of the two gates
ODD: tuple[Any, ...] = (
    *("", " ", "\x00", "\ud800", "\x1b[2J", "é" * 300, "a" * 5000, "../..", "%00", "%ff", "'", "--", "{{7*7}}"),
    *(0, -1, 2**31, 2**63, 2**70, 10**400, 1e308, -0.0, float("nan"), float("inf"), True, None, [], {}, [[]], [None]),
    *({"": ""}, "mpg", "default", "active", "true", "sha256:" + "0" * 64, "text/event-stream"),
)
BODIES: dict[str, Any] = {
    "/flagger/{hook}": webhook(eventMessage="Advance"),
    "/api/v1/rollouts/{rollout_id}/settled": {"note": "reverted"},
    "/api/v1/rollouts/{rollout_id}/approval": {"decision": "reject", "by": "ada", "note": "no"},
    "/api/v1/models/{model}/predictions": {
        "predictions": [{"id": "a", "prediction": 1.5, "version": "v1", "segment": "odd"}]
    },
    "/api/v1/models/{model}/labels": {"labels": [{"id": "a", "truth": 1.5}]},
    "/api/v1/alerts": {
        "alerts": [{"status": "firing", "labels": {"model": "mpg", "alertname": "A"}, "annotations": {"summary": "s"}}]
    },
    "/api/v1/lineage/{digest}": {"links": [{"kind": "data", "text": "dvc:1"}]},
}
HOOKS = ("confirm-rollout", "rollout", "confirm-traffic-increase", "confirm-promotion", "post-rollout", "rollback")


class Guarded(ProcessScene):
    environ = MappingProxyType({"MODELPACK_GATE_TOKENS": f"ada={ADA}"})


class Ports:
    """A gate with a rollout under way: its address, that of its second port, and the rollout."""

    def __init__(self, root: Path, stack: ExitStack, kind: type[ProcessScene]) -> None:
        port = free_port()

        class Both(kind):  # type: ignore[misc,valid-type]
            words = ("--feedback-port", str(port))

        scene = Both(root, stack, GOOD, model_server(0.1))
        scene.until("confirm-traffic-increase", 200)
        self.urls = (scene.url, f"http://127.0.0.1:{port}")
        self.login = {"Authorization": f"Bearer {ADA}"}
        self.rollout = requests.get(f"{scene.url}/api/v1/rollouts", headers=self.login, timeout=5).json()["rollouts"][0]


@pytest.fixture(scope="module", params=[ProcessScene, Guarded], ids=["open", "tokens"])
def ports(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Ports]:
    with ExitStack() as stack:
        yield Ports(tmp_path_factory.mktemp("gate"), stack, request.param)


class Fuzzer:
    """Requests that are nearly as they should be, by a seed. pre-rollout is left out: it waits."""

    def __init__(self, ports: Ports, seed: int) -> None:
        self._chance, self._ports = random.Random(seed), ports
        self._known = {"rollout_id": ports.rollout["id"], "model": "mpg", "digest": "sha256:" + "1" * 64}
        self._routes = [
            (url, path, method.upper(), entry)
            for url in ports.urls
            for path, methods in requests.get(f"{url}/openapi.json", timeout=5).json()["paths"].items()
            for method, entry in methods.items()
        ]

    def send(self) -> tuple[str, int]:
        """One request: what it was, and the status."""
        url, path, method, entry = self._chance.choice(self._routes)
        target = path
        for name in [each["name"] for each in entry.get("parameters", ()) if each["in"] == "path"]:
            known = self._chance.choice(HOOKS) if name == "hook" else self._known[name]
            target = target.replace(f"{{{name}}}", quote(self._text(self._odd(known, 0.3)), safe="%"))
        asked = [each["name"] for each in entry.get("parameters", ()) if each["in"] == "query"]
        given = [f"{each}={quote(self._text(self._odd('', 0.9)), safe='%')}" for each in asked if self._heads()]
        target += f"?{'&'.join(given)}" if given else ""
        headers = {"Content-Type": "application/json"} if self._chance.random() < 0.9 else {}
        if self._heads():
            headers |= self._ports.login if self._heads() else {"Authorization": self._text(self._odd("Bearer x", 0.5))}
        if self._chance.random() < 0.2:
            headers["Accept"] = "text/event-stream"
        method = self._chance.choice(("GET", "PUT", "DELETE", "PATCH", "OPTIONS")) if not self._odd(1, 0.03) else method
        return f"{method} {target}", self._sent(url, method, target, self._body(path), headers)

    def _sent(self, url: str, method: str, target: str, body: bytes, headers: dict[str, str]) -> int:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
        try:
            readable = {key: value.encode("latin-1", "replace") for key, value in headers.items()}
            connection.request(method, target, body, readable)
            answer = connection.getresponse()
            answer.read(16)  # a stream of events goes on
            return answer.status
        except ValueError:
            return 0  # the client will not send such a header
        finally:
            connection.close()

    def _body(self, path: str) -> bytes:
        kind = self._chance.random()
        if kind < 0.1:
            return self._chance.randbytes(self._chance.choice((1, 10, 1000, 70_000)))
        text = json.dumps(self._changed(BODIES.get(path, {}))).encode()
        if kind < 0.3:
            at = self._chance.randrange(len(text))
            return text[:at] + self._chance.randbytes(self._chance.choice((0, 1, 3))) + text[at + 1 :]
        return b'{"a":' * 9000 if kind < 0.32 else text

    def _changed(self, value: Any) -> Any:
        if isinstance(value, dict):
            found = {self._odd(key, 0.03): self._changed(each) for key, each in value.items()}
            return {str(key): each for key, each in found.items() if self._chance.random() < 0.97}
        if isinstance(value, list):
            return [self._changed(each) for each in value for _ in range(self._chance.choice((0, 1, 1, 1, 2, 1001)))]
        return self._odd(value, 0.25)

    def _odd(self, value: Any, chance: float) -> Any:
        if self._chance.random() >= chance:
            return value
        odd = self._chance.choice(ODD)
        return odd if not isinstance(value, str) or isinstance(odd, str | int | float | None) else str(odd)

    def _heads(self) -> bool:
        return self._chance.random() < 0.5

    @staticmethod
    def _text(value: Any) -> str:
        return str(value)[:2000].encode("utf-8", "replace").decode()


def test_what_is_nearly_right_is_no_server_error(ports: Ports) -> None:
    fuzzer, end, sent = Fuzzer(ports, 7), time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        request, status = fuzzer.send()
        assert status < 500, request
        sent += 1
    assert sent > 100
    assert requests.get(f"{ports.urls[0]}/healthz", timeout=5).ok


@pytest.mark.parametrize("ports", [Guarded], indirect=True, ids=["tokens"])
def test_schemathesis_with_a_token_finds_no_server_error(ports: Ports) -> None:
    for url, examples in zip(ports.urls, ("5", "20"), strict=True):
        command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json", "--url", url]
        options = ["--checks", "not_a_server_error", "--max-examples", examples, "--seed", "1"]
        options += ["-H", f"Authorization: Bearer {ADA}"]
        ran = subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=120, env={**os.environ, "NO_COLOR": "1"}
        )
        assert ran.returncode == 0, ran.stdout[-4000:]
