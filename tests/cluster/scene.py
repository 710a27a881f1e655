"""One model on the cluster: its folders in Git as the example has them, its images, and what the cluster says of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import requests
import yaml

from flagger.dashboards.expressions import expressions
from tests.cluster.load import PATH, Load
from tests.cluster.world import GIT, NAMESPACE, ROOT, Seen, World, git, renamed, wait
from tests.command import Done, modelpack


class Scene:
    """A model called `name`: everything about it that a scenario does or looks at."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, f"{name}-{world.run}"
        self.image = f"{world.environment.registry}/models/{self.name}"
        self.folder = world.folder / name
        self.folder.mkdir()
        self.artifacts = world.artifacts
        self.base = "host-busybox"
        self.env = {
            **GIT,
            "MODELPACK_INSECURE_REGISTRIES": world.environment.registry,
            "KUBECONFIG": str(world.environment.kubeconfig),
        }

    # -- what a person does

    def serve(self, edit: Callable[[Path], None] | None = None, version: str = "v1", *versions: str) -> None:
        """Build the versions, commit the example's folders under this name, and wait until the first one serves."""
        for each in (version, *versions):
            self.build(each)
        self.commit(edit)
        assert self.bump(version).code == 0
        self.follow()
        self.wait_for("Initialized", 120)

    def commit(self, edit: Callable[[Path], None] | None = None) -> None:
        """The example's folders under this name, edited."""
        with self.world.lock:
            checkout = self.world.folder / "checkout"
            git("pull", "-q", "--rebase", cwd=checkout) if self._has_commits(checkout) else None
            self._write(checkout)
            if edit:
                edit(checkout)
            git("add", "-A", cwd=checkout)
            git("commit", "-q", "-m", f"Serve {self.name}", cwd=checkout)
            self._push(checkout)

    def follow(self) -> None:
        """Have Flux apply the model's folder, from the branch's tip on."""
        self._await_flux()
        self.world.environment.apply(self._kustomization())

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

    def spoil(self, version: str) -> None:
        """Make of a version one that the server cannot load, so that no pod with it gets ready."""
        self.artifacts = self.folder / "artifacts"
        shutil.copytree(self.world.artifacts, self.artifacts)
        (self.artifacts / version / "model.json").write_text("{}")

    def kill_copy(self, version: str) -> bool:
        """SIGKILL the copy script of a pod of ours with this version, if one runs."""
        pods = self.world.environment.get("pods", NAMESPACE)["items"]
        running = {
            each["metadata"]["uid"]
            for each in pods
            if f"{self.image}:{version}@" in str(each["spec"].get("initContainers"))
        }
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

    def ask(self, headers: Mapping[str, str]) -> str:
        """The version that answers one request with these headers."""
        question = self.world.questions[0]
        answer = requests.post(
            f"{self.world.environment.ingress}{PATH}",
            data=question.body,
            headers={"Host": f"{self.name}.example.com", **headers},
            timeout=10,
        )
        answer.raise_for_status()
        return question.who(answer.json()["predictions"][0])

    def load(self, rate: float, tells: bool = False) -> Load:
        return Load(self.world.environment.ingress, f"{self.name}.example.com", self.world.questions, rate, tells)

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

    def rejected(self) -> list[dict[str, str]]:
        """What rejected.yaml has, at the tip of the branch."""
        return yaml.safe_load(self.git_file(f"model-images/{self.name}/rejected.yaml")) or []

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

    def empty_panels(self) -> list[tuple[str, str]]:
        """The dashboards' panels and expressions that give nothing now."""
        values = {"namespace": NAMESPACE, "canary": self.name, "server": "mpg", "check": "errors"}
        empty = []
        for file in sorted((ROOT / "flagger" / "dashboards").glob("*.json")):
            for panel, expression in expressions(json.loads(file.read_text()), values):
                answer = requests.get(
                    f"{self.world.environment.prometheus}/api/v1/query", params={"query": expression}, timeout=10
                )
                if not answer.ok or not answer.json()["data"]["result"]:
                    empty.append((panel, expression))
        return empty

    def every_panel_shows(self) -> bool:
        empty = self.empty_panels()
        assert not empty, empty
        return True

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

    def _await_flux(self) -> None:
        """Until Flux has the branch's tip: it may not see the commit before, without a digest, and roll out twice."""
        self.git_file("")
        tip = git("rev-parse", "main", cwd=self.folder / "look.git")

        def fetched() -> bool:
            environment = self.world.environment
            known = environment.get("gitrepositories.source.toolkit.fluxcd.io", "flux-system", "serving")
            revision = known["status"]["artifact"]["revision"].partition(":")[2]
            command = ["git", "merge-base", "--is-ancestor", tip, revision]
            git("fetch", "-q", "origin", "+main:main", cwd=self.folder / "look.git")
            return subprocess.run(command, cwd=self.folder / "look.git", capture_output=True).returncode == 0

        wait("Flux to fetch the commit", fetched, 60)

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
