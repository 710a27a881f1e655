"""What comes next, and when: every phase, every verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelpack.status.gate import judgement
from modelpack.status.progress import next_step, words
from tests.fakes.scene import NOW, SEEN, rollout

WAITS = "errors: 312 of at least 500 canary requests seen"
UNDECIDED: dict[str, Any] = {}
ACCEPT = {"verdict": "accept"}
REJECT = {"verdict": "reject"}
HOLD = {"verdict": "hold", "reason": "errors: no request has reached the canary for 40 s"}
FINAL = {"verdict": "hold", "reason": "the horizon of 600 s is over", "final": True}
OWNER = {"name": "owner", "type": "approval", "verdict": "hold", "reason": "a person has to approve the promotion"}
ASKED = {"verdict": "hold", "reason": "owner: a person has to approve the promotion", "checks": [OWNER]}
PENDING = {"verdict": "pending", "reason": "golden: 40 examples are being asked"}
TOP = {"weight": 50}
STOPPED = {"phase": "WaitingPromotion", "weight": 0}
ITERATING = {"weight": 0, "steps": (), "analysis_iterations": 5, "iterations": 2}


@pytest.mark.parametrize(
    ("seen", "gate", "text", "waits_for"),
    [
        ({}, UNDECIDED, "in about 7 s: 25% -> 50%", ""),
        ({"weight": 0}, UNDECIDED, "in about 7 s: 0% -> 10%", ""),
        (TOP, UNDECIDED, f"waits for the gate: {WAITS}", "gate"),
        (STOPPED, UNDECIDED, f"waits for the gate: {WAITS}", "gate"),
        (ITERATING, UNDECIDED, "in about 7 s: iteration 3 of 5", ""),
        ({**ITERATING, "iterations": 5}, UNDECIDED, f"waits for the gate: {WAITS}", "gate"),
        ({}, ACCEPT, "in about 7 s: 25% -> 50%", ""),
        (TOP, ACCEPT, "in about 7 s: promotion", ""),
        (STOPPED, ACCEPT, "in about 7 s: promotion", ""),
        ({"weight": 0}, PENDING, "waits for the gate: golden: 40 examples are being asked", "gate"),
        (STOPPED, {"verdict": "accept", "final": True}, "in about 7 s: promotion", ""),
        ({}, HOLD, "waits for the gate: errors: no request has reached the canary for 40 s", "gate"),
        (STOPPED, FINAL, "waits for a person: the horizon of 600 s is over", "person"),
        (TOP, ASKED, "waits for a person: owner: a person has to approve the promotion", "person"),
        ({}, REJECT, "in about 7 s: back to the primary", ""),
        (STOPPED, REJECT, "in about 7 s: back to the primary", ""),
        ({}, {"state": "withdrawn"}, "in about 7 s: back to the primary", ""),
        ({"failed_checks": 3}, UNDECIDED, "in about 7 s: back to the primary, 3 checks failed", ""),
        ({}, {"state": "superseded"}, "waits for Flagger: the canary runs a newer image than was judged", ""),
        ({}, None, "in about 7 s: 25% -> 50%, if its hooks pass", ""),
        (STOPPED, None, "in about 7 s: promotion, if its hooks pass", ""),
        ({"phase": "Initializing"}, None, "in about 7 s: the primary, once it is ready", ""),
        ({"phase": "Waiting"}, None, "in about 7 s: the start, once confirm-rollout passes", ""),
        ({"phase": "Promoting"}, None, "in about 7 s: traffic back to the primary, once it is ready", ""),
        ({"phase": "Finalising"}, None, "in about 7 s: the canary is scaled down", ""),
        ({"phase": "Initialized"}, None, "nothing under way", ""),
        ({"phase": "Succeeded"}, None, "nothing under way", ""),
        ({"phase": "Failed"}, None, "nothing under way", ""),
        ({"phase": ""}, None, "nothing under way", ""),
        ({"phase": "Terminating"}, None, "the Canary is being deleted", ""),
    ],
)  # fmt: skip
def test_the_next_step(seen: dict[str, Any], gate: dict[str, Any] | None, text: str, waits_for: str) -> None:
    judged = judgement(rollout(events=[], **gate)) if gate is not None else None
    step = next_step(replace(SEEN, **seen), judged, NOW)
    assert (step.text, step.waits_for) == (text, waits_for)
    assert (step.seconds is not None) is text.startswith("in about")


def test_a_gate_that_cannot_be_asked_is_part_of_what_has_to_happen() -> None:
    step = next_step(SEEN, None, NOW, gate_missing=True)
    assert step.text == "in about 7 s: 25% -> 50%, if the gate answers and its hooks pass"


@pytest.mark.parametrize(
    ("transition", "call", "seconds"),
    [
        (NOW - 3, 0.0, 7.0),
        (NOW - 33, 0.0, 7.0),  # the status stayed as it was for three ticks
        (NOW - 33, NOW - 1, 9.0),  # a call of a webhook is a later sign of a tick
        (NOW + 5, 0.0, 10.0),  # clocks differ
        (0.0, NOW - 4, 6.0),
        (0.0, 0.0, None),
    ],
)
def test_the_next_tick_is_whole_intervals_after_the_last_sign_of_one(
    transition: float, call: float, seconds: float | None
) -> None:
    judged = judgement(rollout(events=[{"t": call}]))
    step = next_step(replace(SEEN, last_transition=transition), judged, NOW)
    assert step.seconds == seconds
    assert step.text.startswith("in about" if seconds else "at the next look")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (65, "1 min 5 s"), (120, "2 min"), (7380, "2 h 3 min")]
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert words(seconds) == text
