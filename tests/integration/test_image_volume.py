"""A scaffolded model that is mounted as an image volume: bumped, rehearsed and rolled back, and nothing is copied."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.fakes import serving
from tests.fakes.scripted_gate import scripted_gate

IMAGE = "registry.local/models/tips"
DEPLOYMENT = "manifests/tips/deployment.yaml"


def run(folder: Path, environ: Mapping[str, str], *words: str, program: str = "modelpack") -> str:
    command = [sys.executable, "-m", "modelpack"] if program == "modelpack" else [program]
    done = subprocess.run([*command, *words], cwd=folder, env=environ, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_canary_of_an_image_volume_promotes(tmp_path: Path) -> None:
    repo, state = tmp_path / "repo", tmp_path / "state"
    environ = {**os.environ, "MODELPACK_VIA": f"registry.local/=oci:{tmp_path / 'registry'}"}
    repo.mkdir()

    def modelpack(*words: str) -> str:
        return run(repo, environ, *words)

    def commit() -> None:
        run(repo, environ, "add", "-A", program="git")
        run(repo, environ, "commit", "-qm", "serve", program="git")

    def volume() -> Any:
        shown = run(repo, environ, "show", f"main:{DEPLOYMENT}", program="git")
        (found,) = yaml.safe_load(shown)["spec"]["template"]["spec"]["volumes"]
        return found["image"]["reference"]

    def rehearse() -> dict[str, Any]:
        words = ("rehearse", "--state", str(state), "--speed", "25", "--gate", gate.url, "--json")
        value: dict[str, Any] = json.loads(modelpack(*words))
        return value

    run(repo, environ, "init", "-q", "-b", "main", program="git")
    modelpack("init", "tips", "--serve", "image-volume")
    home = repo / "model-images" / "tips"
    (home / "serve.py").write_bytes(serving.SERVER.read_bytes())
    for version in ("v1", "v2"):
        (home / "artifacts" / version).mkdir(parents=True)
        (home / "artifacts" / version / "model.json").write_text(json.dumps({"version": version}))
    commit()
    before = (repo / DEPLOYMENT).read_text()
    for version in ("v1", "v2"):
        modelpack("build", "model-images/tips", "--version", version, "--push")
    with scripted_gate() as gate:
        modelpack("bump", f"{IMAGE}:v1")
        first = volume()
        assert first.startswith(f"{IMAGE}:v1@sha256:")
        shown = run(repo, environ, "show", f"main:{DEPLOYMENT}", program="git")
        assert shown == before.replace(f"{IMAGE}:v1", first)
        assert rehearse()["result"] == "initialized"
        modelpack("bump", f"{IMAGE}:v2")
        assert rehearse()["result"] == "promoted"
    (kept,) = (path for path in state.rglob("model.json") if '"v2"' in path.read_text())
    assert kept.parts[-4:] == ("volumes", "model", "models", "model.json")  # the image itself: nothing was copied
    modelpack("rollback", "tips")
    assert volume() == first
