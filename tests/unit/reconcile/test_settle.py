"""What a rollout asks for, as a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelpack.reconcile.rollouts import Rollout
from modelpack.reconcile.settle import Action, decide

V1, V2, V3 = (f"reg.local/mpg:v{n}@sha256:{str(n) * 64}" for n in (1, 2, 3))
OTHER_TAG = V2.replace(":v2", ":v2-again")
FAILED = Rollout(
    id="r1", namespace="default", name="mpg", model="mpg", image=V2, primary=V1,
    phase="Failed", state="failed", verdict="reject", reason="errors rose",
)  # fmt: skip


@pytest.mark.parametrize(
    ("rollout", "named", "recorded", "action"),
    [
        (FAILED, [V2], False, Action.REVERT),
        (FAILED, [V2], True, Action.REVERT),
        (FAILED, [OTHER_TAG], False, Action.REVERT),
        (FAILED, [V1, V2], False, Action.REVERT),
        (replace(FAILED, verdict="undecided"), [V2], False, Action.REVERT),
        (FAILED, [V3], False, Action.RECORD),
        (FAILED, [V1], False, Action.RECORD),
        (FAILED, [V1], True, Action.ACKNOWLEDGE),
        (replace(FAILED, state="withdrawn"), [V1], False, Action.ACKNOWLEDGE),
        (replace(FAILED, state="withdrawn", phase="Progressing"), [V1], False, Action.WAIT),
        (replace(FAILED, phase="Progressing"), [V2], False, Action.WAIT),
        (replace(FAILED, state="superseded"), [V2], False, Action.WAIT),
        (replace(FAILED, state="promoted", phase="Succeeded"), [V2], False, Action.WAIT),
        (replace(FAILED, primary=OTHER_TAG), [V2], False, Action.HOLD),
        (replace(FAILED, primary=""), [V2], False, Action.HOLD),
        (replace(FAILED, image="reg.local/mpg:v2"), ["reg.local/mpg:v2"], False, Action.HOLD),
        (replace(FAILED, verdict="accept"), [V2], False, Action.REVERT),
        (replace(FAILED, verdict="accept", primary=V2), [V2], False, Action.HOLD),
    ],
)
def test_decide(rollout: Rollout, named: list[str], recorded: bool, action: Action) -> None:
    assert decide(rollout, named, recorded).action is action


def test_the_note_says_why() -> None:
    assert decide(FAILED, [V2], False).note == "v2 failed, back to v1: errors rose"
    accepted = decide(replace(FAILED, verdict="accept", reason="errors: none"), [V2], False)
    assert accepted.note == "v2 failed, back to v1: Flagger gave it up, the gate said accept: errors: none"
