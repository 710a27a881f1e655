"""A serving repository in real Git: one model, the Deployment that serves it, and its versions' images."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from modelpack.gitops import Wanted
from modelpack.reference import Reference

DEPLOYMENT = "manifests/mpg/deployment.yaml"
REJECTED = "model-images/mpg/rejected.yaml"

_MODEL = """\
apiVersion: modelpack.dev/v1
kind: Model
metadata: {name: mpg}
source: ../../artifacts/{version}
image: registry.local/models/mpg
targets:
- {file: manifests/mpg/deployment.yaml, kind: Deployment, name: mpg, initContainer: model}
"""

_DEPLOYMENT = """\
# served by the init container below
apiVersion: apps/v1
kind: Deployment
metadata: {name: mpg}
spec:
  template:
    metadata:
      labels: {app: mpg}
    spec:
      initContainers:
      - name: model
        image: "@IMAGE@"   # what a bump rewrites
      containers: [{name: server, image: server:1}]
"""


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def image(version: str) -> str:
    """The version's image as Git has it."""
    return f"registry.local/models/mpg:{version}@{digest(version)}"


def wanted(version: str) -> Wanted:
    """The version as its registry tells it."""
    return Wanted(Reference.parse(image(version)), version, digest(f"model {version}"))


def deployment(version: str) -> str:
    return _DEPLOYMENT.replace("@IMAGE@", image(version))


def files(version: str = "v1") -> dict[str, str]:
    """What the repository holds while a version serves."""
    return {
        "model-images/mpg/model.yaml": _MODEL,
        DEPLOYMENT: deployment(version),
        "start.sh": "#!/bin/sh\n",
        "README.md": "A serving repository.\n",
    }


def git(folder: Path, *arguments: str) -> str:
    """Run git as a person would; raises for a failure."""
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def commit(worktree: Path, content: dict[str, str], subject: str = "a person's commit") -> str:
    """Write files, commit all of them, and return the commit's id."""
    for path, text in content.items():
        (worktree / path).parent.mkdir(parents=True, exist_ok=True)
        (worktree / path).write_bytes(text.encode())
    git(worktree, "add", "--all")
    git(worktree, "commit", "--quiet", "--message", subject)
    return git(worktree, "rev-parse", "HEAD")


def worktree(folder: Path, version: str = "v1") -> Path:
    """A work tree with the branch main checked out, without a remote."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, files(version), "serve")
    return folder


def bare(folder: Path, version: str = "v1") -> Path:
    """A bare repository with the branch main."""
    origin = worktree(folder.with_name(f"{folder.name}-origin"), version)
    git(folder.parent, "clone", "--quiet", "--bare", str(origin), str(folder))
    return folder


def hook(bare_repository: Path, script: str, name: str = "pre-receive") -> None:
    """Let a hook run a shell script."""
    file = bare_repository / "hooks" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def served(folder: Path, branch: str = "main") -> str:
    """The Deployment as a branch's tip has it."""
    return git(folder, "show", f"{branch}:{DEPLOYMENT}") + "\n"


def count(folder: Path, branch: str = "main") -> int:
    """How many commits a branch has."""
    return int(git(folder, "rev-list", "--count", branch))
