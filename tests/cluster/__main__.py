"""`python -m tests.cluster up|down|status|env`: the cluster by hand. `eval "$(python -m tests.cluster env)"`.

`up` may be given --with=tekton,kserve: what is not in every cluster. It is added to one that is up, too.
"""

from __future__ import annotations

import shlex
import sys
import time
from typing import Any

from tests.cluster import kserve, machine, node, supervisor, tekton
from tests.cluster.certificates import made_before
from tests.cluster.environment import Environment
from tests.cluster.layout import State
from tests.integration.servers.gotools import go_tools
from tests.integration.servers.process import MissingError, ServerError

_GOOD = (supervisor.READY, supervisor.ENDED)
_ADDED = {"tekton": tekton.install, "kserve": kserve.install}
_WITH = "--with="


def up(state: State, *wanted: str) -> int:
    started = time.monotonic()

    def progress(name: str, how: dict[str, Any]) -> None:
        if how["state"] in _GOOD:
            print(f"{time.monotonic() - started:6.1f} s  {name} ({how['seconds']:.1f} s)", file=sys.stderr, flush=True)

    if not machine.up(state, progress if sys.stderr.isatty() else lambda name, how: None):
        print(f"already up, in {state.folder}")
    else:
        slowest = sorted(machine.components(state).items(), key=lambda each: -each[1]["seconds"])
        print(", ".join(f"{name} {how['seconds']:.1f}" for name, how in slowest if how["seconds"] >= 1))
        print(f"up in {time.monotonic() - started:.0f} s, in {state.folder}")
    for each in wanted:
        started = time.monotonic()
        _ADDED[each](Environment.ours(state))
        print(f"{each} in {time.monotonic() - started:.0f} s")
    return 0


def down(state: State) -> int:
    machine.down(state)
    print("down")
    return 0


def status(state: State) -> int:
    if not machine.running(state):
        print("down")
        return 1
    found = machine.components(state)
    for name, how in found.items():
        restarts = f", {how['restarts']} restarts" if how["restarts"] else ""
        print(f"{name:24} {how['state']}{restarts}")
    ready = node.ready(made_before(state.certificates))
    print(f"{'node':24} {'Ready' if ready else 'not Ready'}")
    return 0 if ready and all(how["state"] in _GOOD for how in found.values()) else 1


def env(state: State) -> int:
    if not machine.running(state):
        print("error: the cluster is down; start it: python -m tests.cluster up", file=sys.stderr)
        return 1
    for name, value in Environment.ours(state).variables().items():
        print(f"export {name}={shlex.quote(value)}")
    print(f"export PATH={shlex.quote(str(go_tools('kubernetes')))}:$PATH")
    return 0


def main(words: list[str]) -> int:
    verbs = {"up": up, "down": down, "status": status, "env": env}
    verb, *options = words or [""]
    wanted = options[0].removeprefix(_WITH).split(",") if options else []
    known = verb in verbs and len(options) <= (verb == "up") and set(wanted) <= set(_ADDED)
    if not known or any(not each.startswith(_WITH) for each in options):
        print(f"usage: python -m tests.cluster up [{_WITH}{','.join(_ADDED)}]|down|status|env", file=sys.stderr)
        return 2
    try:
        return verbs[verb](State.default(), *wanted)
    except (MissingError, ServerError, PermissionError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
