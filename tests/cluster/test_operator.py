"""manifests/reconciler on the real Tekton: its pods start runs, with their rights and behind their policies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import tekton
from tests.cluster.environment import Environment
from tests.cluster.images import BUSYBOX
from tests.cluster.world import ROOT, wait

pytestmark = pytest.mark.xdist_group("cluster")

NAMESPACE = "modelpack-training"
IMAGE = f"registry.example.com/{BUSYBOX}"
PODS = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
STEP = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
SECONDS = 120


@pytest.fixture(name="environment", scope="module")
def _environment(cluster: Environment) -> Iterator[Environment]:
    """The operator as it is installed, and in place of needs-sync a pod with its label that always wants a run."""
    tekton.install(cluster)
    folders = [str(ROOT / "manifests" / each) for each in ("tekton", "reconciler")]
    for each in folders:
        cluster.kubectl("apply", "--server-side", "-k", each)
    cluster.kubectl("scale", "deployment/modelpack-needs-sync", "-n=modelpack", "--replicas=0")
    cluster.apply(_answering())
    for wanted in ("deployment/modelpack-operator", "pod/needs-sync"):
        kind = "Available" if wanted.startswith("deployment") else "Ready"
        cluster.kubectl("wait", wanted, "-n=modelpack", f"--for=condition={kind}", "--timeout=55s")
    yield cluster
    cluster.kubectl("delete", "pod/needs-sync", "-n=modelpack", "--grace-period=0", "--force")
    for each in reversed(folders):
        cluster.kubectl("delete", "-k", each, "--timeout=50s")


def _answering() -> dict[str, Any]:
    answer = json.dumps({"kind": "NeedsSync", "needsSync": True, "parameters": {"name": "v2"}})
    script = f"mkdir /tmp/w && echo '{answer}' > /tmp/w/needsTrain && exec httpd -f -p 8080 -h /tmp/w"
    container = {
        "name": "busybox",
        "image": IMAGE,
        "command": ["sh", "-c", script],
        "ports": [{"name": "http", "containerPort": 8080}],
        "securityContext": STEP,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    volumes = [{"name": "tmp", "emptyDir": {}}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "needs-sync", "namespace": "modelpack", "labels": {"app": "modelpack-needs-sync"}},
        "spec": {"automountServiceAccountToken": False, "securityContext": PODS, "containers": [container]}
        | {"volumes": volumes},
    }


def modelsync(name: str, script: str) -> dict[str, Any]:
    step = {"name": "s", "image": IMAGE, "command": ["sh", "-c", script], "securityContext": STEP}
    spec = {
        "pipelineSpec": {"params": [{"name": "name"}], "tasks": [{"name": "t", "taskSpec": {"steps": [step]}}]},
        "taskRunTemplate": {
            "serviceAccountName": "modelpack-train",
            "podTemplate": {"automountServiceAccountToken": False, "securityContext": PODS},
        },
    }
    return {
        "apiVersion": "modelpack.dev/v1",
        "kind": "ModelSync",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "needsSyncUrl": "http://modelpack-needs-sync.modelpack/needsTrain",
            "interval": "2s",
            "parameters": [{"pipelineName": "name"}],
            "pipelineRunTemplate": {"spec": spec},
        },
    }


def test_runs_start_and_their_ends_are_seen_after_a_pod_was_killed(environment: Environment) -> None:
    environment.apply(modelsync("good", "echo $(params.name); sleep 5"), modelsync("bad", "exit 3"))
    wait("a run to go on", lambda: record(environment, "good").get("state") == "Running", SECONDS)
    environment.kubectl(
        "delete", "pod", "-n=modelpack", "-l=app=modelpack-operator", "--grace-period=0", "--force", "--wait=false"
    )
    wait("good to succeed", lambda: record(environment, "good").get("state") == "Succeeded", SECONDS)
    wait("bad to fail", lambda: record(environment, "bad").get("state") == "Failed", SECONDS)
    runs = environment.get("pipelineruns", NAMESPACE)["items"]
    ours = [each["metadata"]["labels"].get("modelpack.dev/modelsync") for each in runs]
    assert sorted(each for each in ours if each) == ["bad", "good"]


def record(environment: Environment, name: str) -> dict[str, Any]:
    status = environment.get("modelsyncs.modelpack.dev", NAMESPACE, name).get("status") or {}
    return dict(status.get("lastRun") or {})
