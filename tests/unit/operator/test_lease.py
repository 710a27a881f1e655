"""Who holds the Lease, with an API server in memory and clocks that a test moves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from modelpack.errors import RemoteError
from modelpack.operator.api import Api
from modelpack.operator.lease import LASTS, RENEW, Lease


@dataclass
class Leases:
    """One Lease with Kubernetes' compare-and-swap. `before` runs before a write."""

    lease: dict[str, Any] | None = None
    away: bool = False
    version: int = 0
    before: list[Any] = field(default_factory=list)

    def request(self, method: str, path: str, body: Any, kind: str) -> tuple[int, bytes]:
        if self.away:
            raise RemoteError("the API server", "cannot be reached")
        if method == "GET":
            return (200, json.dumps(self.lease).encode()) if self.lease else (404, b"{}")
        if self.before:
            self.before.pop()()
        known = (body["metadata"].get("resourceVersion"), method == "POST")
        if known != ((str(self.version), False) if self.lease else (None, True)):
            return 409, b'{"message": "the object has been modified"}'
        self.version += 1
        self.lease = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
        return 200, json.dumps(self.lease).encode()


@dataclass
class World:
    server: Leases
    executor: ThreadPoolExecutor
    now: float = 1000.0

    def operator(self, name: str) -> Lease:
        return Lease(Api(self.server.request), "modelpack", "operator", name, lambda: self.now, self.executor)


@pytest.fixture(name="world")
def _world() -> Iterator[World]:
    with ThreadPoolExecutor(1) as executor:
        yield World(Leases(), executor)


def turn(*leases: Lease) -> list[bool]:
    """Each keeps it once; whether each holds it then."""

    async def once(lease: Lease) -> None:
        task = asyncio.create_task(lease.keep())
        await asyncio.sleep(0.02)
        task.cancel()

    for each in leases:
        asyncio.run(once(each))
    return [each.held() for each in leases]


def test_the_first_one_has_it_and_keeps_it(world: World) -> None:
    a, b = world.operator("a"), world.operator("b")
    for _ in range(10):
        assert turn(a, b) == [True, False]
        world.now += RENEW


def test_another_one_takes_over_when_it_did_not_change_for_as_long_as_it_lasts(world: World) -> None:
    a, b = world.operator("a"), world.operator("b")
    assert turn(a, b) == [True, False]
    world.now += LASTS - 1
    assert turn(b) == [False] and not a.held(), "the old one has stopped by itself before"
    world.now += 2
    assert turn(b) == [True]
    assert turn(a) == [False]
    assert world.server.lease and world.server.lease["spec"]["leaseTransitions"] == 2


def test_a_clean_end_hands_it_over_at_once(world: World) -> None:
    a, b = world.operator("a"), world.operator("b")
    assert turn(a, b) == [True, False]
    asyncio.run(a.release())
    assert turn(b) == [True] and not a.held()


def test_whoever_cannot_renew_it_stops_before_another_may_begin(world: World) -> None:
    a, b = world.operator("a"), world.operator("b")
    turn(a, b)
    world.server.away = True
    held = []
    while world.now < 1000.0 + LASTS:
        held.append(turn(a)[0])
        world.now += RENEW
    assert held[0] and not held[-1]


def test_of_two_that_write_at_once_one_has_it(world: World) -> None:
    a, b = world.operator("a"), world.operator("b")
    world.server.before.append(lambda: beside(b))
    assert turn(a) == [False]
    assert b.held()


def beside(lease: Lease) -> None:
    """Its turn, in the middle of another one's."""
    with ThreadPoolExecutor(1) as loop, ThreadPoolExecutor(1) as lease.executor:
        loop.submit(turn, lease).result()
