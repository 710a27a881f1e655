"""Processes end with their whole group, politely or not, and say why they ended by themselves."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from modelpack.errors import NotFoundError, RemoteError
from modelpack.rehearse import guard
from modelpack.rehearse.processes import Process, Processes


def shell(processes: Processes, script: str, folder: Path) -> Process:
    return processes.start("server", ["sh", "-c", script], os.environ, folder, folder / "server.log")


def wait_for(path: Path) -> None:
    until = time.monotonic() + 10
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert path.exists()


@pytest.mark.parametrize(
    "script",
    [
        "touch up; sleep 60",
        "touch up; sleep 60 & sleep 60; wait",
        "trap '' TERM; touch up; while :; do sleep 0.1; done",
    ],
)
def test_leaving_ends_the_whole_group(tmp_path: Path, script: str) -> None:
    with Processes(grace=0.3) as processes:
        process = shell(processes, script, tmp_path)
        wait_for(tmp_path / "up")
        assert not guard.ended(process.pid)
    assert guard.ended(process.pid)


def test_one_that_ends_by_itself_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with Processes() as processes:
        shell(processes, "echo starting; echo no memory >&2; exit 3", tmp_path)
        with pytest.raises(RemoteError, match=r"exit code 3: starting \| no memory"):
            for _ in range(500):
                processes.check()
                time.sleep(0.01)


def test_one_that_was_told_to_end_is_not(tmp_path: Path) -> None:
    with Processes() as processes:
        process = shell(processes, "touch up; sleep 60", tmp_path)
        wait_for(tmp_path / "up")
        processes.end(process)
        until = time.monotonic() + 5
        while not guard.ended(process.pid) and time.monotonic() < until:
            processes.check()
            time.sleep(0.01)
        assert guard.ended(process.pid)


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with Processes() as processes, pytest.raises(NotFoundError, match="no program 'no-such-server'"):
        processes.start("server", ["no-such-server"], os.environ, tmp_path, tmp_path / "log")
