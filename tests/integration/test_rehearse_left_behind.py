"""However a rehearsal ends, none of its processes outlives it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modelpack.rehearse.gate import start_gate
from modelpack.rehearse.processes import Processes
from modelpack.rehearse.state import State

# A rehearsal as a program: initializes with v1 where needed, then holds v2 at its first weight for ever.
PROGRAM = """
import sys
from pathlib import Path
from modelpack.rehearse.session import Rehearsal, Settings
from modelpack.rehearse.state import State
from tests.fakes import serving
from tests.fakes.scripted_gate import scripted_gate
from modelpack.cli.rehearse import _terminable

shelf = serving.Shelf()
with _terminable() as check, scripted_gate(lambda hook, body: hook in ("confirm-rollout", "pre-rollout")) as gate:
    for version in ("v1", "v2"):
        settings = Settings((), 0, 25, 60, gate.url)
        rehearsal = Rehearsal(
            serving.plan(version), serving.image(version), "c0ffee", State(Path(sys.argv[1])), settings,
            unpack=shelf.unpack, export=shelf.export, check=check,
            watch=lambda moment: print(moment.message, flush=True),
        )
        with rehearsal:
            rehearsal.run()
"""


def left_behind(state: Path, *, but: int = 0) -> list[str]:
    """Processes that have to do with a state folder, after a moment for them to end."""
    until = time.monotonic() + 8
    while (found := _processes(state, but)) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def _processes(state: Path, but: int) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if folder.name != str(but) and (str(state) in words or str(state) in str((folder / "cwd").readlink())):
                found.append(words)
    return found


@pytest.fixture
def running(tmp_path: Path) -> Callable[[], subprocess.Popen[str]]:
    def start() -> subprocess.Popen[str]:
        words = [sys.executable, "-c", PROGRAM, str(tmp_path / "state")]
        program = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=Path.cwd())
        assert program.stdout is not None
        for line in program.stdout:
            if line.startswith("Halt advancement"):  # primary, canary and Envoy are up
                assert len(_processes(tmp_path / "state", program.pid)) == 3
                return program
        raise AssertionError("the rehearsal ended early")

    return start


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_and_the_state_can_be_used_again(
    running: Callable[[], subprocess.Popen[str]], tmp_path: Path, number: signal.Signals
) -> None:
    for _ in range(2 if number is signal.SIGKILL else 1):
        program = running()
        os.kill(program.pid, number)
        output, _ = program.communicate(timeout=20)
        assert program.returncode != 0
        if number is not signal.SIGKILL:
            assert output.rstrip().endswith("KeyboardInterrupt")
        assert left_behind(tmp_path / "state") == []


def test_a_rehearsals_gate_is_its_own(tmp_path: Path) -> None:
    elsewhere = {
        "MODELPACK_GATE_DATABASE": "postgresql://127.0.0.1:1/shared",
        "MODELPACK_GATE_TOKENS": "ada=" + 24 * "a",
    }
    (tmp_path / "logs").mkdir()
    with Processes() as processes:
        gate = start_gate(processes, State(tmp_path), {**os.environ, **elsewhere})
        assert gate.rollout("default", "mpg", "c1") is None  # asked without a token
    assert (tmp_path / "gate.sqlite").is_file()
