"""What all scenarios share: Git, the trained versions, and a watch on every Canary."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from tests.cluster.environment import Environment
from tests.cluster.load import Question, questions

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
NAMESPACE = "default"
VERSIONS = ("v1", "v2", "v3", "v4", "v9")
GIT = {
    "GIT_AUTHOR_NAME": "Scenario",
    "GIT_AUTHOR_EMAIL": "scenario@example.com",
    "GIT_COMMITTER_NAME": "Scenario",
    "GIT_COMMITTER_EMAIL": "scenario@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
}
# a machine of two cores has many scenarios at once
_SMALL = {
    "base: none": "base: host-busybox",
    "minReplicas: 2": "minReplicas: 1",
    "cpu: 100m": "cpu: 10m",
    "cpu: 50m": "cpu: 5m",
}
_KEPT = re.compile(r"/v1/models/mpg:predict|servers/mpg|\bmpg_")  # the server's own names


def wait(what: str, look: Callable[[], T | None], seconds: float, pause: float = 0.5) -> T:
    """What `look` gives once that is true; fails after `seconds`, with the last error if there was one."""
    until = time.monotonic() + seconds
    problem: Exception | None = None
    while time.monotonic() < until:
        try:
            found = look()
            problem = None
        except (AssertionError, OSError, ValueError, KeyError, subprocess.CalledProcessError) as error:
            found, problem = None, error
        if found:
            return found
        time.sleep(pause)
    raise TimeoutError(f"{what}: not within {seconds:g} s" + (f" ({problem})" if problem else ""))


def renamed(text: str, name: str, registry: str) -> str:
    """The example's text about a model called `name`, with images in `registry`."""
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        kept.append(found.group())
        return f"\0{len(kept) - 1}\0"

    text = _KEPT.sub(keep, text).replace("registry.local/models/", f"{registry}/models/")
    text = re.sub(r"\bmpg\b", name, text)
    for ours, here in _SMALL.items():
        text = text.replace(ours, here)
    return re.sub(r"\0(\d+)\0", lambda found: kept[int(found.group(1))], text)


@dataclass(frozen=True)
class Seen:
    """A change of a Canary, at unix seconds `at`."""

    at: float
    phase: str
    weight: int
    iterations: int
    failed_checks: int
    last_applied: str
    last_promoted: str


class Watcher:
    """What every Canary's status was, change by change."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.seen: dict[str, list[Seen]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(15)

    def _watch(self) -> None:
        while not self._stopping.wait(0.5):
            try:
                found = self.environment.get("canaries", NAMESPACE)
            except (OSError, ValueError, subprocess.SubprocessError):
                continue  # a scenario may have the API server busy
            for each in found["items"]:
                status = each.get("status") or {}
                now = Seen(
                    time.time(),
                    status.get("phase", ""),
                    status.get("canaryWeight", 0),
                    status.get("iterations", 0),
                    status.get("failedChecks", 0),
                    status.get("lastAppliedSpec", ""),
                    status.get("lastPromotedSpec", ""),
                )
                history = self.seen.setdefault(each["metadata"]["name"], [])
                if not history or vars(history[-1]) | {"at": 0} != vars(now) | {"at": 0}:
                    history.append(now)


@dataclass(frozen=True)
class World:
    """What all scenarios share: the cluster, one Git repository that Flux follows, the trained versions."""

    environment: Environment
    folder: Path
    artifacts: Path
    questions: Sequence[Question]
    watcher: Watcher
    lock: threading.Lock
    run: str
    """Takes part in every name: a cluster may have seen these scenarios before."""

    def clean_up(self) -> None:
        """Have Flux remove what it applied."""
        words = ["kustomizations.kustomize.toolkit.fluxcd.io", "--namespace=flux-system", f"--selector=run={self.run}"]
        self.environment.kubectl("delete", *words, "--timeout=50s")

    @property
    def repo(self) -> str:
        return f"{self.environment.git}/serving.git"


def world(environment: Environment, folder: Path, watcher: Watcher, secret: str = "") -> World:
    """Train the versions, and have Flux follow the repository, with the login in this Secret of its namespace."""
    artifacts = folder / "artifacts"
    command = [sys.executable, str(ROOT / "model-images" / "mpg" / "train.py"), "--out", str(artifacts)]
    subprocess.run(command, check=True, capture_output=True)
    found = World(
        environment, folder, artifacts, questions(artifacts, VERSIONS), watcher, threading.Lock(), uuid4().hex[:4]
    )
    git("clone", "-q", found.repo, str(folder / "checkout"), cwd=folder)
    spec: dict[str, Any] = {"interval": "5s", "url": found.repo, "ref": {"branch": "main"}}
    spec |= {"secretRef": {"name": secret}} if secret else {}
    environment.apply(
        {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": {"name": "serving", "namespace": "flux-system"},
            "spec": spec,
        }
    )
    return found


def git(*words: str, cwd: Path) -> str:
    done = subprocess.run(
        ["git", *words], cwd=cwd, env={**os.environ, **GIT}, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()
