"""Killed anywhere, left alone by everybody, two at once, a clock that jumps: one run, one commit, and it converges."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from modelpack import lineage
from modelpack.errors import IntegrityError, ModelpackError, RemoteError
from modelpack.gitops import Repository
from modelpack.reconcile import loop
from modelpack.reconcile.rollouts import Gate
from modelpack.reconcile.state import FILE, Memory, alone
from modelpack.training.run import Seen, State
from tests.fakes import training
from tests.fakes.gate import fake_gate
from tests.fakes.git_serving import git
from tests.fakes.reconcile import IMAGE, FakeBackend, Scene, lines

BOUNDARIES: tuple[Callable[..., Any], ...] = (
    Memory.claim,
    Memory.note,
    Memory.tell,
    FakeBackend.start,
    Repository.commit,
    Repository.publish,
    lineage.put_rollout,
    Gate.put_lineage,
)
"""Whatever a round leaves behind: to be killed between two looks is to be killed after the last of these."""


def killed_at(number: int) -> Callable[[FrameType, str, Any], None]:
    """A profiler that kills this process when the n-th boundary is reached: before it (a call), or after (a return)."""
    codes: set[CodeType] = {each.__code__ for each in BOUNDARIES}
    left = [number]

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "return") and frame.f_code in codes:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    return profile


def apart(work: Callable[[], object], number: int = 0) -> BaseProcess:
    """A process that does it; one that is killed at a boundary if a number says which."""

    def run() -> None:
        if number:
            sys.setprofile(killed_at(number))
        work()
        sys.setprofile(None)
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def test_killed_at_every_boundary_it_converges_with_one_run_and_one_commit(tmp_path: Path) -> None:
    number, ended = 0, False
    while not ended:
        number += 1
        scene = Scene(tmp_path / str(number))
        scene.backend.automatic = True
        process = apart(scene.rest, number)
        process.join(120)
        assert process.exitcode in (0, -signal.SIGKILL)
        ended = process.exitcode == 0
        scene.rest()
        assert scene.started == [scene.backend.runs("line")[0].id], f"killed at boundary {number}"
        assert (scene.named(), scene.log()) == ("v1", ["line: v0 -> v1", "the model"])
        with scene.memory() as memory:
            assert [each.state for each in memory.runs(IMAGE.name)] == [State.SUCCEEDED]
        assert not list(scene.worktree.rglob("*.lock"))
    assert number > 10


def test_killed_while_it_records_a_rollout_is_kept_once(tmp_path: Path) -> None:
    number, ended = 0, False
    with fake_gate() as gate:
        scene = Scene(tmp_path, gate=gate.url)
        scene.backend.automatic = True
        scene.rest()
        image = str(lineage.versions(IMAGE, scene.via)[0].reference)
        while not ended:
            number += 1
            about = {"model": "line", "image": image, "primary_image": "", "verdict": "accept"}
            gate.add(**about, state="promoted", phase="Succeeded", ended=float(number))
            gate.add(**about, state="active", phase="Progressing", ended=None)
            gate.lineage.clear()
            process = apart(scene.round, number)
            process.join(60)
            ended = process.exitcode == 0
            scene.round()
            kept = lineage.versions(IMAGE, scene.via)[0].rollouts
            assert sorted(each["id"] for each in kept) == sorted(f"r{2 * each - 1}" for each in range(1, number + 1))
            assert scene.round(["record"]) == []
    assert number > 5


@pytest.mark.parametrize("number", range(2))
def test_two_reconcilers_at_once_start_one_run_and_make_one_commit(tmp_path: Path, number: int) -> None:
    scene = Scene(tmp_path)
    scene.backend.automatic = number % 2 == 0

    def work() -> None:
        with alone(scene.root / "home"):
            scene.round()

    for _ in range(2):
        processes = [apart(work) for _ in range(2)]
        for each in processes:
            each.join(60)
            assert each.exitcode == 0
        for run in scene.backend.runs("line"):
            scene.backend.automatic = True
            scene.backend.look(run)
    scene.rest()
    assert len(scene.started) == 1
    assert scene.log() == ["line: v0 -> v1", "the model"]


def test_two_reconcilers_with_memories_of_their_own_start_one_run_and_make_one_commit(tmp_path: Path) -> None:
    """Two machines, one backend: a run's id follows from what it is about."""
    scene = Scene(tmp_path)

    def work(home: str) -> list[object]:
        with Memory(scene.root / home) as memory:
            return list(loop.reconcile_once(scene.rooms, memory))

    work("one")
    work("other")
    assert len(scene.started) == 1
    scene.end()
    processes = [apart(lambda home=home: work(home)) for home in ("one", "other")]  # type: ignore[misc]
    for each in processes:
        each.join(60)
        assert each.exitcode == 0
    assert scene.log() == ["line: v0 -> v1", "the model"]
    assert len(scene.started) == 1


def test_a_run_that_is_lost_is_started_again_under_another_name(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.round()
    (scene.root / "backend" / f"{scene.started[0]}.json").unlink()
    ended, waits, _ = scene.round()
    assert (ended.reason, waits.action) == ("v1 lost: nothing is known of it", "waiting")
    scene.now += 61
    assert scene.round()[0].reason == "v2: no run of it has come to an end yet, attempt 2"
    scene.end()
    scene.rest()
    assert (len(scene.started), scene.named()) == (2, "v2")


def test_a_memory_that_is_lost_in_the_middle_of_a_run_starts_no_second_one(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.round()
    for slope in (2.1, 2.2):
        (scene.root / "home" / FILE).unlink()
        scene.change(slope=slope)  # so that another run is called for
        assert [each.action for each in scene.round()] == ["waiting", "nothing"]
    assert len(scene.started) == 1
    scene.end()
    assert lines(scene.round()) == ["train ended", "train started", "deploy committed"]
    scene.end()
    scene.rest()
    assert (len(scene.started), scene.named()) == (2, "v2")


def test_a_broken_memory_is_an_error_and_starts_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    (scene.root / "home").mkdir()
    (scene.root / "home" / FILE).write_bytes(b"broken " * 1000)
    with pytest.raises(IntegrityError, match="move it away"):
        scene.round()
    assert scene.started == []


def away(scene: Scene, what: str) -> Callable[[], None]:
    """Take something away; gives what brings it back."""
    if what == "backend":
        scene.backend.error = RemoteError("backend", "answers 503")
        return lambda: setattr(scene.backend, "error", None)
    if what == "gate":
        before, scene.gate = scene.gate, "http://127.0.0.1:9"
        return lambda: setattr(scene, "gate", before)
    path = scene.root / ("images" if what == "registry" else "repo/.git")
    path.mkdir(exist_ok=True)
    hidden = path.with_name("hidden")
    path.rename(hidden)
    path.write_text("not a folder")

    def back() -> None:
        path.unlink()
        hidden.rename(path)

    return back


@pytest.mark.parametrize("what", ["backend", "gate", "registry", "git"])
def test_what_is_away_is_told_and_nothing_is_done_twice_afterwards(tmp_path: Path, what: str) -> None:
    with fake_gate() as gate:
        scene = Scene(tmp_path, gate=gate.url)
        for step in range(2):
            back = away(scene, what)
            try:
                outcomes = scene.round()
                assert any(each.error and each.error.exit_code == 5 for each in outcomes), (step, outcomes)
            except ModelpackError:
                assert what == "git"
            back()
            scene.round()
            if step == 0:
                scene.end()
        scene.rest()
        assert len(scene.started) == 1
        assert scene.log() == ["line: v0 -> v1", "the model"]


@pytest.mark.parametrize("jump", [-9e8, -3600.0, 9e8, 4e9])
def test_a_clock_that_jumps_in_the_middle_starts_no_more_than_one_run_for_age(tmp_path: Path, jump: float) -> None:
    scene = Scene(tmp_path)
    scene.change({f"{training.FOLDER}/training.yaml": f"{training.TRAINING}propose: commit\nstale: {{age: 7d}}\n"})
    scene.round()
    scene.now += jump
    scene.round()
    scene.end()
    scene.rest()
    assert len(scene.started) == 1
    for _ in range(3):  # there and back, and there again
        jump = -jump
        scene.now += jump
        scene.round()
        for run in scene.backend.runs("line"):
            if not scene.backend.look(run).state.over:
                scene.backend.end(run, passed=True, ended=scene.now)
        scene.rest()
    assert len(scene.started) <= 4
    assert len(set(scene.started)) == len(scene.started)


def test_a_push_that_somebody_overtakes_is_made_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path, propose="pull-request")
    git(scene.root, "clone", "--quiet", scene.location, "other")
    scene.change({f"{training.FOLDER}/training.yaml": f"{training.TRAINING}propose: commit\n"})
    scene.round()
    scene.end()
    hook = Path(scene.location) / "hooks/update"
    other = f"git -C '{scene.location}'"
    script = f"rm '{hook}'; unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY; {other} update-ref refs/heads/main "
    script += f"$({other} -c user.name=a -c user.email=a@b commit-tree -p main -m other 'main^{{tree}}')"
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)
    scene.rest()
    assert scene.log()[:2] == ["line: v0 -> v1", "other"]
    assert len(scene.started) == 1


def test_a_run_that_failed_for_good_waits_for_a_change(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.round()
    scene.put(Seen(State.FAILED, "cell 3, line 1: KeyError"))
    for _ in range(3):
        scene.now += 9e6
        outcomes = scene.round()
    assert outcomes[0].action == "held" and "KeyError; data, code or training.yaml has to change" in outcomes[0].reason
    assert len(scene.started) == 1
