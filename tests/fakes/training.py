"""A repository with a model that trains in a blink: a line through points, by commands of plain Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from modelpack.registry import Via
from modelpack.training.definition import Training, parse
from modelpack.training.run import Run
from tests.fakes.git_serving import commit, git

FOLDER = "model-images/line"

MODEL = """\
apiVersion: modelpack.dev/v1
kind: Model
metadata: {name: line}
source: ./artifacts/{version}
image: registry.local/models/line
targets:
- {file: manifests/line.yaml, kind: Deployment, name: line, initContainer: model}
"""

TRAINING = """\
apiVersion: modelpack.dev/v1
kind: Training
metadata: {name: line}
data: {source: "git:points.csv", target: y, key: [x]}
train: {command: [python, fit.py], parameters: {slope: 2.0}}
tests:
- {run: [python, -c, "import sys; sys.exit(0)"]}
quality:
  predict: [python, ask.py]
  metrics: [{name: mae, limit: 0.5, margin: 0.05}]
runs: {timeout: 60s}
"""

FIT = """\
import json, os, pathlib
told = json.loads(os.environ["MODELPACK_PARAMETERS"])
rows = pathlib.Path(os.environ["MODELPACK_DATA"]).read_text().splitlines()[1:]
print("learning from", len(rows), "rows")
pathlib.Path(os.environ["MODELPACK_OUTPUT"], "model.json").write_text(json.dumps({"slope": told["slope"]}))
pathlib.Path(os.environ["MODELPACK_METRICS"]).write_text(json.dumps({"rows": len(rows)}))
"""

ASK = """\
import csv, json, pathlib, sys
model, rows, out = sys.argv[1:]
slope = json.loads(pathlib.Path(model, "model.json").read_text())["slope"]
with open(rows) as file, open(out, "w") as answers:
    answers.write("prediction\\n")
    for row in csv.DictReader(file):
        answers.write(f"{slope * float(row['x'])}\\n")
"""

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: line}
spec:
  template:
    spec:
      initContainers:
      - {name: model, image: "registry.local/models/line:v0"}
"""


def points(count: int = 200, slope: float = 2.0) -> str:
    """Rows of x, y with y = slope * x and a little that is not explained."""
    rows = [f"{x},{slope * x + (x * 7 % 5 - 2) / 10}" for x in range(count)]
    return "\n".join(["x,y", *rows, ""])


def files(more: Mapping[str, str] | None = None) -> dict[str, str]:
    return {
        f"{FOLDER}/model.yaml": MODEL,
        f"{FOLDER}/training.yaml": TRAINING,
        f"{FOLDER}/fit.py": FIT,
        f"{FOLDER}/ask.py": ASK,
        f"{FOLDER}/points.csv": points(),
        "manifests/line.yaml": DEPLOYMENT,
        **{f"{FOLDER}/{name}": text for name, text in (more or {}).items()},
    }


def repository(folder: Path, more: Mapping[str, str] | None = None) -> Path:
    """A work tree of its own, on main; `more` are other files of the model's folder."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, files(more), "the model")
    return folder


def via(folder: Path) -> Via:
    """Images of registry.local below a folder."""
    return Via.parse(f"registry.local/=oci:{folder / 'images'}")


def run(**changes: object) -> Run:
    """One run of the model, as it may be asked for."""
    values: dict[str, object] = {
        "id": "line-v2-1f0c9a72de",
        "model": "line",
        "version": "v2",
        "repository": "https://git.example.com/team/line.git",
        "branch": "main",
        "commit": "4f2a91c0" * 5,
        "folder": FOLDER,
        "data": "git:" + "ab" * 20,
        "code": "sha256:" + "cd" * 32,
        "reason": "new data",
        "created": 1.0,
    }
    return Run(**{**values, **changes})  # type: ignore[arg-type]


def training(backend: str = "local", **runs: object) -> Training:
    """A training.yaml for a backend."""
    parsed = parse(TRAINING.encode(), "training.yaml")
    return replace(parsed, runs=replace(parsed.runs, backend=backend, **runs))  # type: ignore[arg-type]
