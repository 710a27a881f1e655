"""Every verdict, how the checks' verdicts combine, and what Flagger is answered: all decisions in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PENDING = "pending"  # a check before any traffic is not done
UNDECIDED = "undecided"  # the evidence does not decide yet
HOLD = "hold"  # a person is asked, or data is missing
ACCEPT = "accept"
REJECT = "reject"  # latches
VERDICTS = (PENDING, UNDECIDED, HOLD, ACCEPT, REJECT)

GRACE = 1.05  # of the horizon: checks that accept at its end get more than the one look that happens to come then

# hook -> the verdicts it is answered 200 for. A 200 from `rollback` rolls back. `rollout` is called on every tick and a
# refusal counts as a failed check, so it refuses only what is to be rolled back anyway; a refusal of `confirm-rollout`
# would wait for ever.
PROMOTES = "confirm-promotion"
PASSES: dict[str, tuple[str, ...]] = {
    "confirm-rollout": VERDICTS,
    "pre-rollout": (UNDECIDED, ACCEPT),
    "rollout": (PENDING, UNDECIDED, HOLD, ACCEPT),
    "confirm-traffic-increase": (UNDECIDED, ACCEPT),
    PROMOTES: (ACCEPT,),
    "post-rollout": VERDICTS,
    "rollback": (REJECT,),
    "event": VERDICTS,
}


@dataclass(frozen=True)
class Decision:
    """A verdict, why, and whether it stays until a person ends it (`final`)."""

    verdict: str
    reason: str
    final: bool = False


@dataclass(frozen=True)
class Answer:
    """What Flagger gets: 200 or 403, the reason, and which rollout it was about ("" for none)."""

    status: int
    decision: Decision
    rollout: str = ""


LATE = Answer(403, Decision(HOLD, "the gate took too long to answer: ask again"))


def combine(
    before: Decision, checks: Sequence[tuple[str, str, str]], *, ready: bool, under_traffic: float, horizon: float
) -> Decision:
    """The rollout's verdict from `(name, verdict, reason)` of its checks; `ready` says that at most a person's word is
    missing, as every other check accepts.

    A rejection latches. After `horizon` seconds under traffic, and a little more, without a decision the hold is final:
    later evidence may still reject, but no longer accept. A person who is asked has as long as it takes.
    """
    if before.verdict == REJECT:
        return before
    of = {verdict: [(name, reason) for name, given, reason in checks if given == verdict] for verdict in VERDICTS}
    if of[REJECT]:
        return Decision(REJECT, _sentence(of[REJECT]))
    if before.final:
        return before
    if not ready and under_traffic >= GRACE * horizon:
        waiting = of[HOLD] + of[PENDING] + of[UNDECIDED]
        return Decision(
            HOLD, f"the horizon of {horizon:g} s is over without a decision: {_sentence(waiting)}", final=True
        )
    for verdict in (HOLD, PENDING):
        if of[verdict]:
            return Decision(verdict, _sentence(of[verdict]))
    if len(of[ACCEPT]) == len(checks):
        return Decision(ACCEPT, _sentence(of[ACCEPT]))
    return Decision(UNDECIDED, _sentence(of[UNDECIDED]))


def _sentence(parts: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in parts)
