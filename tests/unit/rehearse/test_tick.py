"""The control loop in small: what happens in which order, for every kind of webhook (whole courses: test_traces).

A trace is written as words: `call <hook type> <phase told>`, `route 10`, `save <phase> <weight>`, `up`, `down`,
`promote`; events are left out unless a test looks for them.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from modelpack.rehearse.tick import Call, Event, Promote, Route, Save, Scale, Seen, Step, tick
from modelpack.rollout import Canary, Header, Phase, Status, Webhook

HOOKS = (
    "confirm-rollout",
    "pre-rollout",
    "rollout",
    "confirm-traffic-increase",
    "confirm-promotion",
    "post-rollout",
    "rollback",
)
START = Status(Phase.INITIALIZED, last_applied="v1", last_promoted="v1")


def canary(hooks: tuple[str, ...] = (), **changes: Any) -> Canary:
    values: dict[str, Any] = {
        "name": "mpg", "namespace": "default", "service": "mpg", "port": 8080, "interval": 10.0, "threshold": 2,
        "deadline": 60.0, "timeout": 15.0, "iterations": 0, "max_weight": 100, "step_weight": 0, "step_weights": (),
        "step_weight_promotion": 0, "match": (),
    }  # fmt: skip
    webhooks = tuple(Webhook(kind, kind, "http://gate", 10.0, 0, {}) for kind in hooks)
    return Canary(**{**values, **changes, "webhooks": webhooks})


class World:
    """Plays the cluster: remembers status and routes, answers webhooks from a table, writes the trace."""

    def __init__(self, canary: Canary, status: Status = START, template: str = "v2") -> None:
        self.canary, self.status, self.template = canary, status, template
        self.weight = 0
        self.refusing = {"rollback"}
        self.events: list[Event] = []

    def tick(self, **unready: str) -> list[str]:
        steps: Any = tick(self.canary, self.status, Seen(self.template, self.weight, **unready))
        trace: list[str] = []
        answer = None
        with suppress(StopIteration):
            while True:
                step = steps.send(answer)
                answer = isinstance(step, Call) and step.hook.type not in self.refusing
                trace.append(self._do(step))
        return [word for word in trace if word]

    def _do(self, step: Step) -> str:
        if isinstance(step, Call):
            return f"call {step.hook.type} {step.status.phase.value}"
        if isinstance(step, Event):
            self.events.append(step)
            return ""
        if isinstance(step, Route):
            self.weight = step.weight
            return f"route {step.weight}"
        if isinstance(step, Save):
            self.status = step.status
            return f"save {step.status.phase.value} {step.status.weight}"
        if isinstance(step, Scale):
            return "up" if step.up else "down"
        assert isinstance(step, Promote)
        return "promote"


def progressing(world: World) -> World:
    """The same, once the canary is up."""
    world.tick()
    assert world.status.phase is Phase.PROGRESSING
    return world


def test_a_new_canary_is_initialized_and_starts_nothing() -> None:
    world = World(canary(HOOKS, step_weight=50), Status())
    assert world.tick(primary="starting") == []
    assert (world.events[0].message, world.events[0].warning) == ("starting", True)
    assert world.tick() == ["save Initialized 0"]
    assert world.status == Status(Phase.INITIALIZED, last_applied="v2", last_promoted="v2")
    assert world.tick() == []


def test_a_weighted_rollout_from_start_to_promotion() -> None:
    world = World(canary(step_weights=(10, 50), max_weight=50))
    traces = [world.tick() for _ in range(6)]
    assert traces == [
        ["up", "save Progressing 0"],
        ["route 10", "save Progressing 10"],
        ["route 50", "save Progressing 50"],
        ["promote", "save Promoting 50"],
        ["route 0", "save Finalising 0"],
        ["down", "save Succeeded 0"],
    ]
    assert world.status.last_promoted == "v2"
    assert world.tick() == []


def test_every_hook_is_asked_where_flagger_asks_it() -> None:
    world = World(canary(HOOKS, step_weight=60))
    rollback, increase = "call rollback Progressing", "call confirm-traffic-increase Progressing"
    assert [world.tick() for _ in range(6)] == [
        ["call confirm-rollout Initialized", "up", "save Progressing 0"],
        [rollback, "call pre-rollout Progressing", increase, "route 60", "save Progressing 60"],
        [rollback, "call rollout Progressing", increase, "route 100", "save Progressing 100"],
        [
            rollback,
            "call rollout Progressing",
            increase,
            "call confirm-promotion Progressing",
            "promote",
            "save Promoting 100",
        ],
        ["route 0", "save Finalising 0"],
        ["down", "save Succeeded 0", "call post-rollout Succeeded"],
    ]


def test_confirm_rollout_that_refuses_waits_uncounted_and_before_the_canary_is_up() -> None:
    world = World(canary(HOOKS, step_weight=50))
    world.refusing.add("confirm-rollout")
    assert world.tick() == ["call confirm-rollout Initialized", "save Waiting 0"]
    assert world.tick() == ["call confirm-rollout Waiting"]
    assert world.status.checksum == START.checksum  # still the revision before
    world.refusing.remove("confirm-rollout")
    assert world.tick() == ["call confirm-rollout Waiting", "up", "save Progressing 0"]
    assert world.status.failed_checks == 0


def test_confirm_traffic_increase_that_refuses_halts_at_any_weight_uncounted() -> None:
    world = progressing(World(canary(("confirm-traffic-increase",), step_weight=50)))
    world.refusing.add("confirm-traffic-increase")
    assert world.tick() == world.tick() == ["call confirm-traffic-increase Progressing"]
    assert (world.weight, world.status.failed_checks) == (0, 0)
    world.refusing.clear()
    world.tick()
    world.refusing.add("confirm-traffic-increase")
    assert world.tick() == ["call confirm-traffic-increase Progressing"]
    assert (world.weight, world.status.failed_checks) == (50, 0)


@pytest.mark.parametrize(("kind", "ticks_before"), [("pre-rollout", 0), ("rollout", 1)])
def test_counted_hooks_roll_back_the_tick_after_the_threshold(kind: str, ticks_before: int) -> None:
    world = progressing(World(canary((kind, "post-rollout"), step_weight=50)))
    for _ in range(ticks_before):
        world.tick()
    weight = world.weight
    world.refusing.add(kind)
    for count in (1, 2):
        assert world.tick() == [f"call {kind} Progressing", f"save Progressing {weight}"]
        assert world.status.failed_checks == count
    assert world.tick() == ["route 0", "down", "save Failed 0", "call post-rollout Failed"]
    assert world.status == Status(Phase.FAILED, last_applied="v2", last_promoted="v1")


def test_failed_checks_add_up_over_the_whole_run() -> None:
    world = progressing(World(canary(("rollout",), step_weight=20)))
    world.tick()
    for refused in (True, False, True):
        world.refusing = {"rollout"} if refused else set()
        world.tick()
    assert world.status.failed_checks == 2
    assert world.tick()[-1] == "save Failed 0"


def test_confirm_promotion_that_refuses_waits_with_status_weight_0_and_routes_kept() -> None:
    world = progressing(World(canary(("rollout", "confirm-traffic-increase", "confirm-promotion"), step_weight=100)))
    world.tick()
    world.refusing.add("confirm-promotion")
    assert world.tick()[-2:] == ["call confirm-promotion Progressing", "save WaitingPromotion 0"]
    assert (world.weight, world.status.phase) == (100, Phase.WAITING_PROMOTION)
    for _ in range(2):  # the analysis goes on, traffic is not asked about
        assert world.tick() == [
            "call rollout Progressing",
            "call confirm-promotion Progressing",
            "save WaitingPromotion 0",
        ]
    world.refusing.remove("confirm-promotion")
    assert world.tick()[-2:] == ["promote", "save Promoting 0"]


@pytest.mark.parametrize("phase", [Phase.PROGRESSING, Phase.WAITING_PROMOTION])
def test_a_rollback_hook_that_passes_rolls_back_at_once(phase: Phase) -> None:
    status = replace(START, phase=phase, last_applied="v2")
    world = World(canary(("rollback", "rollout"), step_weight=50), status)
    world.weight = 50
    world.refusing.clear()
    assert world.tick() == [f"call rollback {phase.value}", "route 0", "down", "save Failed 0"]


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.PROMOTING, Phase.FINALISING])
def test_a_rollback_hook_is_not_asked_in_other_phases(phase: Phase) -> None:
    world = World(canary(("rollback",), step_weight=50), replace(START, phase=phase, last_applied="v2"))
    world.refusing.clear()
    assert not any("rollback" in word for word in world.tick())


def test_a_failed_template_starts_nothing_until_it_changes() -> None:
    failed = Status(Phase.FAILED, last_applied="v2", last_promoted="v1")
    world = World(canary(step_weight=50), failed)
    assert world.tick() == ["save Failed 0"]
    world.template = "v1"  # reverted: noted, silent
    assert world.tick() == ["save Failed 0"]
    assert world.status.last_applied == "v1"
    world.template = "v2"  # and with a revert between, the same version may try again
    assert world.tick() == ["save Failed 0", "up", "save Progressing 0"]


def test_servers_that_are_not_ready_halt_everything_uncounted() -> None:
    world = World(canary(HOOKS, step_weight=50))
    assert world.tick(primary="starting") == []
    progressing(world)
    assert world.tick(canary="unwell") == []
    assert [event.message.rpartition(" ")[2] for event in world.events if event.warning] == ["starting", "unwell"]
    assert world.status.failed_checks == 0


def test_traffic_returns_to_the_primary_step_by_step_where_asked() -> None:
    world = World(canary(step_weight=100, step_weight_promotion=60))
    traces = [world.tick() for _ in range(6)]
    assert traces[3:] == [
        ["route 40", "save Promoting 40"],
        ["route 0", "save Finalising 0"],
        ["down", "save Succeeded 0"],
    ]


def test_an_ab_test_counts_iterations_with_all_matching_traffic_on_the_canary() -> None:
    hooks = ("pre-rollout", "rollout", "confirm-traffic-increase", "confirm-promotion")
    world = progressing(World(canary(hooks, iterations=2, match=(Header("x-user", exact="me"),))))
    assert world.tick() == ["call pre-rollout Progressing", "route 100", "save Progressing 0"]
    assert world.tick() == ["call rollout Progressing", "route 100", "save Progressing 0"]
    world.refusing.add("confirm-promotion")
    assert world.tick()[-1] == "save WaitingPromotion 0"
    assert world.status.iterations == 1
    assert world.tick() == ["call rollout Progressing", "route 100", "save WaitingPromotion 0"]
    world.refusing.remove("confirm-promotion")
    assert world.tick()[-2:] == ["promote", "save Promoting 0"]


def test_blue_green_routes_to_the_canary_only_at_the_end() -> None:
    world = progressing(World(canary(("pre-rollout", "confirm-promotion"), iterations=2)))
    assert [world.tick() for _ in range(6)] == [
        ["call pre-rollout Progressing", "save Progressing 0"],
        ["save Progressing 0"],
        ["call confirm-promotion Progressing", "route 100", "save Progressing 0"],
        ["call confirm-promotion Progressing", "promote", "save Promoting 0"],
        ["route 0", "save Finalising 0"],
        ["down", "save Succeeded 0"],
    ]


def test_post_rollout_is_only_noted() -> None:
    world = World(canary(("post-rollout",), step_weight=50), replace(START, phase=Phase.FINALISING, last_applied="v2"))
    world.refusing.add("post-rollout")
    assert world.tick() == ["down", "save Succeeded 0", "call post-rollout Succeeded"]


def test_events_tell_the_phase_that_flagger_tells() -> None:
    world = progressing(World(canary(step_weight=50)))
    assert (world.events[-1].status.phase, world.events[-1].status.checksum) == (Phase.PROGRESSING, START.checksum)
    world.status = replace(world.status, failed_checks=2)
    world.tick()
    failed = world.events[-1]
    assert (failed.status.phase, failed.warning) == (Phase.FAILED, True)
