"""The machine's side of the cluster: starting the supervisor in namespaces of its own, the link to it, and the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from tests.cluster import cgroups, images, supervisor
from tests.cluster.components import programs
from tests.cluster.layout import HOST, LINK, NAME, NODE, ROUTED, UPLINK, State
from tests.integration.servers.process import MissingError, ServerError, program

_UP_SECONDS = 600.0
_NAMESPACES = ("--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--net", "--uts", "--ipc")
_ROOT = Path(__file__).parents[2]
Progress = Callable[[str, dict[str, Any]], None]


@contextmanager
def only_one() -> Iterator[None]:
    """For starting and stopping: a machine has one cluster."""
    with FileLock(Path(tempfile.gettempdir()) / f"{NAME}.lock"):
        yield


def running(state: State) -> bool:
    """Whether a supervisor works on this folder."""
    return _supervisor(state) is not None


def components(state: State) -> dict[str, dict[str, Any]]:
    """What the supervisor says of each: state, pid inside, seconds until it was ready, restarts."""
    try:
        found: dict[str, dict[str, Any]] = json.loads(state.status.read_text())
    except FileNotFoundError:
        return {}
    return found


def check() -> None:
    """Raise MissingError where the machine can't have a cluster; builds the programs written in Go."""
    if sys.platform != "linux" or os.geteuid():
        raise MissingError("a Linux machine where this is root", "a virtual machine, or a container with all rights")
    programs()


def up(state: State, progress: Progress = lambda name, how: None) -> bool:
    """Start the cluster and wait until all of it is ready; False if it already ran.

    Raises MissingError where the machine can't, ServerError if a component does not become ready.
    """
    check()
    with only_one():
        if running(state) and _all_ready(state):
            return False
        made = images.layouts()  # out here: in there, much of the machine is covered
        _down(state)
        _start(state, made)
        _wait(state, progress)
        return True


def down(state: State) -> None:
    """End everything and remove all traces. Does no harm if nothing runs."""
    with only_one():
        _down(state)


def _start(state: State, made: Mapping[str, Path]) -> None:
    (state / "logs").mkdir(parents=True)
    state.images.write_text(json.dumps({name: str(layout) for name, layout in made.items()}))
    cgroups.make()
    argv = [program("unshare", "apt-get install util-linux"), *_NAMESPACES]
    argv += [sys.executable, "-m", "tests.cluster.supervisor", str(state.folder)]
    env = {"PATH": os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin", "HOME": str(state.folder)}
    env |= {key: os.environ[key] for key in ("XDG_CACHE_HOME", "TMPDIR") if key in os.environ}
    env.setdefault("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    with state.log("supervisor").open("wb") as out:
        process = subprocess.Popen(
            argv, cwd=_ROOT, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    state.process.write_text(json.dumps({"pid": process.pid, "started": _started(process.pid)}))
    init = _first_child(process)
    for words in (
        f"link add {LINK} type veth peer name {UPLINK} netns {init}",
        f"address add {HOST}/30 dev {LINK}",
        f"link set {LINK} up",
        *(f"route add {each} via {NODE}" for each in ROUTED),
    ):
        subprocess.run([program("ip", "apt-get install iproute2"), *words.split()], check=True)


def _wait(state: State, progress: Progress) -> None:
    until = time.monotonic() + _UP_SECONDS
    told: dict[str, dict[str, Any]] = {}
    while not _all_ready(state):
        now = components(state)
        for name, how in now.items():
            if told.get(name, {}).get("state") != how["state"]:
                progress(name, how)
        told = now
        failed = [name for name, how in now.items() if how["state"] == supervisor.FAILED or how["restarts"] > 10]
        if not running(state):
            raise ServerError(f"the supervisor ended; its log ends:\n{_tail(state.log('supervisor'))}")
        if failed or time.monotonic() > until:
            late = failed or [
                name for name, how in now.items() if how["state"] in (supervisor.STARTING, supervisor.FAILED)
            ]
            tails = "\n".join(f"{state.log(each)} ends:\n{_tail(state.log(each))}" for each in late)
            raise ServerError(f"not ready: {', '.join(late)}\n{tails}")
        time.sleep(0.1)


def _all_ready(state: State) -> bool:
    return bool(found := components(state)) and all(
        each["state"] in (supervisor.READY, supervisor.ENDED) for each in found.values()
    )


def _down(state: State) -> None:
    if pid := _supervisor(state):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # unshare's --kill-child takes the namespaces' first process along
    cgroups.remove()
    subprocess.run([program("ip", "apt-get install iproute2"), "link", "delete", LINK], capture_output=True)
    shutil.rmtree(state.folder, ignore_errors=True)
    if state.folder.exists():
        raise ServerError(f"{state.folder} can't be removed")


def _supervisor(state: State) -> int | None:
    try:
        said = json.loads(state.process.read_text())
        return int(said["pid"]) if _started(said["pid"]) == said["started"] else None
    except (FileNotFoundError, ValueError):
        return None


def _started(pid: int) -> str:
    """When a process started, in clock ticks since the machine did: with the pid it is one process. "" if it ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _first_child(process: subprocess.Popen[bytes]) -> str:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < until:
        if found := children.read_text().split():
            return found[0]
        time.sleep(0.01)
    raise ServerError("unshare made no namespaces here; its words are in the supervisor's log")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else "(there is no log)"
