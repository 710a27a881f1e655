"""Which rollout a call is about, and what becomes of it: pure functions from values to values.

Flagger's webhooks name no digest and its checksums repeat, so the gate binds a rollout to (checksum, digest of the
canary's image) when it first hears of it, and never lets a verdict reach another digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from modelpack.errors import RefusedError
from modelpack.gate.config import GateConfig
from modelpack.gate.target import Target
from modelpack.gate.verdict import ACCEPT, HOLD, PENDING, REJECT, Decision
from modelpack.rollout.status import UNDER_WAY, Phase

ACTIVE, PROMOTED, FAILED = "active", "promoted", "failed"
SUPERSEDED = "superseded"  # the canary runs another digest than the one that was judged
WITHDRAWN = "withdrawn"  # the canary runs the primary's digest again: reverted in mid-analysis

MINTING_HOOKS = ("pre-rollout", "confirm-traffic-increase", "confirm-promotion", "rollback")
ANALYSIS = (Phase.PROGRESSING.value, Phase.WAITING_PROMOTION.value)  # phases in which requests count as evidence
_GONE = "Terminated"


NOTHING_YET = Decision(PENDING, "nothing is checked yet")
NEVER_ASKED = Decision(PENDING, "it was over before the gate was asked")


@dataclass(frozen=True)
class Call:
    """One webhook call of Flagger's."""

    hook: str
    namespace: str
    name: str
    phase: str
    checksum: str
    model: str = ""
    message: str = ""


@dataclass(frozen=True)
class Approval:
    """What a person decides about one rollout, and so about its digest alone."""

    approve: bool
    by: str
    note: str = ""


@dataclass(frozen=True)
class Rollout:
    """One version on its way. Times are unix seconds, `horizon` seconds under traffic.

    `bound` is when it last became the one that its Canary's calls are about; `ended` is None until Flagger says that
    the analysis is over.
    """

    id: str
    namespace: str
    name: str
    model: str
    checksum: str
    digest: str
    image: str
    primary_image: str
    phase: str
    weight: float
    started: float
    bound: float
    horizon: float
    alpha: float
    decision: Decision = NOTHING_YET
    state: str = ACTIVE
    rollback: bool = False
    settled: bool = False
    settled_note: str = ""
    ended: float | None = None
    traffic_started: float | None = None
    approved: str = ""  # by whom

    @property
    def roles(self) -> dict[str, str]:
        """The role of a version, canary or primary, by what servers call it: its image's tag or digest. What both are
        called tells nothing apart, and has none."""
        names: dict[str, str] = {}
        for role, image in (("canary", self.image), ("primary", self.primary_image)):
            name, _, digest = image.partition("@")
            for each in filter(None, (name.rpartition("/")[2].partition(":")[2], digest)):
                names[each] = "" if each in names else role
        return {name: role for name, role in names.items() if role}

    def under_traffic(self, now: float) -> float:
        """Seconds since the canary first got traffic."""
        return 0.0 if self.traffic_started is None else max(0.0, now - self.traffic_started)

    def elapsed(self, now: float) -> float:
        """How much of the horizon has passed, 1.0 for all of it."""
        return self.under_traffic(now) / self.horizon


def mint(rollout_id: str, call: Call, target: Target, config: GateConfig, now: float) -> Rollout:
    """A new rollout, bound to the digest that the canary runs now."""
    return Rollout(
        id=rollout_id,
        namespace=call.namespace,
        name=call.name,
        model=config.name,
        checksum=call.checksum,
        digest=target.canary.digest,
        image=target.canary.image,
        primary_image=target.primary.image,
        phase=target.phase,
        weight=target.weight,
        started=now,
        bound=now,
        horizon=config.horizon / target.speed,
        alpha=config.alpha,
        rollback=target.rollback,
    )


def current(open_rollouts: Sequence[Rollout]) -> Rollout | None:
    """Of one Canary's rollouts that have not ended, the one that calls are about."""
    return max(open_rollouts, key=lambda each: each.bound, default=None)


def observe(open_rollouts: Sequence[Rollout], target: Target, now: float) -> list[Rollout]:
    """The rollouts after a look at the target: its phase, weight and state, and ended if the phase is terminal."""
    latest = current(open_rollouts)
    found = []
    for each in open_rollouts:
        seen = replace(each, phase=target.phase)
        if each is latest:
            seen = _judge_digest(_weigh(seen, target, now), target)
        found.append(seen if target.phase in UNDER_WAY else _end(seen, target, now))
    return found


def weight(rollout: Rollout, target: Target) -> float:
    """Flagger's status says 0 in WaitingPromotion although the routes remain: the last known weight stays."""
    stays = target.phase != Phase.PROGRESSING.value and target.weight == 0
    return rollout.weight if stays else target.weight


def _weigh(rollout: Rollout, target: Target, now: float) -> Rollout:
    share = weight(rollout, target)
    started = now if rollout.traffic_started is None and share > 0 else rollout.traffic_started
    return replace(rollout, weight=share, traffic_started=started)


def _judge_digest(rollout: Rollout, target: Target) -> Rollout:
    digest = target.canary.digest
    if digest == rollout.digest:
        return rollout if rollout.state == ACTIVE else replace(rollout, state=SUPERSEDED)
    return replace(rollout, state=WITHDRAWN if digest == target.primary.digest else SUPERSEDED)


def _end(rollout: Rollout, target: Target, now: float) -> Rollout:
    """The rollout after its analysis. Only the target's own phase ends it: what Flagger calls comes before the status.

    After a failure `primary_image` is what the primary runs by then: a promotion that broke half-way changed it.
    """
    state = rollout.state
    if state == ACTIVE:
        state = {Phase.SUCCEEDED.value: PROMOTED, Phase.FAILED.value: FAILED}.get(target.phase, SUPERSEDED)
    primary = target.primary.image if state == FAILED else rollout.primary_image
    return replace(rollout, state=state, primary_image=primary, ended=max(now, target.failed_at))


def missed(rollouts: Sequence[Rollout], target: Target) -> bool:
    """Whether the canary's image failed, and none of its Canary's rollouts tells of it.

    The gate was down, or no hook that mints was ever called: no pod got ready. Where the primary runs the same image,
    it was not the image that failed.
    """
    digest = target.canary.digest
    if not target.failed_at or digest == target.primary.digest:
        return False
    return not any(
        each.digest == digest and each.state == FAILED and (each.ended or 0.0) >= target.failed_at for each in rollouts
    )


def mint_missed(rollout_id: str, call: Call, target: Target, config: GateConfig, now: float) -> Rollout:
    """A rollout that was over before the gate heard of it."""
    return _end(replace(mint(rollout_id, call, target, config, now), decision=NEVER_ASKED), target, now)


def gone(rollout: Rollout, now: float) -> Rollout:
    """The rollout after its Canary was deleted: nobody will ever say how it ended."""
    return replace(rollout, state=SUPERSEDED, phase=_GONE, ended=now)


@dataclass(frozen=True)
class Binding:
    """What a call is about: a rollout that exists, or one to mint, or neither (`reason` says why)."""

    rollout: Rollout | None = None
    changed: tuple[Rollout, ...] = ()
    mint: bool = False
    reason: str = ""


def bind(call: Call, open_rollouts: Sequence[Rollout], target: Target, now: float) -> Binding:
    """Find the call's rollout among those that have not ended; `open_rollouts` have been observed.

    A known checksum never mints, even with a new digest: Flagger has not noticed that one yet. A checksum that comes
    back during the same analysis brings its rollout back, whose evidence is about the same digest.
    """
    latest = current(open_rollouts)
    if call.hook not in MINTING_HOOKS or (latest and latest.checksum == call.checksum):
        return Binding(latest, reason="" if latest else "there is no rollout yet")
    if target.phase not in UNDER_WAY:
        return Binding(reason=f"the phase is {target.phase}: no analysis is under way")
    stepped_down = (replace(latest, state=SUPERSEDED),) if latest else ()
    for known in open_rollouts:
        if known.checksum == call.checksum:
            back = _judge_digest(replace(known, state=ACTIVE, bound=now, weight=target.weight), target)
            return Binding(back, (*stepped_down, back))
    return Binding(changed=stepped_down, mint=True)


def approve(rollout: Rollout, approval: Approval, asked: bool = False, confirmed: bool = False) -> Rollout:
    """The rollout after a person decided, for good; evidence may still reject what was approved. Raises RefusedError.

    Approval answers a question, so there has to be one: a hold. Where that is a check that asks for a person (`asked`),
    it is the answer to that alone, and the checks go on to decide. A person may reject as long as there is an analysis,
    and Flagger was not told to promote (`confirmed`).
    """
    verdict = rollout.decision.verdict
    if rollout.ended is not None or rollout.state != ACTIVE:
        raise RefusedError(rollout.id, f"is over: it is {rollout.state}, in phase {rollout.phase}")
    if verdict == REJECT:
        raise RefusedError(rollout.id, "is rejected, and that stays", "start a new rollout")
    if approval.approve and verdict != HOLD:
        raise RefusedError(rollout.id, f"is not held but {verdict}: there is nothing to approve")
    if confirmed and not approval.approve:
        remedy = f"to go back, run modelpack rollback {rollout.model}"
        raise RefusedError(rollout.id, "cannot be rejected: its promotion is confirmed already", remedy)
    said = f"{'approved' if approval.approve else 'rejected'} by {approval.by}"
    reason = said + (f": {approval.note}" if approval.note else "")
    if approval.approve and asked:
        approved = approval.by + (f" ({approval.note})" if approval.note else "")
        return replace(rollout, approved=approved, decision=Decision(HOLD, f"{reason}; now the checks decide"))
    return replace(
        rollout, decision=Decision(ACCEPT, reason, final=True) if approval.approve else Decision(REJECT, reason)
    )


def decision(rollout: Rollout) -> Decision:
    """What the rollout's verdict means for calls now: only the digest that was judged may pass by it."""
    if rollout.state == SUPERSEDED:
        return Decision(HOLD, "superseded: the canary runs another image than the one that was checked")
    if rollout.state == WITHDRAWN:
        return Decision(REJECT, "withdrawn: Git names the primary's image again")
    return rollout.decision
