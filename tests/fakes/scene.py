"""A Canary as a cluster shows it, values for tests of `modelpack status`, and a cluster that tells them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from modelpack.errors import ModelpackError, NotFoundError
from modelpack.rollout.observed import Event, Observed

V1, V2, V3 = (f"registry.local/models/mpg:v{n}@sha256:{str(n) * 64}" for n in (1, 2, 3))
NOW = 1_790_000_000.0

SEEN = Observed(
    namespace="default",
    name="mpg",
    phase="Progressing",
    weight=25,
    failed_checks=0,
    iterations=0,
    last_applied="b",
    last_promoted="a",
    last_transition=NOW - 3,
    message="New revision detected, progressing canary analysis.",
    interval=10.0,
    threshold=3,
    steps=(10, 25, 50),
    analysis_iterations=0,
    service="mpg",
    port=8080,
    canary_image=V2,
    primary_image=V1,
    rollback=False,
)


def rollout(**changes: Any) -> dict[str, Any]:
    """A rollout of v2 as the gate's API gives it."""
    check = {
        "name": "errors", "type": "proportion", "statistic": "errors", "share": True,
        "unit": "", "verdict": "undecided",
        "reason": "312 of at least 500 canary requests seen", "estimate": -0.00136, "low": -0.0075, "high": 0.0048,
        "n": 312, "n_primary": 2808,
    }  # fmt: skip
    calls = [
        _call(60, "event", 200, message="New revision detected! Scaling up mpg.default"),
        _call(50, "rollback", 403, "golden"),
        _call(50, "confirm-traffic-increase", 403, "golden: 40 examples are being asked"),
        _call(40, "confirm-traffic-increase", 403, "golden: 40 examples are still being asked"),
        _call(30, "confirm-traffic-increase", 200),
        _call(30, "event", 200, message="Advance mpg.default canary weight 10"),
    ]
    return {
        "id": "mpg-5e78eca0", "namespace": "default", "name": "mpg", "model": "economy", "image": V2,
        "primary_image": V1, "verdict": "undecided", "reason": "errors: 312 of at least 500 canary requests seen",
        "final": False, "state": "active", "started": NOW - 60, "ended": None, "checks": [check], "events": calls,
        **changes,
    }  # fmt: skip


def _call(ago: int, hook: str, answer: int, reason: str = "", message: str = "") -> dict[str, Any]:
    call = {"t": NOW - ago, "hook": hook, "phase": "Progressing"}
    return {**call, "message": message, "answer": answer, "reason": reason}


@dataclass
class FakeCluster:
    """Has the methods of `modelpack.rollout.cluster.Cluster` that a look needs.

    `broken` maps a method to the error that it raises; `asked` are the paths that the gate was asked for.
    """

    seen: dict[tuple[str, str], Observed | ModelpackError] = field(default_factory=lambda: {("default", "mpg"): SEEN})
    rollouts: list[dict[str, Any]] = field(default_factory=lambda: [rollout()])
    told: tuple[Event, ...] = ()
    broken: dict[str, ModelpackError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def show(self, **changes: Any) -> None:
        self.seen["default", "mpg"] = replace(SEEN, **changes)

    def canaries(self, namespace: str | None = None) -> tuple[tuple[str, str], ...]:
        self._fail("canaries")
        return tuple(each for each in self.seen if namespace in (None, each[0]))

    def observe(self, namespace: str, name: str) -> Observed:
        found = self.seen.get((namespace, name), NotFoundError(f"{namespace}/{name}", "is not there"))
        if isinstance(found, ModelpackError):
            raise found
        return found

    def events(self, namespace: str, name: str) -> tuple[Event, ...]:
        self._fail("events")
        return self.told

    def proxied(self, namespace: str, service: str, port: str, path: str) -> bytes:
        self._fail("proxied")
        self.asked.append(f"{namespace}/{service}:{port}{path}")
        found = next((each for each in self.rollouts if path.endswith(f"/{each['id']}")), None)
        if found:
            return json.dumps(found).encode()
        return json.dumps({"rollouts": [{**each, "events": []} for each in self.rollouts]}).encode()

    def _fail(self, method: str) -> None:
        if method in self.broken:
            raise self.broken[method]
