"""Webhooks are sent what Flagger sends, and pass where Flagger says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from modelpack.rehearse.hooks import Hooks
from modelpack.rehearse.tick import Call, Event
from modelpack.rollout import Phase, Status, Webhook
from tests.fakes.rehearsal import serve
from tests.unit.rehearse.test_tick import canary

STATUS = Status(Phase.PROGRESSING, last_applied="v2")


class Receiver:
    def __init__(self) -> None:
        self.url = ""
        self.answers: list[int] = []
        self.bodies: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, path: str, body: bytes) -> tuple[int, bytes]:
        self.bodies.append((path, json.loads(body)))
        return (self.answers.pop(0) if self.answers else 200), b"because"

    def hook(self, kind: str = "rollout", retries: int = 0, **metadata: str) -> Webhook:
        return Webhook(kind, kind, f"{self.url}/own", 2.0, retries, metadata)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    with serve(receiver) as receiver.url:
        yield receiver


@pytest.mark.parametrize(
    ("answers", "retries", "passed", "calls"),
    [
        ([200], 0, True, 1),
        ([202], 0, True, 1),
        ([204], 0, False, 1),
        ([403], 3, False, 1),
        ([500], 0, False, 1),
        ([501], 3, False, 1),
        ([500, 429, 200], 2, True, 3),
        ([500, 500], 1, False, 2),
    ],
)
def test_what_passes_and_what_is_asked_again(
    receiver: Receiver, answers: list[int], retries: int, passed: bool, calls: int
) -> None:
    receiver.answers = list(answers)
    result, said = Hooks(canary(), "", speed=1000).ask(Call(receiver.hook(retries=retries), STATUS))
    assert (result, len(receiver.bodies)) == (passed, calls)
    assert said  # a reason, for people


def test_the_payload_leaves_out_metadata_that_is_not_there(receiver: Receiver) -> None:
    hooks = Hooks(canary(), "", 1)
    hooks.ask(Call(receiver.hook(), STATUS))
    hooks.ask(Call(receiver.hook(model="mpg"), STATUS))
    plain = {"name": "mpg", "namespace": "default", "phase": "Progressing", "checksum": STATUS.checksum}
    assert [body for _, body in receiver.bodies] == [plain, {**plain, "metadata": {"model": "mpg"}}]


def test_events_carry_their_message_in_the_metadata(receiver: Receiver) -> None:
    hook = receiver.hook("event", model="mpg", eventType="mine")
    Hooks(canary().__class__(**{**vars(canary()), "webhooks": (hook,)}), "", 1).tell(Event("hi", STATUS, warning=True))
    metadata = receiver.bodies[0][1]["metadata"]
    assert (metadata["model"], metadata["eventMessage"], metadata["eventType"]) == ("mpg", "hi", "Warning")
    assert int(metadata["timestamp"]) > 1_700_000_000_000


def test_the_gates_hooks_go_to_the_gate_wherever_the_canary_says_it_is(receiver: Receiver) -> None:
    hook = Webhook("gate", "rollback", "http://gate.in-the-cluster/flagger/rollback", 2.0, 0, {})
    assert Hooks(canary(), f"{receiver.url}/", 1).ask(Call(hook, STATUS))[0]
    assert receiver.bodies[0][0] == "/flagger/rollback"
    assert Hooks(canary(), "", 1).ask(Call(hook, STATUS)) == (True, "")  # no gate runs: nothing is asked


def test_an_address_that_does_not_answer_fails() -> None:
    hook = Webhook("load", "rollout", "http://127.0.0.1:9/", 1.0, 0, {})
    passed, said = Hooks(canary(), "", 1).ask(Call(hook, STATUS))
    assert not passed
    assert said == "http://127.0.0.1:9/: nothing answers there"
