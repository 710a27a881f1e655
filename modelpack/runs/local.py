"""Runs as processes of this machine, which go on when whoever started them ends.

A run's folder says all there is to say: a lock that is held while any of its processes lives, when it started, how it
ended. No process is known by its number, so none is mistaken for another after a restart.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any

from modelpack.errors import ModelpackError, RefusedError, RemoteError
from modelpack.gitops.program import without_login
from modelpack.registry import Via
from modelpack.registry.via import VARIABLE
from modelpack.runs import keeper
from modelpack.training import child
from modelpack.training.context import REPOSITORY
from modelpack.training.definition import Training
from modelpack.training.folder import Folder, read_json
from modelpack.training.run import Run, Seen, State

_PATIENCE = 1.0  # seconds: a look holds the lock for a moment too
_LONGEST_LINE = 500


@dataclass(frozen=True)
class Local:
    """Runs below one folder. `repository` is the location with a login, where there is one in it."""

    folder: Path
    via: Via
    repository: str = ""

    def place(self, run: Run) -> Folder:
        return Folder(self.folder.absolute() / run.id)

    def start(self, run: Run, training: Training) -> None:
        folder = self.place(run)
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
            folder.path.chmod(0o700)  # whoever kept the training.yaml there made it for everybody
        except OSError as error:
            raise RemoteError(folder.path, f"cannot be made: {error.strerror}", "make room and try again") from error
        with _locked(folder, fcntl.LOCK_EX) as lock:
            if lock is None or _read(folder, keeper.STARTED) or _read(folder, keeper.ENDED):
                return
            location = self.repository or run.repository
            shown = without_login(location)
            folder.put_run(replace(run, repository=shown))
            rules = ",".join(f"{prefix}=oci:{where.absolute()}" for prefix, where in self.via.rules)
            told = {VARIABLE: rules, keeper.LOCK: str(lock)}
            if shown != location:
                told[REPOSITORY] = location
            command = [sys.executable, "-m", "modelpack.runs.keeper", str(folder.path), str(training.runs.timeout)]
            try:
                with folder.log.open("ab") as log:
                    process = subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        env={**os.environ, **told},
                        start_new_session=True,
                        pass_fds=[lock],
                    )
            except OSError as error:
                raise RemoteError(folder.path, f"cannot be started: {error.strerror}", "try again") from error
        Thread(target=process.wait, daemon=True).start()  # no zombie while we live

    def look(self, run: Run) -> Seen:
        folder = self.place(run)
        if not folder.run_file.exists():
            return Seen(State.LOST, "nothing is known of it here", retryable=True)
        with _locked(folder, fcntl.LOCK_SH) as lock:
            alive = lock is None
        started = _number(_read(folder, keeper.STARTED), "started")
        seen = folder.seen()
        if alive:
            return Seen(State.RUNNING, seen.message if seen else "", started)
        ended = _read(folder, keeper.ENDED)
        if ended is None:
            self._sweep(folder)
            return Seen(State.LOST, "its processes are gone, and it left no result", started, retryable=True)
        return _outcome(ended, seen, self.log(run))

    def cancel(self, run: Run) -> None:
        folder = self.place(run)
        if not self.look(run).state.over:
            try:
                (folder.path / keeper.CANCEL).touch()
            except OSError as error:
                raise RemoteError(
                    folder.path, f"cannot be written: {error.strerror}", "make room and try again"
                ) from error

    def log(self, run: Run) -> str:
        folder = self.place(run)
        parts = []
        for name in (keeper.LOG_BEFORE, keeper.LOG):
            with contextlib.suppress(OSError), (folder.path / name).open("rb") as file:
                parts.append(file.read(2 * keeper.LOG_BYTES))
        return b"".join(parts).decode(errors="replace")

    def remove(self, run: Run) -> None:
        folder = self.place(run)
        if not self.look(run).state.over:
            raise RefusedError(run.id, "still goes on", "cancel it first")
        shutil.rmtree(folder.path, ignore_errors=True)

    def runs(self, model: str = "") -> tuple[Run, ...]:
        """Those of one model, or all."""
        found = []
        for each in sorted(self.folder.glob("*/run.json")):
            with contextlib.suppress(ModelpackError):
                found.append(Folder(each.parent).run())
        return tuple(run for run in found if model in ("", run.model))

    def _sweep(self, folder: Folder) -> None:
        """End what a killed run's programs left running: those of its group that work in its folder."""
        group = int(_number(_read(folder, keeper.STARTED), "group"))
        if group > 1 and any(_works_in(pid, group, folder.path) for pid in _processes()):
            with contextlib.suppress(OSError):
                os.killpg(group, signal.SIGKILL)


def _outcome(ended: dict[str, Any], seen: Seen | None, log: str) -> Seen:
    """How a run ended, from what its keeper and its last step wrote down."""
    times = (_number(ended, "started"), _number(ended, "ended"))
    code, why = int(_number(ended, "code")), ended.get("why")
    if why == "cancelled":
        return Seen(State.CANCELLED, "was cancelled", *times)
    if why == "timeout":
        return Seen(State.FAILED, f"took longer than it may, {times[1] - times[0]:.0f} s", *times)
    if seen is not None and seen.result is not None and code >= 0:
        return replace(seen, started=times[0], ended=times[1])
    if seen is not None and seen.state is State.FAILED and code > 0:
        return replace(seen, started=times[0], ended=times[1])
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = f": {lines[-1][:_LONGEST_LINE]}" if lines else ""
    return Seen(State.FAILED, f"{child.how(code)}{said}", *times, retryable=code < 0)


@contextmanager
def _locked(folder: Folder, kind: int) -> Iterator[int | None]:
    """The lock's descriptor while it is ours, None where somebody else has it."""
    with folder.lock.open("a") as file:
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                if kind == fcntl.LOCK_EX and time.monotonic() < until:
                    time.sleep(0.05)
                    continue
                yield None
                return
            break
        yield file.fileno()  # closed by us, it stays with whoever inherited it


def _read(folder: Folder, name: str) -> dict[str, Any] | None:
    try:
        value = read_json(folder.path / name)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _number(value: dict[str, Any] | None, key: str) -> float:
    """A number that was written down, 0.0 for none: what trains could write there too."""
    found = (value or {}).get(key)
    return float(found) if isinstance(found, int | float) and abs(found) < 1e12 else 0.0


def _processes() -> Iterator[int]:
    """Every process, where Linux' /proc tells."""
    return (int(each.name) for each in Path("/proc").glob("[0-9]*"))


def _works_in(pid: int, group: int, folder: Path) -> bool:
    try:
        return os.getpgid(pid) == group and Path(f"/proc/{pid}/cwd").resolve().is_relative_to(folder.resolve())
    except OSError:
        return False
