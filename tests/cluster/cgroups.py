"""The cluster's own cgroup in every hierarchy of the machine: version 1, 2, or both."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.cluster.layout import NAME

_ROOT = Path("/sys/fs/cgroup")
_SUPERVISOR = "system"  # beside the kubelet's `kubepods`
_GONE_SECONDS = 20.0


def make() -> None:
    """Make them, with a leaf for the supervisor and its components. Pods get theirs from the kubelet."""
    for hierarchy in _hierarchies():
        own = hierarchy / NAME
        own.mkdir(exist_ok=True)
        _inherit_cpuset(own)
        (own / _SUPERVISOR).mkdir(exist_ok=True)
        _inherit_cpuset(own / _SUPERVISOR)


def join() -> None:
    """Put this process, and so all that it starts, into them."""
    for hierarchy in _hierarchies():
        (hierarchy / NAME / _SUPERVISOR / "cgroup.procs").write_text("0")


def members() -> set[int]:
    """Every process in them."""
    found: set[int] = set()
    for own in _own():
        for each in (own, *own.rglob("*/")):
            with suppress(OSError):
                found.update(int(pid) for pid in (each / "cgroup.procs").read_text().split())
    return found


def remove() -> None:
    """Kill what is in them, and remove them. Raises TimeoutError if something does not go."""
    until = time.monotonic() + _GONE_SECONDS
    while _own():
        for pid in members():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for own in _own():
            for each in sorted((*own.rglob("*/"), own), key=lambda path: -len(path.parts)):
                with suppress(OSError):
                    each.rmdir()
        if _own() and time.monotonic() > until:
            raise TimeoutError(f"these do not go: {', '.join(map(str, _own()))}; processes {sorted(members())}")
        time.sleep(0.05)


def _own() -> list[Path]:
    return [each / NAME for each in _hierarchies() if (each / NAME).is_dir()]


def _hierarchies() -> Iterator[Path]:
    """Version 2 has its files at the root, version 1 a folder for each controller; both may be there."""
    if (_ROOT / "cgroup.procs").exists():
        yield _ROOT
    else:
        for each in sorted(_ROOT.iterdir()):
            if not each.is_symlink() and (each / "cgroup.procs").exists():
                yield each


def _inherit_cpuset(folder: Path) -> None:
    """Version 1 refuses members until these are set."""
    for name in ("cpuset.mems", "cpuset.cpus"):
        path = folder / name
        if path.exists() and (folder.parent / name).exists() and not path.read_text().strip():
            path.write_text((folder.parent / name).read_text())
