"""From staging to production on a real cluster: two namespaces, each an overlay of one repository that Flux applies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.environment import Environment
from tests.cluster.scene import Scene
from tests.cluster.world import ROOT, Watcher, World, git, renamed, wait, world
from tests.command import Done

pytestmark = pytest.mark.xdist_group("cluster")

STAGING, PRODUCTION = "staging", "production"
ROLLOUT = 240.0  # seconds that a rollout may take on a busy machine


@pytest.fixture(name="world", scope="module")
def _world(cluster: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    found = world(cluster, tmp_path_factory.mktemp("stages"), Watcher(cluster))
    yield found
    found.clean_up()


class Stages(Scene):
    """The example with its two overlays. The golden set alone decides, and weights climb in one step."""

    def serve_both(self, version: str) -> None:
        self.build(version)
        checkout = self.world.folder / "checkout"
        if self._has_commits(checkout):
            git("pull", "-q", "--rebase", cwd=checkout)
        self._write(checkout)
        self._write_overlays(checkout)
        git("add", "-A", cwd=checkout)
        git("commit", "-q", "-m", f"Serve {self.name} twice", cwd=checkout)
        self._push(checkout)
        for words in ((), ("--env", PRODUCTION)):
            done = self.bump(version, *words)
            assert done.code == 0, done.err
        self._await_flux()
        for name in (STAGING, PRODUCTION):
            applied = self._kustomization()
            applied["metadata"]["name"] += f"-{name}"
            applied["spec"]["path"] = f"./manifests/overlays/{name}"
            self.world.environment.apply(applied)
        for name in (STAGING, PRODUCTION):
            self.wait_phase(name, "Initialized")

    def _write_overlays(self, checkout: Path) -> None:
        for name in (STAGING, PRODUCTION):
            for file in (ROOT / "manifests" / "overlays" / name).iterdir():
                target = checkout / "manifests" / "overlays" / name / file.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(self._here(file))
        model = checkout / "model-images" / self.name / "model.yaml"
        environments = self._here(ROOT / "manifests" / "overlays" / "environments.yaml")
        model.write_text(model.read_text().partition("targets:")[0] + environments)
        gate = model.with_name("gate.yaml")
        gate.write_text(gate.read_text().partition("- name: errors")[0])

    def _here(self, file: Path) -> str:
        text = renamed(file.read_text(), self.name, self.world.environment.registry)
        return text.replace("[5, 10, 25, 50]", "[50]")

    def bump(self, version: str, *words: str) -> Done:
        where = ("--repo", self.world.repo, "--branch", "main")
        return self.modelpack("bump", f"{self.image}:{version}", *where, *words)

    def promote(self, *words: str) -> Done:
        stages = ("--from", STAGING, "--to", PRODUCTION, "--gate", self.world.environment.gate, "--no-pr")
        return self.modelpack("promote", self.name, *stages, "--repo", self.world.repo, *words)

    def status(self, namespace: str) -> dict[str, Any]:
        found = self.world.environment.get("canaries", namespace, self.name)
        return dict(found.get("status") or {})

    def wait_phase(self, namespace: str, *phases: str) -> None:
        wait(f"{phases} in {namespace}", lambda: self.status(namespace).get("phase") in phases, ROLLOUT)

    def serves(self, namespace: str) -> str:
        found = self.world.environment.get("deployment", namespace, f"{self.name}-primary")
        return str(found["spec"]["template"]["spec"]["initContainers"][0]["image"])

    def rollout(self, namespace: str, state: str) -> dict[str, Any]:
        """The gate's newest rollout there, once it is in this state."""

        def newest() -> dict[str, Any] | None:
            found = next((each for each in self.rollouts() if each["namespace"] == namespace), None)
            return found if found and found["state"] == state else None

        return wait(f"{state} in {namespace}", newest, ROLLOUT)

    def names(self, namespace: str) -> str:
        """The version that an overlay names at the tip."""
        found = re.search(
            r"newTag: \"?([^@\s\"]+)", self.git_file(f"manifests/overlays/{namespace}/kustomization.yaml")
        )
        return found.group(1) if found else ""


def test_what_staging_serves_goes_to_production_and_what_failed_there_does_not(world: World) -> None:
    stages = Stages(world, "stages")
    stages.serve_both("v1")
    wanted = stages.build("v2")
    stages.build("v3")  # trained on the wrong unit
    assert stages.bump("v2").code == 0
    refused = stages.promote()
    assert refused.code == 4, refused
    promoted = stages.rollout(STAGING, "promoted")
    assert (stages.serves(STAGING), ":v1@" in stages.serves(PRODUCTION)) == (wanted, True)

    done = stages.promote()
    assert done.code == 0, done.err
    assert (stages.names(STAGING), stages.names(PRODUCTION)) == ("v2", "v2")
    said = git("log", "-1", "--format=%(trailers)", "main", cwd=stages.folder / "look.git")
    assert {"Promoted-From: staging", f"Rollout: {promoted['id']}"} <= set(said.splitlines())

    # while production rolls v2 out, staging gets a version that fails there; settle waits, so that Git names it still
    world.environment.scale("modelpack", "modelpack-settle", 0)
    try:
        assert stages.bump("v3").code == 0
        stages.rollout(STAGING, "failed")
        refused = stages.promote()
        assert (refused.code, "v3 in staging: its rollout failed" in refused.err) == (4, True), refused
    finally:
        world.environment.scale("modelpack", "modelpack-settle", 1)
    assert stages.rollout(PRODUCTION, "promoted")["image"] == wanted
    assert stages.serves(PRODUCTION) == wanted
    seen = stages.modelpack("status", f"{PRODUCTION}/{stages.name}", "--repo", world.repo)
    assert re.search(r"names v2 \([0-9a-f]{12}\), which serves", seen.out), seen
    wait("the revert", lambda: stages.names(STAGING) == "v2", 60)
    again = stages.promote()
    assert (again.code, "production has v2 already" in again.out) == (0, True), again
