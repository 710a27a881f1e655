"""One model on the cluster: its folders in Git as the example has them, its images, and what the cluster says of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import requests

from tests.cluster.environment import Environment
from tests.cluster.load import Load, Question, questions
from tests.command import Done, modelpack

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
NAMESPACE = "default"
VERSIONS = ("v1", "v2", "v3", "v4")
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


def world(environment: Environment, folder: Path, watcher: Watcher) -> World:
    """Train the versions, and have Flux follow the repository."""
    artifacts = folder / "artifacts"
    command = [sys.executable, str(ROOT / "model-images" / "mpg" / "train.py"), "--out", str(artifacts)]
    subprocess.run(command, check=True, capture_output=True)
    found = World(
        environment, folder, artifacts, questions(artifacts, VERSIONS), watcher, threading.Lock(), uuid4().hex[:4]
    )
    git("clone", "-q", found.repo, str(folder / "checkout"), cwd=folder)
    spec = {"interval": "5s", "url": found.repo, "ref": {"branch": "main"}}
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


class Scene:
    """A model called `name`: everything about it that a scenario does or looks at."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, f"{name}-{world.run}"
        self.image = f"{world.environment.registry}/models/{self.name}"
        self.folder = world.folder / name
        self.folder.mkdir()
        self.artifacts = world.artifacts
        self.base = "host-busybox"
        self.env = {**GIT, "MODELPACK_INSECURE_REGISTRIES": world.environment.registry}

    # -- what a person does

    def serve(self, edit: Callable[[Path], None] | None = None, version: str = "v1", *versions: str) -> None:
        """Build the versions, commit the example's folders under this name, and wait until the first one serves."""
        for each in (version, *versions):
            self.build(each)
        with self.world.lock:
            checkout = self.world.folder / "checkout"
            git("pull", "-q", "--rebase", cwd=checkout) if self._has_commits(checkout) else None
            self._write(checkout)
            if edit:
                edit(checkout)
            git("add", "-A", cwd=checkout)
            git("commit", "-q", "-m", f"Serve {self.name}", cwd=checkout)
            self._push(checkout)
        assert self.bump(version).code == 0
        self.world.environment.apply(self._kustomization())
        self.wait_for("Initialized", 120)

    def build(self, version: str, *words: str) -> str:
        """Build and push; the image by digest."""
        folder = self.folder / "model"
        if not folder.exists():
            folder.mkdir()
            for name in ("model.yaml", "gate.yaml", "golden.jsonl"):
                text = (ROOT / "model-images" / "mpg" / name).read_text()
                (folder / name).write_text(renamed(text, self.name, self.world.environment.registry))
            (folder / "artifacts").symlink_to(self.artifacts)
        words = words or ("--base", self.base)
        done = self.modelpack("build", folder, "--version", version, "--push", "--json", *words)
        assert done.code == 0, done.err
        return str(json.loads(done.out)["reference"])

    def weigh_down(self, size: int) -> None:
        """Give v1 and v2 a file of `size` bytes each beside what they have."""
        self.artifacts = self.folder / "artifacts"
        for version in ("v1", "v2"):
            shutil.copytree(self.world.artifacts / version, self.artifacts / version)
            with (self.artifacts / version / "weights.bin").open("wb") as file:
                block = hashlib.sha256(version.encode()).digest() * 32768
                for _ in range(size // len(block)):
                    file.write(block)

    def kill_copy(self, image: str) -> bool:
        """SIGKILL the copy script of a pod whose model image has `image` in its reference, if one runs."""
        pods = self.world.environment.get("pods", NAMESPACE)["items"]
        running = {each["metadata"]["uid"] for each in pods if image in str(each["spec"]["initContainers"])}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                ours = b"/modelpack/copy.sh" in (process / "cmdline").read_bytes()
                if ours and any(each in (process / "cgroup").read_text() for each in running):
                    os.kill(int(process.name), signal.SIGKILL)
                    return True
            except OSError:
                continue  # it has just ended
        return False

    def bump(self, version: str) -> Done:
        return self.modelpack("bump", f"{self.image}:{version}", "--repo", self.world.repo, "--branch", "main")

    def modelpack(self, *words: object) -> Done:
        return modelpack(*words, cwd=self.folder, env=self.env)

    def load(self, rate: float) -> Load:
        return Load(self.world.environment.ingress, f"{self.name}.example.com", self.world.questions, rate)

    # -- what can be seen

    @property
    def history(self) -> list[Seen]:
        return list(self.world.watcher.seen.get(self.name, ()))

    def wait_for(self, phase: str, seconds: float, since: float = 0.0) -> Seen:
        """The first status in this phase at or after `since`."""

        def look() -> Seen | None:
            return next((each for each in self.history if each.at >= since and each.phase == phase), None)

        try:
            return wait(f"{self.name} in phase {phase}", look, seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it was {[(each.phase, each.weight) for each in self.history]}") from None

    def git_file(self, path: str) -> str:
        """A file at the tip of the branch; "" if there is none."""
        clone = self.folder / "look.git"
        if not clone.exists():
            git("clone", "-q", "--bare", self.world.repo, str(clone), cwd=self.folder)
        git("fetch", "-q", "origin", "+main:main", cwd=clone)
        try:
            return git("show", f"main:{path}", cwd=clone)
        except subprocess.CalledProcessError:
            return ""

    def named(self) -> str:
        """The version that Git names."""
        found = re.search(
            rf"{re.escape(self.image)}:([^@\s\"]+)", self.git_file(f"manifests/{self.name}/deployment.yaml")
        )
        return found.group(1) if found else ""

    def reverted_at(self) -> int:
        """Unix seconds of the newest commit of this model, to whole seconds."""
        self.git_file("")
        folders = [f"{part}/{self.name}" for part in ("manifests", "model-images")]
        return int(git("log", "-1", "--format=%ct", "main", "--", *folders, cwd=self.folder / "look.git"))

    def rejected(self) -> str:
        return self.git_file(f"model-images/{self.name}/rejected.yaml")

    def serving(self, deployment: str = "") -> str:
        """The model image of the primary's Deployment, or another's."""
        found = self.world.environment.get("deployment", NAMESPACE, deployment or f"{self.name}-primary")
        spec = found["spec"]["template"]["spec"]
        images = [each["image"] for each in spec.get("initContainers", ()) if each["name"] == "model"]
        images += [each["image"]["reference"] for each in spec.get("volumes", ()) if "image" in each]
        return str(images[0])

    def restarts(self) -> int:
        """How often copies of this model were started again, in pods that are there now or were watched."""
        words = ["get", "events", f"--namespace={NAMESPACE}", "--output=json"]
        events = json.loads(self.world.environment.kubectl(*words))["items"]
        ours = [each for each in events if each["involvedObject"]["name"].startswith(f"{self.name}-")]
        started = [
            each
            for each in ours
            if each["reason"] == "Started" and "{model}" in each["involvedObject"].get("fieldPath", "")
        ]
        return max((each.get("count", 1) for each in started), default=0) - 1

    def sha256_served(self, name: str) -> str:
        """The digest of a file as the primary's server sees it."""
        code = f"import hashlib; print(hashlib.file_digest(open('/mnt/models/{name}', 'rb'), 'sha256').hexdigest())"
        words = ["exec", f"--namespace={NAMESPACE}", f"deployment/{self.name}-primary", "--container=server"]
        return self.world.environment.kubectl(*words, "--", "python3", "-c", code).strip()

    def sha256_of(self, version: str, name: str) -> str:
        return hashlib.sha256((self.artifacts / version / name).read_bytes()).hexdigest()

    def rollouts(self) -> list[dict[str, Any]]:
        """The gate's rollouts of this model, newest first."""
        answer = requests.get(f"{self.world.environment.gate}/api/v1/rollouts", params={"model": self.name}, timeout=10)
        answer.raise_for_status()
        return list(answer.json()["rollouts"])

    # -- inside

    def _write(self, checkout: Path) -> None:
        for part in ("manifests", "flagger", "model-images"):
            target = checkout / part / self.name
            shutil.copytree(
                ROOT / part / "mpg", target, ignore=shutil.ignore_patterns("artifacts", "*.py", "__pycache__")
            )
            for file in (each for each in target.rglob("*") if each.is_file()):
                file.write_text(renamed(file.read_text(), self.name, self.world.environment.registry))

    def _push(self, checkout: Path) -> None:
        for _ in range(5):
            try:
                git("push", "-q", "origin", "HEAD:main", cwd=checkout)
                return
            except subprocess.CalledProcessError:
                git("pull", "-q", "--rebase", "origin", "main", cwd=checkout)
        git("push", "-q", "origin", "HEAD:main", cwd=checkout)

    @staticmethod
    def _has_commits(checkout: Path) -> bool:
        return (
            subprocess.run(["git", "rev-parse", "-q", "--verify", "HEAD"], cwd=checkout, capture_output=True).returncode
            == 0
        )

    def _kustomization(self) -> dict[str, Any]:
        return {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": self.name, "namespace": "flux-system", "labels": {"run": self.world.run}},
            "spec": {
                "interval": "30s",
                "path": f"./manifests/{self.name}",
                "prune": True,
                "sourceRef": {"kind": "GitRepository", "name": "serving"},
            },
        }
