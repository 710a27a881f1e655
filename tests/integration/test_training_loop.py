"""The whole loop on one machine, with Python and Git alone: data is pushed, a model trains, passes, is named, promoted,
and its lineage says so. Then a worse one: nothing is named, and the table says why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.fakes import serving, training
from tests.fakes.git_serving import commit, git
from tests.integration.servers.process import free_port

FOLDER = "model-images/mpg"
SERVE = """\
import json, os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SLOPE = json.loads((Path(os.environ["MODEL_DIR"]) / "model.json").read_text())["slope"]

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        data = json.dumps({"predictions": [SLOPE * body.get("x", 0)]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST

    def log_message(self, *args):
        pass

ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
FIT = """\
import csv, json, os, pathlib
with open(os.environ["MODELPACK_DATA"]) as file:
    rows = [(float(row["x"]), float(row["y"])) for row in csv.DictReader(file)]
slope = sum(x * y for x, y in rows) / sum(x * x for x, _ in rows)
told = json.loads(os.environ["MODELPACK_PARAMETERS"])
pathlib.Path(os.environ["MODELPACK_OUTPUT"], "model.json").write_text(json.dumps({"slope": slope * told["scale"]}))
"""
TRAINING = """\
apiVersion: modelpack.dev/v1
kind: Training
metadata: {name: mpg}
data: {source: "git:points.csv", target: y, key: [x]}
train: {command: [python, fit.py], parameters: {scale: 1.0}}
quality:
  predict: [python, ask.py]
  metrics: [{name: mae, limit: 0.5, margin: 0.05}]
stale: {signals: true}
runs: {timeout: 120s}
propose: commit
"""
GATE = """\
apiVersion: modelpack.dev/v1
kind: Gate
metadata: {name: mpg}
horizon: 2m
checks:
- {name: golden, type: golden, path: /predict, metric: mae, floor: 1.0, margin: 0.5}
signals:
- {name: live-error, type: labels, metric: mae, limit: 0.5, min_sample: 20}
"""
GOLDEN = "".join(json.dumps({"id": str(x), "request": {"x": x}, "expected": 2 * x}) + "\n" for x in range(1, 6))


class Machine:
    """A repository, images in a folder, and modelpack as people call it."""

    def __init__(self, root: Path) -> None:
        self.root, self.repo, self.rehearsal = root, root / "repo", root / "rehearsal"
        rules = f"registry.local/=oci:{root / 'images'}"
        self.environ = {**os.environ, "MODELPACK_HOME": str(root / "home"), "MODELPACK_VIA": rules}
        git(root, "init", "--quiet", "--initial-branch=main", "repo")
        tip = serving.files("v0", gate=GATE, golden=GOLDEN, serve=SERVE)
        files = {path: data.decode() for path, data in tip.items()}
        model = {"fit.py": FIT, "ask.py": training.ASK, "points.csv": training.points(), "training.yaml": TRAINING}
        commit(self.repo, files | {f"{FOLDER}/{name}": text for name, text in model.items()})

    def call(self, *words: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "modelpack", *words]
        done = subprocess.run(command, cwd=self.repo, env=self.environ, capture_output=True, text=True, timeout=280)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def reconcile(self, *words: str) -> list[dict[str, Any]]:
        found = json.loads(self.call("reconcile", "--once", "--json", *words))["outcomes"]
        assert isinstance(found, list)
        return found

    def rest(self, *words: str) -> list[str]:
        """Rounds until nothing is under way; what was done."""
        done: list[str] = []
        until = time.monotonic() + 200
        while time.monotonic() < until:
            outcomes = self.reconcile(*words)
            done += [each["reason"] for each in outcomes if each["action"] in ("started", "ended", "committed")]
            if all(each["action"] == "nothing" for each in outcomes):
                return done
            time.sleep(0.5)
        raise AssertionError(done)

    def rehearse(self, *words: str) -> str:
        return self.call("rehearse", "--repo", ".", "--state", str(self.rehearsal), "--speed", "25", *words)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_from_the_data_to_the_promotion_and_back(machine: Machine) -> None:
    first = machine.rest()
    assert sorted(words(first)) == ["v0 -> v1", "v1", "v1 passed"]  # its version is there before its process ends
    assert machine.rehearse().startswith("mpg v1: serves as the primary now")

    commit(machine.repo, {f"{FOLDER}/points.csv": training.points(count=260)}, "sixty cars more")
    assert sorted(words(machine.rest())) == ["v1 -> v2", "v2", "v2 passed"]
    report = machine.root / "report"
    assert machine.rehearse("--report", str(report)).startswith("mpg v2: promoted")

    with machine_gate(machine) as url:
        recorded = machine.reconcile("--only", "record", "--gate", url)
        assert [each["action"] for each in recorded] == ["recorded"]
        assert machine.reconcile("--only", "record", "--gate", url) == []
    told = json.loads(machine.call("lineage", f"{serving.IMAGE}:v2", "--json"))
    steps = {each["kind"]: each for each in told["steps"]}
    assert list(steps) == ["data", "code", "run", "evaluation", "image", "commit", "rollout", "verdict"]
    assert git(machine.repo, "rev-parse", f"HEAD:{FOLDER}/points.csv") in json.dumps(steps["data"])
    assert git(machine.repo, "rev-parse", "--short=7", "HEAD") in json.dumps(steps["commit"])
    assert (steps["evaluation"]["state"], steps["verdict"]["state"]) == ("good", "good")
    assert "promoted" in steps["verdict"]["title"]

    # a worse one: three quarters of what is right
    commit(machine.repo, {f"{FOLDER}/training.yaml": TRAINING.replace("scale: 1.0", "scale: 0.75")}, "another idea")
    before = git(machine.repo, "rev-parse", "HEAD")
    done = machine.rest()
    assert words(done) == ["v3", "v3 did not pass"]
    assert git(machine.repo, "rev-parse", "HEAD") == before
    (worse,) = [
        each for each in json.loads(machine.call("list", "mpg", "--json"))["versions"] if each["version"] == "v3"
    ]
    assert worse["passed"] is False
    table = machine.call("runs", "show", run_of(machine, "v3"))
    assert "mae" in table and "fail" in table

    # what was true turns out to be far from what v2 answers
    with machine_gate(machine) as url:
        answers = [{"id": str(x), "prediction": 2.0 * x, "version": "v2"} for x in range(25)]
        truths = [{"id": str(x), "truth": 2.0 * x + 3} for x in range(25)]
        requests.post(f"{url}/api/v1/models/mpg/predictions", json={"predictions": answers}, timeout=10)
        assert machine.reconcile("--only", "train", "--gate", url)[0]["action"] == "nothing"
        requests.post(f"{url}/api/v1/models/mpg/labels", json={"labels": truths}, timeout=10)
        again = machine.rest("--only", "train", "--gate", url)
    assert again[0].startswith("v4: the gate says live-error: mae 3 of 25 labels") and len(again) == 2


def words(done: list[str]) -> list[str]:
    return [each.partition(":")[0] for each in done]


def run_of(machine: Machine, version: str) -> str:
    runs = json.loads(machine.call("runs", "--json"))["runs"]
    return next(each["run"]["id"] for each in runs if each["run"]["version"] == version)


class machine_gate:  # noqa: N801
    """The gate over what a rehearsal left behind: its rollouts, once it is over."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def __enter__(self) -> str:
        words = ["gate", "serve", "--rehearsal", str(self.machine.rehearsal), "--port", str(free_port()), "--json"]
        self.program = subprocess.Popen(
            [sys.executable, "-m", "modelpack", *words], env=self.machine.environ, stdout=subprocess.PIPE, text=True
        )
        assert self.program.stdout is not None
        return str(json.loads(self.program.stdout.readline())["url"])

    def __exit__(self, *_: object) -> None:
        self.program.terminate()
        self.program.wait(20)
