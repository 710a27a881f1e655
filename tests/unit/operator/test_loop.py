"""Rounds over objects in memory: who is asked when, and what is called, with an API server that a test scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from modelpack.errors import NotFoundError, RefusedError, RemoteError
from modelpack.operator.loop import Loop
from modelpack.reconcile.answer import Answer, Failure
from modelpack.reconcile.modelsync import Run, State, run_of
from tests.fakes.modelsyncs import body, run

pytest.importorskip("kopf")
YES, NO = Answer(True), Answer(False)


@dataclass
class FakeApi:
    """One ModelSync and its runs. An error under a call's name is raised by it; `between` runs in the middle of one."""

    object: dict[str, Any] = field(default_factory=body)
    runs: dict[str, Run] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    failures: dict[str, Exception] = field(default_factory=dict)
    between: dict[str, Callable[[], None]] = field(default_factory=dict)

    def _begin(self, call: str) -> None:
        self.calls.append(call)
        if call in self.failures:
            raise self.failures[call]

    def write_status(self, sync: Any, status: dict[str, Any]) -> dict[str, Any]:
        self._begin("write_status")
        merged = {**self.object["status"], **status}
        version = str(int(self.object["metadata"]["resourceVersion"]) + 1)
        self.object = {
            **self.object,
            "metadata": {**self.object["metadata"], "resourceVersion": version},
            "status": {key: each for key, each in merged.items() if each is not None},
        }
        written = self.object
        self.between.pop("write_status", lambda: None)()
        return written

    def create_run(self, made: dict[str, Any]) -> None:
        self._begin("create_run")
        found = run_of({**made, "metadata": {**made["metadata"], "uid": "r"}})
        assert found
        self.runs[found.uid] = found

    def delete_run(self, namespace: str, gone: Run) -> None:
        self._begin("delete_run")

    def run_is_there(self, namespace: str, doubted: Run) -> bool:
        self._begin("run_is_there")
        return False


@dataclass
class World:
    api: FakeApi = field(default_factory=FakeApi)
    answer: Answer | Failure = NO
    asked: int = 0
    leads: bool = True
    now: float = 1000.0

    def loop(self) -> Loop:
        async def ask(url: str) -> Answer | Failure:
            self.asked += 1
            return self.answer

        return Loop(
            api=self.api,  # type: ignore[arg-type]
            ask=ask,
            owned=lambda uid: list(self.api.runs.values()),
            leads=lambda: self.leads,
            interval=60.0,
            clock=lambda: self.now,
        )


def play(script: Callable[[Loop], Coroutine[Any, Any, None]], world: World) -> None:
    async def run_it() -> None:
        loop = world.loop()
        task = asyncio.create_task(loop.run())
        try:
            await script(loop)
        finally:
            task.cancel()
            loop.close()

    asyncio.run(run_it())


async def rest(loop: Loop) -> None:
    """Until it has nothing to do at this time."""
    for _ in range(4):
        await asyncio.sleep(0.03)


def test_an_object_at_rest_costs_a_question_a_round_and_no_call() -> None:
    world = World()

    async def script(loop: Loop) -> None:
        loop.saw(world.api.object)
        await rest(loop)
        loop.saw(world.api.object)
        await rest(loop)
        calls = len(world.api.calls)
        for _ in range(5):
            world.now += 67
            loop.look("u-1")
            await rest(loop)
        assert (world.asked, len(world.api.calls) - calls) == (6, 0)

    play(script, world)


def test_a_needed_run_is_claimed_and_created() -> None:
    world = World(answer=YES)

    async def script(loop: Loop) -> None:
        loop.saw(world.api.object)
        await rest(loop)
        assert world.api.calls == ["write_status", "create_run"]
        assert world.api.object["status"]["lastRun"]["number"] == 1

    play(script, world)


def test_who_does_not_lead_does_nothing_until_it_does() -> None:
    world = World(answer=YES, leads=False)

    async def script(loop: Loop) -> None:
        loop.saw(world.api.object)
        await rest(loop)
        assert (world.asked, world.api.calls) == (0, [])
        world.leads = True
        loop.look_at_all()
        await rest(loop)
        assert world.api.calls == ["write_status", "create_run"]

    play(script, world)


def test_what_the_watch_tells_in_the_middle_of_a_write_is_newer_than_its_answer() -> None:
    world = World(answer=NO)

    async def script(loop: Loop) -> None:
        def change() -> None:
            world.api.object = body(world.api.object["status"])
            world.api.object["metadata"] |= {"generation": 2, "resourceVersion": "9"}
            asyncio.run_coroutine_threadsafe(tell(), here).result()

        async def tell() -> None:
            loop.saw(world.api.object)

        here = asyncio.get_running_loop()
        world.api.between["write_status"] = change
        loop.saw(world.api.object)
        await rest(loop)
        assert world.api.object["status"]["observedGeneration"] == 2

    play(script, world)


@pytest.mark.parametrize("error", [RefusedError("pipelineruns", "no"), NotFoundError("namespace", "gone")])
def test_a_run_that_is_refused_is_said(error: Exception) -> None:
    world = World(answer=YES)
    world.api.failures["create_run"] = error

    async def script(loop: Loop) -> None:
        loop.saw(world.api.object)
        await rest(loop)
        (ready,) = (each for each in world.api.object["status"]["conditions"] if each["type"] == "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "CreateFailed")
        world.now += 15
        loop.look("u-1")
        await rest(loop)
        assert world.asked == 1, "it waits longer than an interval would be short"

    play(script, world)


def test_an_api_server_that_is_away_is_tried_again_later() -> None:
    world = World()
    world.api.failures["write_status"] = RemoteError("the API server", "cannot be reached")

    async def script(loop: Loop) -> None:
        loop.saw(world.api.object)
        await rest(loop)
        assert world.api.calls == ["write_status"]
        world.api.failures.clear()
        world.now += 6
        await asyncio.sleep(0.05)
        loop.look("u-1")
        await rest(loop)
        assert world.api.object["status"]["conditions"]

    play(script, world)


def test_an_object_that_is_gone_is_forgotten() -> None:
    world = World()
    world.api.failures["write_status"] = NotFoundError("modelsyncs/mpg", "is not there")

    async def script(loop: Loop) -> None:
        loop.saw(world.api.object)
        await rest(loop)
        world.now += 1000
        loop.look_at_all()
        await rest(loop)
        assert (world.asked, world.api.calls) == (1, ["write_status"])

    play(script, world)


def test_a_run_that_was_not_heard_of_for_long_is_looked_up_once() -> None:
    world = World(answer=YES)
    world.api.runs["r-1"] = run(1)

    async def script(loop: Loop) -> None:
        loop.saw(world.api.object)
        await rest(loop)
        assert "run_is_there" not in world.api.calls and not world.asked
        world.now += 601
        loop.look("u-1")
        await rest(loop)
        assert world.api.calls.count("run_is_there") == 1
        assert world.api.object["status"]["lastRun"]["state"] == State.LOST.value

    play(script, world)


def test_a_service_that_fails_is_asked_less_and_less_often() -> None:
    world = World(answer=Failure("NeedsSyncFailed", "away"))

    async def script(loop: Loop) -> None:
        loop.saw(world.api.object)
        for _ in range(60):
            await asyncio.sleep(0.01)
            world.now += 60
            loop.look("u-1")
        assert 4 <= world.asked <= 12
        assert world.api.calls.count("write_status") == 1

    play(script, world)
