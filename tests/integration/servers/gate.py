"""A gate as a process of its own over a rehearsal's folder, with versions and counters that a test moves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import requests

from tests.fakes.rehearsal import V1, V2, Envoy, Folder, model_server, serve, webhook

GOOD = model_server()


class Scene:
    """A gate process over a folder, with two model servers and counters that the test moves."""

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
        command = [sys.executable, "-m", "modelpack", "gate", "serve", "--rehearsal", str(self.folder.root), "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.url = json.loads(self.process.stdout.readline())["url"]

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(10)

    def ask(self, hook: str, **changes: Any) -> requests.Response:
        return requests.post(f"{self.url}/flagger/{hook}", json=webhook(**changes), timeout=10)

    def rollouts(self, query: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = requests.get(f"{self.url}/api/v1/rollouts{query}", timeout=5).json()["rollouts"]
        return found

    def whole(self) -> dict[str, Any]:
        found: dict[str, Any] = requests.get(f"{self.url}/api/v1/rollouts/{self.rollouts()[0]['id']}", timeout=5).json()
        return found

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
