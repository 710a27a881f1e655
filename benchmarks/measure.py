"""Runs one command and measures what it costs: time, CPU, memory and disk, its helpers and its daemon included."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
_TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE_SECONDS = 0.1


@dataclass(frozen=True)
class Cost:
    """Wall and CPU (user and system) in seconds; `rss` of the largest process and `disk` at its peak in bytes."""

    wall: float
    cpu: float
    rss: int = 0
    disk: int = 0


class FailedError(Exception):
    """A command that was to be measured failed; carries the end of its output."""


@dataclass(frozen=True)
class Daemon:
    """A process tree that works for the command, and the folder where it keeps its data."""

    pid: int
    data: Path


def run(
    argv: Sequence[str],
    scratch: Path,
    *,
    env: Mapping[str, str] | None = None,
    daemon: Daemon | None = None,
    within: float = 900,
) -> Cost:
    """Run a command that writes nowhere but below `scratch`, and to its daemon's data.

    Raises FailedError if it fails or takes longer than `within`
    seconds.
    """
    helper = daemon.pid if daemon else 0
    before = _tree_cpu(helper)
    output = scratch / "output.log"
    watch = _Watch([scratch, daemon.data] if daemon else [scratch])
    with output.open("wb") as out:
        start = time.monotonic()
        process = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=scratch, start_new_session=True
        )
        watch.start([process.pid, helper])
        late = threading.Timer(within, os.killpg, (process.pid, signal.SIGKILL))
        late.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            late.cancel()
        wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    watch.stop()
    if process.returncode:
        tail = output.read_text(errors="replace")[-2000:]
        raise FailedError(f"{' '.join(argv)} ended with {process.returncode}:\n{tail}")
    cpu = used.ru_utime + used.ru_stime + _tree_cpu(helper) - before
    return Cost(wall, cpu, watch.rss, watch.disk)


def median(costs: Iterable[Cost]) -> Cost:
    """Each quantity's own median."""
    every = list(costs)
    return Cost(
        wall=statistics.median(each.wall for each in every),
        cpu=statistics.median(each.cpu for each in every),
        rss=int(statistics.median(each.rss for each in every)),
        disk=int(statistics.median(each.disk for each in every)),
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as they need; names to the left, numbers to the right."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    )


class _Watch:
    """Samples how much some folders have grown, and the peak memory of the largest process of some trees.

    Not ru_maxrss: it includes what the benchmark itself held when it started the process (Linux, getrusage(2)).
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders, self._pids = folders, list[int]()
        self._base = sum(map(_allocated, folders))
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.disk = self.rss = 0

    def start(self, pids: list[int]) -> None:
        self._pids = pids
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()
        self._sample()

    def _run(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        self.disk = max(self.disk, sum(map(_allocated, self._folders)) - self._base)
        self.rss = max(self.rss, *map(_tree_rss, self._pids))


def _allocated(folder: Path) -> int:
    """Bytes that the regular files below a folder take on its own file system (not what is mounted below it)."""
    total, folders, device = 0, [os.fspath(folder)], os.stat(folder).st_dev  # noqa: PTH116 - scandir's strings
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if status.st_dev != device:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        total += status.st_blocks * 512 // status.st_nlink
        except OSError:
            continue  # gone meanwhile
    return total


def _tree(pid: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found = [pid]
    for each in found:
        found.extend(children.get(each, ()))
    return found


def _tree_cpu(pid: int) -> float:
    """CPU seconds of a process tree, those of ended children included."""
    total = 0
    for each in _tree(pid) if pid else ():
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime: proc(5)
    return total / _TICKS


def _tree_rss(pid: int) -> int:
    """Peak resident bytes of the largest process of a tree."""
    peaks = [0]
    for each in _tree(pid) if pid else ():
        try:
            lines = Path(f"/proc/{each}/status").read_text().splitlines()
        except OSError:
            continue
        peaks += [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return max(peaks)
