"""A gate over a rehearsal's folder, in this process or in one of its own, and what a test moves: versions, counters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

import requests

from tests.fakes.rehearsal import V1, V2, Envoy, Folder, model_server, serve, webhook

GOOD = model_server()
# `modelpack` whose gate looks each second at what serves, instead of twice a minute
QUICK = ("-c", "import modelpack.gate.watch as it; it.EVERY = 1.0; from modelpack.cli import main; main()")


class Scene:
    """A gate over a folder, with two model servers and counters that the test moves.

    It serves in a thread: a process takes a second for its imports.
    """

    def __init__(self, root: Path, stack: ExitStack, canary: Callable[..., Any], primary: Callable[..., Any]) -> None:
        self.envoy = Envoy()
        self.folder = Folder(root)
        self.folder.write(
            canary={"url": stack.enter_context(serve(canary)), "image": V2},
            primary={"url": stack.enter_context(serve(primary)), "image": V1},
            metrics=stack.enter_context(serve(self.envoy.page)) + "/stats/prometheus",
        )
        stack.callback(self.stop)
        self.start()

    def start(self) -> None:
        import uvicorn

        from modelpack.gate.engine import Gate
        from modelpack.gate.rehearsal import Rehearsal
        from modelpack.gate.service import create_app
        from modelpack.gate.store import Store

        self._store = Store.in_file(self.folder.root / "gate.sqlite")
        self._gate = Gate(Rehearsal(self.folder.root), self._store)
        app = create_app(self._gate, self._store)
        self._server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._gate.start()
        self._thread.start()
        end = time.monotonic() + 30
        while not self._server.started:
            assert self._thread.is_alive() and time.monotonic() < end
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._gate.stop()
        self._store.close()

    def ask(self, hook: str, **changes: Any) -> requests.Response:
        return requests.post(f"{self.url}/flagger/{hook}", json=webhook(**changes), timeout=10)

    def rollouts(self, query: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = requests.get(f"{self.url}/api/v1/rollouts{query}", timeout=5).json()["rollouts"]
        return found

    def whole(self) -> dict[str, Any]:
        found: dict[str, Any] = requests.get(f"{self.url}/api/v1/rollouts/{self.rollouts()[0]['id']}", timeout=5).json()
        return found

    def counted(self) -> int:
        """The canary's requests that the first check of traffic rests on, once no more come in: those of a slice that
        still grows do not count yet."""
        counts: list[int] = []
        while len(counts) < 5 or len(set(counts[-5:])) > 1:
            counts.append(self.whole()["checks"][1]["n"])
            time.sleep(0.3)
        return counts[-1]

    def until(self, hook: str, status: int, seconds: float = 15, **changes: Any) -> str:
        """Ask until this answer comes; the body."""
        end = time.monotonic() + seconds
        while (answer := self.ask(hook, **changes)).status_code != status:
            assert time.monotonic() < end, f"{hook} is still {answer.status_code}: {answer.text}"
            time.sleep(0.1)
        return answer.text

    def traffic(self, canary: int, primary: int, looks: int = 8, **of_canary: int) -> None:
        """Requests over some of the gate's looks."""
        for _ in range(looks):
            self.envoy.add("canary", canary, **of_canary)
            self.envoy.add("primary", primary)
            time.sleep(0.25)


class ProcessScene(Scene):
    """The same with `modelpack gate serve`, which a test may stop and start again, with other `words`."""

    words: tuple[str, ...] = ()
    program: tuple[str, ...] = ("-m", "modelpack")
    environ: Mapping[str, str] = MappingProxyType({})

    def start(self) -> None:
        command = [sys.executable, *self.program, "gate", "serve", "--rehearsal", str(self.folder.root), "--json"]
        self.process = subprocess.Popen(
            [*command, *self.words], stdout=subprocess.PIPE, text=True, env={**os.environ, **self.environ}
        )
        assert self.process.stdout
        self.url = json.loads(self.process.stdout.readline())["url"]

    def stop(self) -> None:
        self.end()

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(10)
