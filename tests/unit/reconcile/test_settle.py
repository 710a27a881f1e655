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
    phase="Failed", state="failed", verdict="reject", reason="errors rose", started=5,
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
        (replace(FAILED, state="withdrawn", phase="Initialized"), [V1], False, Action.ACKNOWLEDGE),
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


def other(image: str, state: str, started: float, primary: str = V1) -> Rollout:
    return replace(FAILED, id=f"at-{started}", image=image, primary=primary, state=state, started=started)


GAVE_UP = replace(FAILED, verdict="undecided", primary=V3)  # Flagger did, for a reason of its own


@pytest.mark.parametrize(
    ("rollout", "beside", "named", "action"),
    [
        # tried again since: only the last attempt says what Git should
        (FAILED, [other(V2, "active", 9)], V2, Action.WAIT),
        (FAILED, [other(V2, "promoted", 9)], V2, Action.ACKNOWLEDGE),
        (FAILED, [other(V2, "failed", 9, V3)], V2, Action.ACKNOWLEDGE),
        (replace(FAILED, primary=V2), [other(V2, "promoted", 9)], V2, Action.ACKNOWLEDGE),
        (FAILED, [other(V2, "superseded", 9)], V2, Action.REVERT),
        (FAILED, [other(V2, "failed", 1)], V2, Action.REVERT),
        # another one was promoted since: what the primary served then is no longer what it serves
        (FAILED, [other(V3, "promoted", 9)], V2, Action.HOLD),
        (FAILED, [other(V3, "promoted", 9)], V3, Action.RECORD),
        (FAILED, [other(V1, "promoted", 1)], V2, Action.REVERT),
        # beside a primary that a failed promotion left broken
        (GAVE_UP, [other(V3, "failed", 1, V3)], V2, Action.HOLD),
        (GAVE_UP, [other(V3, "failed", 1, V3)], V1, Action.HOLD),
        (replace(GAVE_UP, verdict="reject"), [other(V3, "failed", 1, V3)], V2, Action.REVERT),
        (GAVE_UP, [other(V3, "failed", 1, V3), other(V3, "promoted", 2, V1)], V2, Action.REVERT),
        (GAVE_UP, [other(V3, "failed", 1, V1)], V2, Action.REVERT),
        (GAVE_UP, [other(V3, "failed", 9, V3)], V2, Action.REVERT),
    ],
)
def test_what_other_rollouts_of_the_canary_change(
    rollout: Rollout, beside: list[Rollout], named: str, action: Action
) -> None:
    assert decide(rollout, [named], False, beside).action is action
