"""Starting, watching and ending the processes of a rehearsal, so that none is left however it ends.

Each runs in a process group of its own; groups are ended by TERM, then KILL. A guard process does the same if the
rehearsal itself is killed (see `guard`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from modelpack.errors import NotFoundError, RemoteError
from modelpack.rehearse import guard

# The new group makes itself known to the guard, lets go of its pipe, and becomes the command.
_ENROLL = 'echo "$$" >&0 && exec "$@" </dev/null'
_TAIL_BYTES = 8192


class Process:
    """One running program and its log."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self.pid = popen.pid
        self._popen = popen

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative numbers are signals."""
        return self._popen.poll()

    def check(self) -> None:
        """Raises RemoteError with the end of its log if it has ended by itself."""
        code = self.exit_code
        if code is not None:
            how = f"was killed by signal {-code}" if code < 0 else f"ended by itself with exit code {code}"
            raise RemoteError(self.name, f"{how}: {self.last_words()}", f"its log is {self.log}")

    def last_words(self, lines: int = 3) -> str:
        """The last lines of its log, on one line."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            text = ""
        kept = [line.strip() for line in text.splitlines() if line.strip()][-lines:]
        return " | ".join(kept) or "it logged nothing"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def gone(self) -> bool:
        """No process of the group is left."""
        self._popen.poll()
        return guard.ended(self.pid)


class Processes:
    """Every process of one rehearsal. Use as a context: leaving it ends them all."""

    def __init__(self, grace: float = 5.0) -> None:
        self._grace = grace
        self._running: list[Process] = []
        self._ending: dict[Process, float] = {}  # and when they are killed

    def __enter__(self) -> Processes:
        reading, self._pipe = os.pipe()
        try:
            script = [sys.executable, "-I", "-S", str(guard.__file__)]
            self._guard = subprocess.Popen(script, stdin=reading, start_new_session=True)
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(reading)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for process in self._running.copy():
                self.end(process)
            while self._ending:
                self._reap()
                time.sleep(0.01)
        finally:
            os.close(self._pipe)
            self._guard.wait()

    def start(self, name: str, words: Sequence[str], environ: Mapping[str, str], folder: Path, log: Path) -> Process:
        """Start a program in `folder`; its output goes to `log`. Raises NotFoundError if there is no such program."""
        program = shutil.which(words[0], path=environ.get("PATH", os.defpath))
        if program is None and not (folder / words[0]).is_file():
            raise NotFoundError(
                name, f"there is no program {words[0]!r} on this machine", "install it, or name another"
            )
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            popen = subprocess.Popen(
                ["sh", "-c", _ENROLL, "sh", *words],
                stdin=self._pipe,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environ),
                cwd=folder,
                start_new_session=True,
            )
        process = Process(name, popen, log)
        self._running.append(process)
        return process

    def end(self, process: Process) -> None:
        """Ask a process to end; returns at once. One that does not within the grace is killed."""
        process.signal(signal.SIGTERM)
        self._running.remove(process)
        self._ending[process] = time.monotonic() + self._grace

    def check(self) -> None:
        """Look at every process. Raises RemoteError if one has ended by itself."""
        self._reap()
        for process in self._running:
            process.check()

    def _reap(self) -> None:
        for process, deadline in tuple(self._ending.items()):
            if process.gone() or time.monotonic() > deadline + self._grace:  # what survives KILL is the kernel's
                os.write(self._pipe, f"-{process.pid}\n".encode())
                del self._ending[process]
            elif time.monotonic() > deadline:
                process.signal(signal.SIGKILL)


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
