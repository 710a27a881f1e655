"""The process that keeps a local run: it outlives whoever started it, and nothing of the run outlives it.

It holds the lock that tells that the run lives, ends the run when its time is up or somebody asks for it, bounds its
log, and writes down how it ended. Run as `python -m modelpack.runs.keeper FOLDER SECONDS`. Its child's standard input
is a pipe that only the keeper holds: should the keeper be killed, the child sees it close and ends its whole group.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread
from typing import IO

KEPT = "MODELPACK_KEPT"
"""Tells a step that its standard input is a keeper's pipe."""
LOCK = "MODELPACK_LOCK"
"""The number of the lock's file descriptor, which is held by being open."""
STARTED, ENDED, CANCEL = "started.json", "ended.json", "cancel"
LOG, LOG_BEFORE = "log.txt", "log.1.txt"
LOG_BYTES = 4 << 20
"""A log longer than this starts anew, and the one before it is kept: what went wrong stands at the end."""
GRACE = 10.0
"""Seconds between asking a run to end and killing it."""
_LOOK = 0.3  # seconds
_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36  # prctl(2)


def main(folder: Path, seconds: float, words: list[str]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: (folder / CANCEL).touch())
    shield()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # what leaves the run's group becomes ours when its parent ends
    child = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, KEPT: "1"},
        start_new_session=True,
        pass_fds=[int(os.environ[LOCK])],
    )
    began = time.time()
    _write(folder / STARTED, {"started": began, "group": child.pid})
    assert child.stdout is not None
    copying = Thread(target=_copy, args=(child.stdout, folder), daemon=True)
    copying.start()
    why = _wait(child, folder, time.monotonic() + seconds)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)  # whatever the run left behind
    code = child.wait()
    _sweep(time.monotonic() + GRACE)
    copying.join(GRACE)
    _write(folder / ENDED, {"started": began, "ended": time.time(), "code": code, "why": why})


def _wait(child: subprocess.Popen[bytes], folder: Path, until: float) -> str:
    """Wait for the end; why it was brought about, "" if it came by itself."""
    why = ""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_LOOK)
            return why
        now = time.monotonic()
        if why and now > until:
            return why
        if not why and ((folder / CANCEL).exists() or now > until):
            why = "cancelled" if (folder / CANCEL).exists() else "timeout"
            until = now + GRACE
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)


def _sweep(until: float) -> None:
    """Kill the orphans that became ours, and theirs in turn."""
    while time.monotonic() < until:
        for each in _children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(each, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.02)


def _children() -> list[int]:
    """Our child processes, where Linux' /proc tells: proc_pid_stat(5)."""
    found = []
    for each in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int(each.read_bytes().rpartition(b")")[2].split()[1]) == os.getpid():
                found.append(int(each.parent.name))
    return found


def _copy(output: IO[bytes], folder: Path) -> None:
    """Copy into the log. A disk that takes no more keeps nobody from writing: that would stop the run."""
    while piece := os.read(output.fileno(), 1 << 16):
        with contextlib.suppress(OSError):
            log = folder / LOG
            if log.exists() and log.stat().st_size > LOG_BYTES:
                log.replace(folder / LOG_BEFORE)
            with log.open("ab") as file:
                file.write(piece)


def _write(path: Path, value: dict[str, object]) -> None:
    part = path.with_suffix(".part")
    with contextlib.suppress(OSError):  # a full disk: the run counts as lost then, and may be tried again
        part.write_text(json.dumps(value))
        part.replace(path)


def shield() -> None:
    """Keep programs of the same user from reading our environment, with its logins, in /proc (Linux)."""
    _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(option, value, 0, 0, 0)


def guard() -> None:
    """In a kept step: end the whole group when the keeper is gone. Does nothing anywhere else."""
    if not os.environ.pop(KEPT, ""):
        return

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.killpg(0, signal.SIGKILL)

    Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    place = Path(sys.argv[1])
    main(place, float(sys.argv[2]), [sys.executable, "-m", "modelpack", "step", "all", "--folder", str(place)])
