"""A spec through `tick()`, with the rehearsal's own webhooks, and a cluster in which everything takes one tick."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import yaml

from modelpack.rehearse.hooks import Hooks
from modelpack.rehearse.tick import Call, Event, Promote, Route, Save, Scale, Seen, Step, tick
from modelpack.rollout import Canary, Status, find_canary
from modelpack.target import Target
from tests.cluster.traces.hooks import addressed, scripted_hooks
from tests.cluster.traces.lines import has, normal, numbered, status_line
from tests.cluster.traces.specs import Spec

_MOST_TICKS = 60
_SPEED = 5.0  # divides the time that webhooks have
_AFTER = 2  # ticks after the end, in which nothing may happen


def replay(spec: Spec) -> list[str]:
    """The course of a rehearsal of a spec, as `record` writes it."""
    world = _World(spec)
    with scripted_hooks({spec.name: spec}, lambda name, line: world.lines.append(line), _SPEED) as addresses:
        return world.run(_canary(spec, addresses))


def _canary(spec: Spec, addresses: Mapping[str, str]) -> Canary:
    text = addressed(yaml.safe_dump(spec.canary()), addresses)
    canary = find_canary([(f"{spec.name}.yaml", text.encode())], Target("", "Deployment", "mpg"))
    hooks = tuple(replace(hook, timeout=hook.timeout / _SPEED) for hook in canary.webhooks)
    return replace(canary, webhooks=hooks)


class _World:
    def __init__(self, spec: Spec) -> None:
        self.lines: list[str] = []
        self._spec = spec
        self._status = Status()
        self._weight, self._up, self._waited = 0, False, 0
        self._template = self._primary = "v1"

    def run(self, canary: Canary) -> list[str]:
        hooks = Hooks(canary, gate="", speed=1000)
        changes, over = list(self._spec.changes), 0
        for _ in range(_MOST_TICKS):
            self._tick(canary, hooks)
            line = next(line for line in reversed(numbered(self.lines)) if line.startswith("status"))
            if changes and has(line, changes[0][0]):
                _, self._template = changes.pop(0)
                self.lines.append(f"git {self._template}")
            elif not changes and has(line, self._spec.ends):
                over += 1
                if over > _AFTER:
                    return normal(self.lines)
        raise AssertionError(f"{self._spec.name} did not end: {numbered(self.lines)[-10:]}")

    def _tick(self, canary: Canary, hooks: Hooks) -> None:
        serves = {"primary": self._primary, "canary": self._template if self._up else "v1"}
        stuck = serves.get(self._spec.stuck, "v1") != "v1"
        self._waited += stuck
        unready: Any = {self._spec.stuck: "no pod is ready", "late": self._waited > 1} if stuck else {}
        steps: Any = tick(canary, self._status, Seen(self._template, self._weight, **unready))
        answer = None
        with suppress(StopIteration):
            while True:
                answer = self._do(steps.send(answer), hooks)

    def _do(self, step: Step, hooks: Hooks) -> bool:
        if isinstance(step, Call):
            return hooks.ask(step)[0]
        if isinstance(step, Event):
            hooks.tell(step)
        elif isinstance(step, Save):
            if step.status != self._status:
                self._say(status_line(step.status.to_json()))
            self._status = step.status
        elif isinstance(step, Route):
            if step.weight != self._weight:
                self._say(f"route {step.weight}")
            self._weight = step.weight
        elif isinstance(step, Scale):
            if step.up != self._up:
                self._say(f"canary {'up' if step.up else 'down'}")
            self._up = step.up
        elif isinstance(step, Promote):
            if self._primary != self._template:
                self._say(f"primary {self._template}")
            self._primary = self._template
        return False

    def _say(self, line: str) -> None:
        self.lines.append(line)
