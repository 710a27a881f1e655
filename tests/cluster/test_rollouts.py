"""Rollouts on a real cluster: modelpack writes Git, Flux applies it, Flagger asks the gate, Envoy splits traffic.

Scenarios that leave others alone run side by side; those that break what all share run after them, one by one.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.cluster.environment import Environment
from tests.cluster.scenarios import INTERVAL, RATE, ROLLOUT, SIDE_BY_SIDE, given_up_soon
from tests.cluster.scene import Scene
from tests.cluster.world import Watcher, World, wait, world

pytestmark = pytest.mark.xdist_group("cluster")

AT_ONCE = 4  # scenarios


@pytest.fixture(name="world", scope="module")
def _world(cluster: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with Watcher(cluster) as watcher:
        found = world(cluster, tmp_path_factory.mktemp("scenes"), watcher)
        yield found
        found.clean_up()


# -- what is under way before a test asks for it


def _for_a_gate_that_is_down(world: World) -> tuple[Scene, Scene]:
    """One that it has to decide about, and one that fails without it."""
    asked, unseen = Scene(world, "asked"), Scene(world, "unseen")
    asked.serve()
    asked.build("v2")
    unseen.spoil("v3")
    unseen.serve(lambda checkout: given_up_soon(unseen, checkout))
    unseen.build("v3")
    return asked, unseen


def _for_parts_that_are_killed(world: World) -> tuple[Scene, Scene]:
    good, bad = Scene(world, "killsgood"), Scene(world, "killsbad")
    for scene, first, then in ((good, "v1", "v2"), (bad, "v2", "v4")):
        scene.serve(None, first)
        scene.build(then)
    return good, bad


UNDER_WAY: Mapping[str, Callable[[World], Any]] = {
    **{each.__name__: each for each in SIDE_BY_SIDE},
    "test_a_gate_that_is_down_decides_nothing": _for_a_gate_that_is_down,
    "test_each_part_killed_at_a_random_moment": _for_parts_that_are_killed,
}


@pytest.fixture(scope="module")
def runs(world: World, request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Any]]]:
    """By scenario or test: those that are to be tested, started together."""
    wanted = {item.callspec.id if hasattr(item, "callspec") else item.name for item in request.session.items}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(start, world) for name, start in UNDER_WAY.items() if name in wanted}


@pytest.fixture
def scenes(runs: dict[str, Future[Any]], request: pytest.FixtureRequest) -> tuple[Scene, Scene]:
    """What a test needs that has to be alone: both serve, the next version is built, and no scenario runs any more."""
    for each in runs.values():
        each.exception()
    found: tuple[Scene, Scene] = runs[request.node.name].result()
    return found


# -- side by side


@pytest.mark.parametrize("scenario", [each.__name__ for each in SIDE_BY_SIDE])
def test_side_by_side(scenario: str, runs: dict[str, Future[Any]]) -> None:
    runs[scenario].result()


# -- one by one: they break what all share


def test_a_gate_that_is_down_decides_nothing(world: World, scenes: tuple[Scene, Scene]) -> None:
    asked, unseen = scenes
    with asked.load(RATE):
        started = time.time()
        assert asked.bump("v2").code == 0
        wait("v2 under traffic", lambda: asked.history[-1].weight > 0, ROLLOUT)
        before = asked.rollouts()[0]
        world.environment.scale("modelpack", "modelpack-gate", 0)
        world.environment.scale("modelpack", "modelpack-settle", 0)  # what failed stays in Git for some more looks
        away = time.monotonic()
        assert unseen.bump("v3").code == 0
        unseen.wait_for("Failed", ROLLOUT, started)
        with pytest.raises(requests.RequestException):
            unseen.rollouts()
        time.sleep(max(0.0, 4 * INTERVAL - (time.monotonic() - away)))  # longer than threshold x interval
        assert {each.phase for each in asked.history if each.at > started} == {"Progressing"}
        assert asked.history[-1].failed_checks == 0
        assert unseen.named() == "v3"
        world.environment.scale("modelpack", "modelpack-gate", 1)
        asked.wait_for("Succeeded", ROLLOUT, started)
    after = asked.rollouts()[0]
    assert (after["id"], after["state"]) == (before["id"], "promoted")
    (rollout,) = unseen.rollouts()
    world.environment.scale("modelpack", "modelpack-settle", 1)
    wait("the revert", lambda: unseen.named() == "v1", 60)
    assert (rollout["state"], rollout["reason"]) == ("failed", "it was over before the gate was asked")
    assert [each["image"] for each in unseen.rejected()] == [rollout["image"]]


def test_each_part_killed_at_a_random_moment(world: World, scenes: tuple[Scene, Scene]) -> None:
    good, bad = scenes
    seed = int(time.time())
    print(f"seed {seed}")
    draw = random.Random(seed)
    stopping = threading.Event()

    def kill() -> None:
        parts = ["flagger", "gate", "envoy", "registry"]
        draw.shuffle(parts)
        for part in parts:
            if not stopping.wait(draw.uniform(3, 15)):
                print(f"{time.strftime('%X')} {part} is killed")
                world.environment.kill(part)

    killer = threading.Thread(target=kill)
    started = time.time()
    with good.load(RATE), bad.load(RATE):
        assert good.bump("v2").code == 0
        assert bad.bump("v4").code == 0
        killer.start()
        try:
            good.wait_for("Succeeded", ROLLOUT, started)
            bad.wait_for("Failed", ROLLOUT, started)
        finally:
            stopping.set()
            killer.join()
    wait("the revert", lambda: bad.named() == "v2", 60)
    assert good.named() == "v2"
