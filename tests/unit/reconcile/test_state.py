"""What a reconciler remembers: one active run of a model, whatever else goes on."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from modelpack.errors import IntegrityError, RefusedError, RemoteError
from modelpack.reconcile.state import FILE, Memory, alone
from modelpack.training.run import Result, Run, Seen, State

RUN = Run("mpg-v2-1", "mpg", "v2", "/repo", "main", "c" * 40, "model-images/mpg", "d2", "c1", "its data changed", 5.0)


def test_a_run_is_remembered_with_all_that_it_takes_to_go_on_with_it(tmp_path: Path) -> None:
    run = replace(RUN, parameters={"depth": 3, "loss": "l2"})
    with Memory(tmp_path / "new") as memory:
        memory.claim("reg/mpg", run, "after v1", b"kind: Training\n")
    with Memory(tmp_path / "new") as memory:
        (found,) = memory.runs("reg/mpg")
        assert (found.run, found.cause, found.training) == (run, "after v1", b"kind: Training\n")
        assert found.state is State.PENDING and memory.runs("reg/other") == ()
        memory.note(run.id, Seen(State.SUCCEEDED, ended=9.0, result=Result(True, "better")))
        memory.removed(run.id)
        (found,) = memory.runs("reg/mpg")
    assert (found.state, found.ended, found.passed, found.removed) == (State.SUCCEEDED, 9.0, True, True)
    assert (found.attempt.id, found.attempt.message, found.attempt.passed) == (run.id, "better", True)


@pytest.mark.parametrize("state", [State.PENDING, State.RUNNING])
def test_a_second_active_run_of_a_model_is_impossible(tmp_path: Path, state: State) -> None:
    with Memory(tmp_path) as one, Memory(tmp_path) as other:
        one.claim("reg/mpg", RUN, "first", b"")
        one.note(RUN.id, Seen(state))
        with pytest.raises(RefusedError, match="has a run under way"):
            other.claim("reg/mpg", replace(RUN, id="other"), "after v1", b"")
        other.claim("reg/tips", replace(RUN, id="another"), "first", b"")
        one.note(RUN.id, Seen(State.FAILED, "no", ended=1.0))
        with pytest.raises(RefusedError):
            other.claim("reg/mpg", RUN, "first", b"")
        other.claim("reg/mpg", replace(RUN, id="other"), "first", b"")
        assert [each.state for each in one.runs("reg/mpg")] == [State.FAILED, State.PENDING]


def test_what_was_told_is_not_told_again(tmp_path: Path) -> None:
    with Memory(tmp_path) as memory:
        assert memory.told("rollout r1") == ""
        memory.tell("rollout r1", "a")
        memory.tell("rollout r1", "b")
        assert memory.told("rollout r1") == "b"


def test_a_broken_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database, but long enough to look like one" * 100)
    with pytest.raises(IntegrityError, match="is broken: file is not a database; move it away"):
        Memory(tmp_path)


@pytest.mark.parametrize("run", ["{}", "[]", "x", '{"parameters": 1}', "[" * 100_000])
def test_a_row_that_is_no_run_is_one_sentence(tmp_path: Path, run: str) -> None:
    Memory(tmp_path).__exit__()
    with sqlite3.connect(tmp_path / FILE) as database:
        columns = "id, subject, cause, run, training, state"
        database.execute(f"INSERT INTO runs ({columns}) VALUES ('a', 's', 'c', ?, x'00', 'pending')", (run,))
    database.close()
    with Memory(tmp_path) as memory, pytest.raises(IntegrityError, match="holds what is no run"):
        memory.runs("s")


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RemoteError, match="name another folder with --state"):
        Memory(tmp_path / "file/state")


def test_only_one_reconciler_works_with_a_folder(tmp_path: Path) -> None:
    with (
        alone(tmp_path / "state"),
        pytest.raises(RemoteError, match="another reconciler"),
        alone(tmp_path / "state", 0.1),
    ):
        raise AssertionError
    with alone(tmp_path / "state", 0.1):
        pass
