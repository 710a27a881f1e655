"""`modelpack rehearse --env`: the real kustomize builds an overlay, and every environment has its own state."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from modelpack.reference import Reference
from modelpack.rehearse.overlay import build
from modelpack.rehearse.plan import read_plan
from tests.command import Done, modelpack
from tests.fakes import serving
from tests.fakes.scripted_gate import scripted_gate
from tests.integration.conftest import available
from tests.integration.servers.gotools import go_tools
from tests.integration.test_rehearse_cli import Desk

ROOT = Path(__file__).parents[2]
NAMES = ("staging", "production")
ENVIRONMENTS = "environments:\n" + "".join(
    f"- {{name: {name}, targets: [{{file: overlays/{name}/kustomization.yaml, images: {serving.IMAGE}}}]}}\n"
    for name in NAMES
)


GATE = """\
apiVersion: modelpack.dev/v1
kind: Gate
metadata: {name: mpg}
horizon: 10m
alpha: 0.05
checks: [{name: golden, type: golden, path: /predict, metric: mae, floor: 1, margin: 1}]
"""


@contextmanager
def kubectl() -> Iterator[str]:
    yield f"{go_tools('kubernetes')}:{os.environ['PATH']}"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    with available(kubectl) as path:
        monkeypatch.setenv("PATH", path)
        desk = Desk(tmp_path)
        commit(desk, "v1", "v1")
        yield desk


def commit(desk: Desk, *versions: str) -> None:
    """What staging and production name."""
    model = serving.MODEL.partition("targets:")[0] + ENVIRONMENTS
    files = {
        "model-images/mpg/model.yaml": model,
        "model-images/mpg/gate.yaml": GATE,
        "base/deployment.yaml": serving.DEPLOYMENT % serving.IMAGE,
        "base/canary.yaml": serving.canary(),
        "base/kustomization.yaml": "resources: [deployment.yaml, canary.yaml]\n",
    }
    for name, version in zip(NAMES, versions, strict=True):
        entry = f"images:\n- {{name: {serving.IMAGE}, newTag: {version}}}\n"
        files[f"overlays/{name}/kustomization.yaml"] = f"namespace: {name}\nresources: [../../base]\n{entry}"
    for path, text in files.items():
        (desk.repo / path).parent.mkdir(parents=True, exist_ok=True)
        (desk.repo / path).write_text(text)
    subprocess.run(["git", "-C", desk.repo, "add", "-A"], check=True)
    subprocess.run(["git", "-C", desk.repo, "commit", "-qm", " ".join(versions)], check=True)


def rehearse(desk: Desk, *words: object) -> Done:
    return run(desk, "rehearse", "--speed", "25", *words)


def run(desk: Desk, command: str, *words: object) -> Done:
    env = {"MODELPACK_VIA": desk.environ["MODELPACK_VIA"]}
    return modelpack(command, "--repo", desk.repo, *words, cwd=desk.repo.parent, env=env)


def test_each_environment_is_built_and_has_a_state_of_its_own(desk: Desk) -> None:
    with scripted_gate() as gate:
        for name in NAMES:
            first = rehearse(desk, "--env", name, "--gate", gate.url)
            assert (first.code, first.out.startswith("mpg v1: serves as the primary now")) == (0, True), first
        commit(desk, "v2", "v1")
        gate.calls.clear()
        staging = rehearse(desk, "--gate", gate.url, "--json")  # the first environment is the default
        assert json.loads(staging.out)["result"] == "promoted", staging.err
        assert {body["namespace"] for _, body in gate.calls} == {"staging"}
        production = rehearse(desk, "--env", "production", "--gate", gate.url, "--json")
    assert json.loads(production.out)["result"] == "unchanged", production.err
    states = (desk.repo.parent / "home" / "rehearsals").iterdir()
    assert sorted(each.name.rpartition("-")[0] for each in states) == ["production-mpg", "staging-mpg"]


def test_a_failure_is_settled_where_it_was_rehearsed(desk: Desk) -> None:
    """The server gives no predictions: the real gate lets no golden set pass."""
    for name in NAMES:
        assert rehearse(desk, "--env", name).code == 0
    image = f"{serving.IMAGE}:v2"
    assert run(desk, "bump", image, "--env", "production").code == 0
    done = rehearse(desk, "--env", "production", "--timeout", "60")
    assert done.code == 7, done
    staging, production = ((desk.repo / "overlays" / name / "kustomization.yaml").read_text() for name in NAMES)
    assert "newTag: v1" in production and "digest: sha256:" in production
    assert "newTag: v1}" in staging
    rejected = (desk.repo / "model-images" / "mpg" / "rejected.yaml").read_text()
    assert 'version: "v2"' in rejected


def test_the_examples_overlays_can_be_rehearsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = ("manifests", "flagger", "model-images")
    ignored = shutil.ignore_patterns("artifacts", "__pycache__")
    tip = {
        f"{part}/{path.relative_to(ROOT / part)}": path.read_bytes()
        for part in parts
        for path in (ROOT / part).rglob("*")
        if path.is_file() and "artifacts" not in path.parts
    }
    mpg = Reference.parse("registry.local/models/mpg:v1")
    model = tip["model-images/mpg/model.yaml"].partition(b"targets:")[0]
    tip["model-images/mpg/model.yaml"] = model + tip["manifests/overlays/environments.yaml"]

    def export(folder: Path) -> None:
        for part in parts:
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)

    with available(kubectl) as path:
        monkeypatch.setenv("PATH", path)
        for name, steps in (("staging", (10, 25, 50)), ("production", (5, 10, 25, 50))):
            plan = read_plan(tuple(tip), tip.get, mpg, name, partial(build, export=export))
            assert (plan.canary.namespace, plan.canary.steps, plan.target.namespace) == (name, steps, name)
            assert plan.gate == tip["model-images/mpg/gate.yaml"]


def test_an_overlay_that_does_not_build_is_one_sentence(desk: Desk) -> None:
    (desk.repo / "overlays" / "staging" / "kustomization.yaml").write_text("resources: [gone.yaml]\n")
    subprocess.run(["git", "-C", desk.repo, "commit", "-qam", "broken"], check=True)
    done = rehearse(desk, "--env", "staging")
    assert (done.code, done.sentence.startswith("overlays/staging: ")) == (2, True), done
    assert "cannot build it" in done.sentence and "modelpack-overlay-" not in done.sentence
    assert rehearse(desk, "--env", "qa").code == 3


def test_production_in_another_repository_is_rehearsed_there(desk: Desk, tmp_path: Path) -> None:
    other = Desk(tmp_path / "there")
    text = serving.MODEL.partition("targets:")[0] + "environments: [{name: production, repository: ../there/repo}]\n"
    (desk.repo / "model-images" / "mpg" / "model.yaml").write_text(text)
    subprocess.run(["git", "-C", desk.repo, "commit", "-qam", "apart"], check=True)
    with scripted_gate() as gate:
        done = rehearse(desk, "--env", "production", "--gate", gate.url)
        assert (done.code, done.out.startswith("mpg v1: serves as the primary now")) == (0, True), done
        again = rehearse(desk, "--repo", other.repo, "--gate", gate.url, "--json")
    assert json.loads(again.out)["result"] == "unchanged", again
