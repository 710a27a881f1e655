"""What a local run's files say of it, whoever wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelpack.errors import RefusedError
from modelpack.registry import Via
from modelpack.runs import keeper
from modelpack.runs.local import Local
from modelpack.training.run import Result, Seen, State
from tests.fakes.training import run

DONE = Seen(State.SUCCEEDED, "fine", 1.0, 2.0, Result(True, "fine", "r/line:v2@sha256:ab"))
BROKEN = Seen(State.FAILED, "fit.py: ended with exit code 1", 1.0, 2.0)
AWAY = Seen(State.FAILED, "registry: is away", 1.0, 2.0, retryable=True)


def world(tmp_path: Path, ended: object, seen: Seen | None = None, log: str = "") -> Local:
    local = Local(tmp_path, Via())
    folder = local.place(run())
    folder.put_run(run())
    if ended is not None:
        (folder.path / keeper.ENDED).write_text(ended if isinstance(ended, str) else json.dumps(ended))
    if seen is not None:
        folder.put_seen(seen)
    folder.log.write_text(log)
    return local


def end(code: int, why: str = "") -> dict[str, object]:
    return {"started": 10.0, "ended": 20.0, "code": code, "why": why}


@pytest.mark.parametrize(
    ("ended", "seen", "state", "message", "retryable"),
    [
        (end(0), DONE, State.SUCCEEDED, "fine", False),
        (end(4), DONE, State.SUCCEEDED, "fine", False),
        (end(2), BROKEN, State.FAILED, "exit code 1", False),
        (end(5), AWAY, State.FAILED, "is away", True),
        (end(1), None, State.FAILED, "ended with exit code 1: the last words", False),
        (end(-9), BROKEN, State.FAILED, "SIGKILL, out of memory perhaps", True),
        (end(-15, "cancelled"), None, State.CANCELLED, "was cancelled", False),
        (end(-15, "timeout"), DONE, State.FAILED, "took longer than it may, 10 s", False),
        (None, DONE, State.LOST, "left no result", True),
        ("no json", DONE, State.LOST, "left no result", True),
        ({"code": "x", "started": None, "why": []}, None, State.FAILED, "exit code 0: the last words", False),
    ],
)
def test_how_it_stands(
    tmp_path: Path, ended: object, seen: Seen | None, state: State, message: str, retryable: bool
) -> None:
    found = world(tmp_path, ended, seen, "first\nthe last words\n\n").look(run())
    assert (found.state, found.retryable) == (state, retryable)
    assert message in found.message


def test_files_that_are_no_run_are_none(tmp_path: Path) -> None:
    local = world(tmp_path, end(0), DONE)
    for name, text in (("a", "{}"), ("b", "["), ("c", '{"parameters": 1}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
    assert local.runs() == (run(),)


def test_what_goes_on_is_neither_forgotten_nor_started_again(tmp_path: Path) -> None:
    import fcntl

    local = world(tmp_path, None)
    with local.place(run()).lock.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert local.look(run()).state is State.RUNNING
        with pytest.raises(RefusedError, match="still goes on"):
            local.remove(run())
    assert local.look(run()).state is State.LOST
