"""A repository that serves a model, as the files of its tip, and model containers that are only folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelpack.reference import Reference
from modelpack.rehearse.plan import Plan, read_plan

IMAGE = "registry.local/models/mpg"
SERVER = Path(__file__).with_name("model_server.py")
HOOKS = (
    "confirm-rollout",
    "pre-rollout",
    "rollout",
    "confirm-traffic-increase",
    "confirm-promotion",
    "post-rollout",
    "rollback",
    "event",
)

MODEL = f"""\
apiVersion: modelpack.dev/v1
kind: Model
metadata: {{name: mpg}}
source: ./artifacts/{{version}}
image: {IMAGE}
targets:
- {{file: deployment.yaml, kind: Deployment, name: mpg, initContainer: model}}
"""

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: mpg, namespace: default}
spec:
  selector: {matchLabels: {app: mpg}}
  template:
    metadata: {labels: {app: mpg}}
    spec:
      initContainers:
      - name: model
        image: %s
        volumeMounts: [{name: model, mountPath: /mnt/models}]
      containers:
      - name: server
        image: registry.local/server:1
        command: [python, serve.py]
        env: [{name: PORT, value: "8080"}]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}}
        volumeMounts: [{name: model, mountPath: /mnt/models, readOnly: true}]
      volumes: [{name: model, emptyDir: {}}]
"""

MOUNTED_MODEL = MODEL.replace("initContainer: model", "volume: model")
MOUNTED = """\
kind: Deployment
metadata: {name: mpg, namespace: default}
spec:
  template:
    metadata: {labels: {app: mpg}}
    spec:
      containers:
      - name: server
        command: [python, serve.py]
        volumeMounts: [{name: model, mountPath: /mnt/models, subPath: models, readOnly: true}]
      volumes: [{name: model, image: {reference: "%s"}}]
"""

GATE = """\
apiVersion: modelpack.dev/v1
kind: Gate
metadata: {name: mpg}
horizon: 10m
checks:
- {name: golden, type: golden, path: /predict, metric: mae, floor: 3, margin: 0.3}
"""
GOLDEN = '{"id": "a", "request": {"x": 1}, "expected": 1}\n{"id": "b", "request": {"x": 2}, "expected": 2}\n'


def canary(analysis: str = "stepWeights: [20, 50]", deadline: int = 20) -> str:
    hooks = "".join(
        f"    - {{name: {h}, type: {h}, url: 'http://gate.gate/flagger/{h}', metadata: {{model: mpg}}}}\n"
        for h in HOOKS
    )
    return f"""\
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {{name: mpg, namespace: default}}
spec:
  targetRef: {{apiVersion: apps/v1, kind: Deployment, name: mpg}}
  progressDeadlineSeconds: {deadline}
  service: {{port: 8080}}
  analysis:
    interval: 10s
    threshold: 2
    {analysis}
    webhooks:
{hooks}"""


def files(version: str, **changes: str) -> dict[str, bytes]:
    """The tip that names one version; `changes` replace files by the name before the dot."""
    texts = {
        "model-images/mpg/model.yaml": MODEL,
        "model-images/mpg/gate.yaml": GATE,
        "model-images/mpg/golden.jsonl": GOLDEN,
        "deployment.yaml": DEPLOYMENT % f"{IMAGE}:{version}",
        "canary.yaml": canary(),
        "serve.py": SERVER.read_text(),
    }
    texts |= {path: changes[name] for path in texts if (name := Path(path).stem) in changes}
    return {path: text.encode() for path, text in texts.items()}


def plan(version: str, **changes: str) -> Plan:
    tip = files(version, **changes)
    return read_plan(tuple(tip), tip.get)


def image(version: str) -> Reference:
    digest = "sha256:" + hashlib.sha256(version.encode()).hexdigest()
    return Reference.parse(f"{IMAGE}:{version}").at(tag=version, digest=digest)


class Shelf:
    """Model containers by tag; unpacks them as a registry client would."""

    def __init__(self, **models: Mapping[str, Any]) -> None:
        self.models = models
        self.unpacked: list[str] = []

    def unpack(self, reference: Reference, root: Path) -> None:
        self.unpacked.append(reference.tag)
        for folder in ("models", "modelpack"):
            (root / folder).mkdir()
        model = {"version": reference.tag, **self.models.get(reference.tag, {})}
        (root / "models" / "model.json").write_text(json.dumps(model))
        (root / "modelpack" / "copy.sh").write_text('cp -R "$MODELPACK_SRC/." "$MODELPACK_DEST/"\n')

    @staticmethod
    def export(folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "serve.py").write_bytes(SERVER.read_bytes())
