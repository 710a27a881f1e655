"""Webhook calls in front of the web framework: answered in time, whatever the gate waits for."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

pytest.importorskip("fastapi")

from modelpack.gate.engine import Answer
from modelpack.gate.rollouts import Call
from modelpack.gate.verdict import ACCEPT, Decision
from modelpack.gate.webhooks import AT_ONCE, Calls, Webhooks
from tests.fakes.rehearsal import webhook


class FakeGate:
    """Answers once it is let go on."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.go_on.set()
        self.calls: list[Call] = []

    def answer(self, call: Call, until: float) -> Answer:
        self.go_on.wait(30)
        self.calls.append(call)
        return Answer(200, Decision(ACCEPT, "so it is"), "r1")


class Behind:
    """The application that gets what the calls leave."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.bodies.append((await receive())["body"])


class Scene:
    def __init__(self, within: float = 8.0) -> None:
        self.gate, self.behind, self.counted = FakeGate(), Behind(), []
        calls = Calls(self.gate, lambda hook, status: self.counted.append((hook, status)), within)  # type: ignore[arg-type]
        self.app = Webhooks(self.behind, calls)

    async def ask(self, path: str, body: Any, kind: str = "application/json", method: str = "POST") -> tuple[int, str]:
        """Status and text, 0 where it went on."""
        sent: list[Any] = []
        scope = {"type": "http", "method": method, "path": path, "headers": [(b"content-type", kind.encode())]}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()

        async def receive() -> Any:
            return {"type": "http.request", "body": data, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return (sent[0]["status"], sent[1]["body"].decode()) if sent else (0, "")


def test_a_call_is_answered_and_counted() -> None:
    scene = Scene()
    asked = scene.ask("/flagger/confirm-promotion", webhook(eventMessage="a\x1bb"))
    assert asyncio.run(asked) == (200, "accept: so it is\n")
    assert scene.counted == [("confirm-promotion", 200)] and scene.behind.bodies == []
    assert scene.gate.calls == [Call("confirm-promotion", "default", "mpg", "Progressing", "c1", "mpg", "a b")]


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("/flagger/nothing", {}),
        ("/flagger/rollback/", {}),
        ("/api/v1/rollouts", {}),
        ("/flagger/rollback", {"method": "GET"}),
        ("/flagger/rollback", {"kind": "text/plain"}),
        ("/flagger/rollback", {"body": b"{"}),
        ("/flagger/rollback", {"body": b'{"name": "\xff", "namespace": "a"}'}),
        ("/flagger/rollback", {"body": {"name": "a\u0000", "namespace": "a"}}),
    ],
)
def test_everything_else_goes_on_as_it_came(path: str, changes: dict[str, Any]) -> None:
    scene, body = Scene(), changes.pop("body", webhook())
    assert asyncio.run(scene.ask(path, body, **changes)) == (0, "")
    assert scene.behind.bodies == [body if isinstance(body, bytes) else json.dumps(body).encode()]
    assert scene.gate.calls == []


def test_calls_are_answered_in_time_though_all_hang_and_it_recovers() -> None:
    scene = Scene(within=0.5)
    scene.gate.go_on.clear()

    async def many() -> list[tuple[int, str]]:
        return await asyncio.gather(*(scene.ask("/flagger/rollback", webhook()) for _ in range(3 * AT_ONCE)))

    async def both() -> tuple[list[tuple[int, str]], tuple[int, str]]:
        late = await asyncio.wait_for(many(), 5)
        scene.gate.go_on.set()
        return late, await scene.ask("/flagger/rollback", webhook())

    late, after = asyncio.run(both())
    assert set(late) == {(403, "hold: the gate took too long to answer: ask again\n")}
    assert scene.counted[:-1] == [("rollback", 403)] * 3 * AT_ONCE
    assert after == (200, "accept: so it is\n")
    assert len(scene.gate.calls) <= AT_ONCE + 1  # who gave up waiting for a turn is not asked for any more
