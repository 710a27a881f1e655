"""A runner's checkout, in which a pipeline's scripts are run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.ci import ROOT, SCRIPT
from tests.fakes import serving
from tests.fakes.git_serving import commit, git

FIRST = "registry.local/models/mpg:v1"
GATE = """\
apiVersion: modelpack.dev/v1
kind: Gate
metadata: {name: mpg}
horizon: 1m
checks: [{name: golden, type: golden, path: /predict, metric: mae, floor: 1, margin: 0.1}]
"""
SERVER = """\
import json, os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
assert "GITHUB_TOKEN" not in os.environ and "MODELPACK_REGISTRY_PASSWORD" not in os.environ
OFF = json.loads((Path(os.environ["MODEL_DIR"]) / "model.json").read_text())
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        asked = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps({"predictions": [json.loads(asked or '{"x": 0}')["x"] + OFF]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST
    def log_message(self, *words): pass
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@dataclass
class Job:
    """A runner's checkout of a repository behind a remote, with one model whose v1 serves."""

    folder: Path
    checkout: Path
    shell: tuple[str, ...] = ("dash",)
    environ: dict[str, str] = field(default_factory=dict)

    def push(self, files: Mapping[str, str], subject: str = "a person's commit") -> str:
        """A person pushes; the runner checks it out, as runners do: without a branch."""
        if git(self.checkout, "ls-remote", "origin", "main"):
            self.pull()
        made = commit(self.checkout, dict(files), subject)
        git(self.checkout, "push", "--quiet", "origin", "HEAD:main")
        git(self.checkout, "fetch", "--quiet", "origin")
        return made

    def pull(self) -> None:
        git(self.checkout, "fetch", "--quiet", "origin")
        git(self.checkout, "checkout", "--quiet", "--detach", "origin/main")

    def train(self, version: str, off: float = 0.0) -> str:
        return self.push({f"model-images/mpg/artifacts/{version}/model.json": str(off)})

    def step(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return self.run([*self.shell, str(SCRIPT), *words], environ)

    def script(self, script: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """A template's script."""
        return self.run([*self.shell, "-ec", script], environ)

    def run(self, command: list[str], environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.checkout, env=self.environ | environ, capture_output=True, text=True, timeout=120
        )

    def served(self) -> str:
        git(self.checkout, "fetch", "--quiet", "origin")
        line = next(
            each
            for each in git(self.checkout, "show", "origin/main:deployment.yaml").splitlines()
            if "/models/" in each
        )
        return line.split()[-1]


def new_job(folder: Path, shell: tuple[str, ...] = ("dash",), remote: str = "") -> Job:
    """A checkout of a repository, a bare one beside it or `remote`, whose model v1 is packaged and named in Git."""
    (folder / "bin").mkdir()
    program(folder / "bin" / "modelpack", f'exec "{sys.executable}" -m modelpack "$@"')
    (folder / "tmp").mkdir()
    job = Job(folder, folder / "check out", shell, _environ(folder))
    if not remote:
        remote = str(folder / "origin.git")
        git(folder, "init", "--quiet", "--bare", "--initial-branch=main", remote)
    git(folder, "clone", "--quiet", remote, str(job.checkout))
    files = serving.files("v1", serve=SERVER, gate=GATE, canary=serving.canary("stepWeights: [50]"))
    files["model-images/mpg/model.yaml"] += b"pullRequest: {forge: gitea}\n"
    job.push({path: data.decode() for path, data in files.items()} | {".gitignore": "modelpack-ci/\n"}, "serve")
    job.train("v1")
    done = job.step("package")
    assert done.returncode == 0, done.stderr
    assert job.step("bump").returncode == 0
    return job


def copied(job: Job, folder: Path, shell: tuple[str, ...] = ("dash",)) -> Job:
    """The same in another folder, with a bare repository of its own."""
    shutil.copytree(job.folder, folder, symlinks=True, dirs_exist_ok=True)
    made = Job(folder, folder / job.checkout.name, shell, _environ(folder))
    git(made.checkout, "remote", "set-url", "origin", str(folder / "origin.git"))
    return made


def _environ(folder: Path) -> dict[str, str]:
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "CI_", "GITEA_"))},
        "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "MODELPACK_HOME": str(folder / "home"),
        "MODELPACK_VIA": f"registry.local/=oci:{folder / 'registry'}",
        "TMPDIR": str(folder / "tmp"),
    }


def program(file: Path, script: str) -> None:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def fake_python(file: Path) -> None:
    """Makes environments that hold itself, and writes down what is to be installed: nothing is downloaded."""
    program(file, 'if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; else echo "$@" >"$CALLS"; fi')
