"""One tick of Flagger's control loop, as a generator that says what to do next and is told how each webhook answered.

`tick(canary, status, seen)` yields steps in the order in which Flagger 1.44 has its effects; the only step with an
answer is `Call`, which is sent True if the webhook passed. It touches nothing itself: a trace of steps is all there is
to test: those recorded from Flagger are in tests/cluster/traces. What a rehearsal refuses to read is left out:
autoscalers, mirrored traffic, metric templates.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

from modelpack.rollout import Canary, Phase, Status, Webhook


@dataclass(frozen=True)
class Seen:
    """What Flagger would read from the cluster at the start of a tick.

    `template` is the hash of the pod template that Git names, `weight` the canary's percent in the routes; `primary`
    and `canary` say why a server is not ready, "" once it is; `late` that such a one has passed its progress deadline.
    """

    template: str
    weight: int
    primary: str = ""
    canary: str = ""
    late: bool = False


@dataclass(frozen=True)
class Call:
    """Ask a webhook. `status` is what its payload tells: phase and checksum."""

    hook: Webhook
    status: Status


@dataclass(frozen=True)
class Event:
    """Something to tell people and the event webhooks; `status` as for `Call`."""

    message: str
    status: Status
    warning: bool = False


@dataclass(frozen=True)
class Route:
    """Send this percent of the traffic to the canary, the rest to the primary."""

    weight: int


@dataclass(frozen=True)
class Save:
    """This is the status now."""

    status: Status


@dataclass(frozen=True)
class Scale:
    """Start the canary's server, or stop it."""

    up: bool


@dataclass(frozen=True)
class Promote:
    """Give the primary the canary's pod template: a new server replaces the old one."""


Step = Call | Event | Route | Save | Scale | Promote
Steps = Generator[Step, bool, None]
Gate = Generator[Step, bool, bool]  # what a group of webhooks came to

_RUNNING = (Phase.PROGRESSING, Phase.WAITING_PROMOTION, Phase.PROMOTING, Phase.FINALISING)


def tick(canary: Canary, status: Status, seen: Seen) -> Steps:
    """What Flagger does in one interval."""
    if status.phase is Phase.INITIALIZING:
        if seen.primary:
            yield Event(seen.primary, status, warning=True)
            return
        status = status.synced(Phase.INITIALIZED, seen.template)
        yield Save(status)
        yield Event("Initialization done", status)

    noted = status
    if status.phase not in (*_RUNNING, Phase.WAITING):
        if status.phase is Phase.FAILED:  # it takes note of the template, whether a run can start or not
            noted = replace(status, last_applied=seen.template)
            yield Save(noted)
        if not status.changed(seen.template):
            return

    if seen.primary:
        yield Event(f"Waiting for the primary: {seen.primary}", status, warning=True)
        if seen.late and status.phase in (Phase.PROMOTING, Phase.FINALISING):
            yield from _fail_promotion(canary, status, seen)
        elif seen.late:
            yield from _roll_back(canary, status, seen)
        return
    if status.phase not in _RUNNING:
        yield from _start(canary, noted, seen)
        return
    if status.phase in (Phase.PROGRESSING, Phase.WAITING_PROMOTION) and status.changed(seen.template):
        yield Event("New revision detected, starting the analysis over", status)
        yield Route(0)
        yield Save(status.synced(Phase.PROGRESSING, seen.template))
        return
    if seen.canary:
        yield Event(f"Waiting for the canary: {seen.canary}", status, warning=True)
        if seen.late:
            yield from _roll_back(canary, status, seen)
        return
    if status.phase in (Phase.PROGRESSING, Phase.WAITING_PROMOTION):
        for hook in canary.hooks("rollback"):
            if (yield Call(hook, status)):
                yield Event(f"Rollback hook {hook.name} asks for one", status, warning=True)
                yield Event("Rolling back, as a webhook asks for it", status, warning=True)
                yield from _roll_back(canary, status, seen)
                return
            yield Event(f"Rollback hook {hook.name} asks for none", status)
    if status.phase is Phase.PROMOTING:
        yield from _shift_to_primary(canary, status, seen)
    elif status.phase is Phase.FINALISING:
        yield from _finish(canary, status)
    elif status.failed_checks >= canary.threshold:
        yield from _roll_back(canary, status, seen)
    else:
        yield from _analyse(canary, status, seen)


def _start(canary: Canary, status: Status, seen: Seen) -> Steps:
    for hook in canary.hooks("confirm-rollout"):
        if not (yield Call(hook, status)):
            if status.phase is not Phase.WAITING:
                yield Save(status.in_phase(Phase.WAITING))
                yield Event(f"Waiting for {hook.name} to confirm the rollout", status, warning=True)
            return
        yield Event(f"Confirm-rollout hook {hook.name} passed", status)
    yield Event("New revision detected, scaling up the canary", replace(status, phase=Phase.PROGRESSING))
    yield Scale(up=True)
    yield Save(status.synced(Phase.PROGRESSING, seen.template))


def _roll_back(canary: Canary, status: Status, seen: Seen) -> Steps:
    if status.failed_checks >= canary.threshold:
        yield Event(f"Failed checks reached the threshold: {status.failed_checks}", status, warning=True)
    yield Route(0)
    yield Event("Canary failed, scaling it down", replace(status, phase=Phase.FAILED), warning=True)
    yield Scale(up=False)
    yield Save(status.synced(Phase.FAILED, seen.template))
    yield from _after(canary, status, Phase.FAILED)


def _fail_promotion(canary: Canary, status: Status, seen: Seen) -> Steps:
    """The canary's server is the only one left that works: it gets all traffic, and stays."""
    yield Event(f"Promotion failed: {seen.primary}", status, warning=True)
    yield Route(100)
    yield Save(status.synced(Phase.FAILED, seen.template, weight=100))
    yield from _after(canary, status, Phase.FAILED)


def _after(canary: Canary, status: Status, phase: Phase) -> Steps:
    """Post-rollout hooks are told how it ended; the events about them, after a failure, the phase it ended in."""
    for hook in canary.hooks("post-rollout"):
        passed = yield Call(hook, replace(status, phase=phase))
        yield Event(f"Post-rollout hook {hook.name} {'passed' if passed else 'failed'}", status, warning=not passed)
        if not passed:
            return


def _shift_to_primary(canary: Canary, status: Status, seen: Seen) -> Steps:
    if not canary.step_weight_promotion:
        yield Event("Routing all traffic to the primary", status)
        yield Route(0)
        yield Save(status.in_phase(Phase.FINALISING))
    elif seen.weight > 0:
        weight = max(0, seen.weight - canary.step_weight_promotion)
        yield Route(weight)
        yield Event(f"Advance primary weight {100 - weight}", status)
        yield Save(replace(status, weight=weight) if weight else status.in_phase(Phase.FINALISING))


def _finish(canary: Canary, status: Status) -> Steps:
    yield Scale(up=False)
    yield Save(status.in_phase(Phase.SUCCEEDED))
    told = replace(status, phase=Phase.SUCCEEDED)
    yield from _after(canary, told, Phase.SUCCEEDED)
    yield Event("Promotion completed, scaling down the canary", told)


def _analyse(canary: Canary, status: Status, seen: Seen) -> Steps:
    if seen.weight == 0 and status.iterations == 0:
        yield Event("Starting the canary's analysis", status)
        passed = yield from _counted(canary, status, "pre-rollout")
    else:
        passed = yield from _counted(canary, status, "rollout")
    if not passed:
        yield Save(replace(status, failed_checks=status.failed_checks + 1))
    elif canary.iterations:
        yield from _iterate(canary, status)
    elif canary.next_step(seen.weight) > 0:
        if status.phase is Phase.PROGRESSING and not (yield from _traffic_may_increase(canary, status)):
            return
        yield from _climb(canary, status, seen)


def _counted(canary: Canary, status: Status, kind: str) -> Gate:
    for hook in canary.hooks(kind):
        if not (yield Call(hook, replace(status, phase=Phase.PROGRESSING))):
            yield Event(f"Halt advancement, {kind} hook {hook.name} failed", status, warning=True)
            return False
        if kind == "pre-rollout":
            yield Event(f"Pre-rollout hook {hook.name} passed", status)
    return True


def _traffic_may_increase(canary: Canary, status: Status) -> Gate:
    for hook in canary.hooks("confirm-traffic-increase"):
        if not (yield Call(hook, status)):
            yield Event(f"Halt advancement, waiting for {hook.name} to confirm more traffic", status, warning=True)
            return False
        yield Event(f"Confirm-traffic-increase hook {hook.name} passed", status)
    return True


def _promotion_confirmed(canary: Canary, status: Status) -> Gate:
    for hook in canary.hooks("confirm-promotion"):
        if not (yield Call(hook, replace(status, phase=Phase.PROGRESSING))):
            if status.phase is not Phase.WAITING_PROMOTION:
                yield Save(status.in_phase(Phase.WAITING_PROMOTION, canary.iterations))
                yield Event(f"Halt advancement, waiting for {hook.name} to confirm promotion", status, warning=True)
            else:
                yield Save(replace(status, iterations=canary.iterations - 1))
            return False
        yield Event(f"Confirm-promotion hook {hook.name} passed", status)
    return True


def _climb(canary: Canary, status: Status, seen: Seen) -> Steps:
    if seen.weight < canary.max_weight:
        weight = min(100, seen.weight + canary.next_step(seen.weight))
        yield Route(weight)
        yield Save(replace(status, weight=weight))
        yield Event(f"Advance canary weight {weight}", status)
    elif (yield from _promotion_confirmed(canary, status)):
        yield from _promote(status)


def _iterate(canary: Canary, status: Status) -> Steps:
    """A/B tests (with `match`: the canary gets all matching requests) and blue/green (it gets none until the end)."""
    following = replace(status, iterations=status.iterations + 1)
    if status.iterations < canary.iterations:
        if canary.match:
            yield Route(100)
        yield Save(following)
        yield Event(f"Advance canary iteration {following.iterations}/{canary.iterations}", status)
    elif (yield from _promotion_confirmed(canary, status)):
        if not canary.match and status.iterations == canary.iterations:
            yield Event("Routing all traffic to the canary", status)
            yield Route(100)
            yield Save(following)
        else:
            yield from _promote(status)


def _promote(status: Status) -> Steps:
    yield Event("Copying the canary's pod template to the primary", status)
    yield Promote()
    yield Save(status.in_phase(Phase.PROMOTING))
