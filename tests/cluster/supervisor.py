"""PID 1 of the cluster's namespaces: `python -m tests.cluster.supervisor STATE`.

Prepares network and mounts, starts every component once those it comes after are ready, starts again what dies, and
says in a file how each of them is. Everything below it ends with it: the kernel sees to that.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import cgroups, node
from tests.cluster.certificates import kubeconfig
from tests.cluster.components import Component, components
from tests.cluster.control_plane import make_certificates
from tests.cluster.layout import API, HOST, NODE, NODE_NAME, UPLINK, State
from tests.integration.servers.process import program

WAITING, STARTING, READY, ENDED, FAILED = "waiting", "starting", "ready", "ended", "failed"
_RESTART_SECONDS = 1.0
_LOOK_SECONDS = 0.1
_REST_SECONDS = 0.5  # between looks once everything is ready
_TRIES = 5  # of a step that has to end with 0
_LINK_SECONDS = 20.0
_PRIVATE = ("/run", "/var/lib", "/var/log")  # runtimes keep their state there, under fixed names


def kill(state: State, name: str) -> None:
    """SIGKILL for a component, from outside. Raises LookupError if it is not running."""
    outer = json.loads(state.process.read_text())["pid"]
    inner = json.loads(state.status.read_text()).get(name, {}).get("pid")
    if not inner:
        raise LookupError(f"no component {name} is running")
    init = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()[0]
    command = [program("nsenter", "apt-get install util-linux"), f"--target={init}", "--pid", "--mount"]
    subprocess.run([*command, "sh", "-c", f"kill -9 {inner}"], check=True)


@dataclass
class _Process:
    component: Component
    state: str = WAITING
    pid: int = 0
    since: float = 0.0  # monotonic: of the last start, or when to start again
    seconds: float = 0.0  # from its first start until it was ready
    restarts: int = 0
    answer: Future[bool] | None = None


class Supervisor:
    """Knows all components; `turn` does what is due and never waits."""

    def __init__(self, state: State, parts: Sequence[Component]) -> None:
        self._state = state
        self._processes = {each.name: _Process(each) for each in parts}
        self._askers = ThreadPoolExecutor(8)
        self._written = ""

    def run(self) -> None:
        while True:
            self.turn(time.monotonic())
            rest = all(each.state in (READY, ENDED) for each in self._processes.values())
            time.sleep(_REST_SECONDS if rest else _LOOK_SECONDS)

    def turn(self, now: float) -> None:
        self._reap(now)
        for each in self._processes.values():
            if each.state == WAITING and now >= each.since and self._may_start(each.component):
                self._start(each, now)
            elif each.state == STARTING and each.component.ready:
                self._ask(each, now)
        self._write()

    def _may_start(self, component: Component) -> bool:
        return all(self._processes[each].state in (READY, ENDED) for each in component.after)

    def _start(self, process: _Process, now: float) -> None:
        component = process.component
        out = os.open(self._state.log(component.name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        env = {**os.environ, **component.env}
        actions = [(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 2)]
        process.pid = os.posix_spawn(component.argv[0], component.argv, env, file_actions=actions, setsid=True)
        os.close(out)
        process.state, process.since = STARTING, now

    def _ask(self, process: _Process, now: float) -> None:
        assert process.component.ready
        if process.answer is None:
            process.answer = self._askers.submit(process.component.ready)
        elif process.answer.done():
            if process.answer.result():
                process.state = READY
                process.seconds = process.seconds or now - process.since
            process.answer = None

    def _reap(self, now: float) -> None:
        """Containers' orphans end here too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            ended = next((each for each in self._processes.values() if each.pid == pid), None)
            if ended:
                self._ended(ended, os.waitstatus_to_exitcode(status), now)

    def _ended(self, process: _Process, code: int, now: float) -> None:
        process.pid, process.answer = 0, None
        if process.component.ready is None and code == 0:
            process.state, process.seconds = ENDED, now - process.since
            return
        process.restarts += 1
        process.since = now + _RESTART_SECONDS
        hopeless = process.component.ready is None and process.restarts >= _TRIES
        process.state = FAILED if hopeless else WAITING

    def _write(self) -> None:
        said = json.dumps(
            {
                name: {"state": each.state, "pid": each.pid, "seconds": each.seconds, "restarts": each.restarts}
                for name, each in self._processes.items()
            }
        )
        if said != self._written:
            unfinished = self._state.status.with_suffix(".new")
            unfinished.write_text(said)
            unfinished.replace(self._state.status)
            self._written = said


def _prepare() -> None:
    """Loopback, the link to the host, forwarding, and folders of our own in place of the machine's."""
    socket.sethostname(NODE_NAME)
    until = time.monotonic() + _LINK_SECONDS
    while UPLINK not in [name for _, name in socket.if_nameindex()]:
        if time.monotonic() > until:
            raise TimeoutError("the host never made the link")
        time.sleep(0.02)
    for words in (
        "link set lo up",
        f"address add {NODE}/30 dev {UPLINK}",
        f"link set {UPLINK} up",
        f"route add default via {HOST}",
    ):
        _run("ip", *words.split())
    for name in ("ipv4/ip_forward", "bridge/bridge-nf-call-iptables"):
        Path("/proc/sys/net", name).write_text("1")
    _run("mount", "--make-rshared", "/")
    for each in _PRIVATE:
        _run("mount", "-t", "tmpfs", "-o", "mode=755", NODE_NAME, each)
    Path("/var/lib/modelpack-gate").mkdir()  # the volume in overlay/volume.yaml


def _run(name: str, *words: str) -> None:
    subprocess.run([program(name, f"apt-get install {name}"), *words], check=True)


def main(folder: str) -> None:
    state = State(Path(folder))
    cgroups.join()
    _prepare()
    made = make_certificates(state.certificates, NODE, "127.0.0.1")
    kubeconfig(state.kubeconfig, API, made)
    node.write(state, made)
    Supervisor(state, components(state, made)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
