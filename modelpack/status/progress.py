"""How long until a rollout's next step, and what it waits for: a pure estimate.

Flagger looks at a Canary once an interval, and every change of its status and every call of a webhook happens in such a
tick. So the next tick is expected a whole number of intervals after the last sign of one (Flagger 1.44,
pkg/controller/job.go). It is an estimate: a slow webhook delays a tick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelpack.rollout import Phase

if TYPE_CHECKING:
    from modelpack.rollout.observed import Observed
    from modelpack.status.view import Judgement


@dataclass(frozen=True)
class Step:
    """What comes next. `seconds` until then, None if nobody knows; `waits_for` is "gate", "person" or ""."""

    text: str
    seconds: float | None = None
    waits_for: str = ""


def next_step(seen: Observed, gate: Judgement | None, now: float, *, gate_missing: bool = False) -> Step:
    """The next step of a Canary. `gate` judges what the canary runs now, None if there is no such judgement yet.

    `gate_missing`: the gate could not be asked, by us at least.
    """
    seconds = _until(seen, gate, now)
    if seen.phase in (Phase.PROGRESSING.value, Phase.WAITING_PROMOTION.value):
        return _analysis(seen, gate, seconds, gate_missing)
    said = {
        Phase.INITIALIZING.value: "the primary, once it is ready",
        Phase.WAITING.value: "the start, once confirm-rollout passes",
        Phase.PROMOTING.value: "traffic back to the primary, once it is ready",
        Phase.FINALISING.value: "the canary is scaled down",
    }.get(seen.phase)
    if said:
        return Step(f"{_when(seconds)}: {said}", seconds)
    if seen.phase == "Terminating":
        return Step("the Canary is being deleted")
    return Step("nothing under way")


def share(seen: Observed) -> int:
    """The canary's percent of the traffic. In WaitingPromotion Flagger's status says 0, but the routes stay."""
    if seen.phase == Phase.WAITING_PROMOTION.value and not seen.weight and seen.steps:
        return seen.steps[-1]
    return seen.weight


def words(seconds: float) -> str:
    """A duration for people: 7 s, 1 min 5 s, 2 h 3 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    big, rest, units = (*divmod(whole, 60), "min s") if whole < 3600 else (*divmod(whole // 60, 60), "h min")
    first, second = units.split()
    return f"{big} {first}" + (f" {rest} {second}" if rest else "")


def _analysis(seen: Observed, gate: Judgement | None, seconds: float | None, gate_missing: bool) -> Step:
    when, ahead = _when(seconds), _ahead(seen)
    if seen.threshold and seen.failed_checks >= seen.threshold:
        return Step(f"{when}: back to the primary, {seen.failed_checks} checks failed", seconds)
    if gate is None:
        what = ahead or "promotion"
        return Step(
            f"{when}: {what}, if " + ("the gate answers and " if gate_missing else "") + "its hooks pass", seconds
        )
    if gate.state == "superseded":
        return Step("waits for Flagger: the canary runs a newer image than was judged")
    if gate.state == "withdrawn" or gate.verdict == "reject":
        return Step(f"{when}: back to the primary", seconds)
    if gate.verdict == "accept":
        return Step(f"{when}: {ahead or 'promotion'}", seconds)
    if gate.verdict == "undecided" and ahead:
        return Step(f"{when}: {ahead}", seconds)
    if gate.final or any(each.type == "approval" and each.verdict == "hold" for each in gate.checks):
        return Step(f"waits for a person: {gate.reason}", waits_for="person")
    return Step(f"waits for the gate: {gate.reason}", waits_for="gate")


def _ahead(seen: Observed) -> str:
    """The step before the promotion that comes next, "" if there is none."""
    if seen.phase == Phase.WAITING_PROMOTION.value:
        return ""
    if seen.analysis_iterations:
        done = seen.iterations
        return f"iteration {done + 1} of {seen.analysis_iterations}" if done < seen.analysis_iterations else ""
    weight = share(seen)
    following = next((step for step in seen.steps if step > weight), None)
    return f"{weight}% -> {following}%" if following is not None else ""


def _until(seen: Observed, gate: Judgement | None, now: float) -> float | None:
    last = max(seen.last_transition, gate.last_call if gate else 0.0)
    if last <= 0 or seen.interval <= 0:
        return None
    passed = max(0.0, now - last) % seen.interval
    return seen.interval - passed


def _when(seconds: float | None) -> str:
    return "at the next look" if seconds is None else f"in about {words(max(1.0, seconds))}"
