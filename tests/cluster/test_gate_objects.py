"""The gate's eyes on a real API server: the example as it stands in Git, read with the gate's own rights."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from modelpack.errors import NotFoundError, RemoteError
from modelpack.rollout.cluster import Cluster
from tests.cluster.variants import Server, started
from tests.command import argv, environ
from tests.integration.conftest import available

pytestmark = pytest.mark.xdist_group("control-plane")

ROOT = Path(__file__).parents[2]
NEW = f"registry.local/models/mpg:v2@sha256:{2:064d}"
STATUS = {
    "phase": "Progressing",
    "canaryWeight": 25,
    "failedChecks": 1,
    "iterations": 0,
    "lastAppliedSpec": "abc",
    "lastPromotedSpec": "def",
    "lastTransitionTime": "2026-01-02T03:04:05Z",
    "conditions": [
        {"type": "Promoted", "status": "Unknown", "reason": "Progressing", "message": "New revision detected"}
    ],
}


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The example in the middle of a canary: Flagger's part of it is written by hand."""
    with available(lambda: started(tmp_path_factory.mktemp("objects"))) as server:
        for folder in ("manifests/gate", "manifests/mpg", "model-images/mpg"):
            server.kubectl("apply", "--server-side", "-k", str(ROOT / folder))
        path = "/spec/template/spec/initContainers/0/image"
        image = json.dumps([{"op": "replace", "path": path, "value": NEW}])
        primary = json.loads(server.kubectl("get", "deployment", "mpg", "-o", "json"))
        primary["metadata"] = {"name": "mpg-primary", "namespace": "default"}
        server.kubectl("create", "-f", "-", stdin=json.dumps(primary))
        server.kubectl("patch", "deployment", "mpg", "--type=json", f"--patch={image}")
        status = json.dumps({"status": STATUS})
        server.kubectl("patch", "canary", "mpg", "--subresource=status", "--type=merge", f"--patch={status}")
        yield server


@pytest.fixture(scope="module")
def kubeconfig(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The administrator's with the token of the gate's service account instead."""
    config = json.loads(server.kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
    token = server.kubectl("create", "token", "modelpack-gate", "--namespace=modelpack").strip()
    for each in config["users"]:
        each["user"] = {"token": token}
    path = tmp_path_factory.mktemp("account") / "config"
    path.write_text(json.dumps(config))
    return path


@pytest.fixture
def cluster(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    return Cluster.connect()


def test_the_example_is_read_with_the_rights_of_the_gate(cluster: Cluster) -> None:
    seen = cluster.observe("default", "mpg")
    assert (seen.phase, seen.weight, seen.failed_checks, seen.message) == (
        "Progressing",
        25,
        1,
        "New revision detected",
    )
    assert (seen.last_applied, seen.last_promoted, seen.last_transition) == ("abc", "def", 1767323045.0)
    assert (seen.service, seen.port, seen.interval, seen.steps) == ("mpg", 8080, 10.0, (10, 25, 50))
    assert seen.canary_image == NEW and seen.primary_image.startswith("registry.local/models/mpg:v1")
    files = cluster.config_map("default", "gate-mpg")
    assert files["gate.yaml"] == (ROOT / "model-images/mpg/gate.yaml").read_bytes()
    assert files["golden.jsonl"] == (ROOT / "model-images/mpg/golden.jsonl").read_bytes()
    assert cluster.version().startswith("v1.")


def test_what_is_not_there_and_what_may_not_be_read_are_told_apart(cluster: Cluster) -> None:
    with pytest.raises(NotFoundError, match="Canary default/other: is not there"):
        cluster.observe("default", "other")
    for look in (lambda: cluster.observe("kube-system", "mpg"), cluster.canaries):
        with pytest.raises(RemoteError, match=r"may not be read: .*modelpack-gate.*cannot"):
            look()


def test_an_administrator_sees_canaries_and_events(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(server.plane.kubeconfig))
    cluster = Cluster.connect()
    assert cluster.canaries() == cluster.canaries("default") == (("default", "mpg"),)
    assert cluster.canaries("modelpack") == ()
    for name, second, kind in (("b", 7, "Warning"), ("a", 6, "Normal")):
        event: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": "default"},
            "involvedObject": {"kind": "Canary", "name": "mpg", "namespace": "default"},
            "reason": "Synced",
            "message": f"event {name}",
            "type": kind,
            "lastTimestamp": f"2026-01-02T03:04:0{second}Z",
        }
        server.kubectl("create", "-f", "-", stdin=json.dumps(event))
    assert [(each.type, each.message) for each in cluster.events("default", "mpg")] == [
        ("Normal", "event a"),
        ("Warning", "event b"),
    ]
    assert cluster.events("default", "other") == ()


@contextmanager
def served(folder: Path, kubeconfig: Path, *words: str, prometheus: str = "http://127.0.0.1:9") -> Iterator[str]:
    """`modelpack gate serve --cluster` with its state in `folder`; it has to end well when it is told to."""
    env = environ(folder, {"KUBECONFIG": str(kubeconfig)})
    env.pop("KUBERNETES_SERVICE_HOST", None)
    command = argv("gate", "serve", "--cluster", "--prometheus", prometheus, "--state", folder, "--json", *words)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=folder)
    try:
        assert process.stdout
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        assert process.wait(15) == 0


def test_the_gate_serves_a_cluster(kubeconfig: Path, tmp_path: Path) -> None:
    who = {"name": "mpg", "namespace": "default", "metadata": {"model": "mpg"}}
    body = {**who, "phase": "Progressing", "checksum": "c"}
    with served(tmp_path, kubeconfig) as url:
        assert requests.get(f"{url}/readyz", timeout=10).status_code == 200
        found = requests.get(f"{url}/api/v1/models/mpg?namespace=default", timeout=10)
        assert [each["name"] for each in found.json()["checks"]] == ["golden", "errors", "latency", "promise"]
        other = requests.get(f"{url}/api/v1/models/mpg?namespace=kube-system", timeout=10)
        assert other.status_code == 503 and "may not be read" in other.text
        answer = requests.post(f"{url}/flagger/confirm-traffic-increase", json=body, timeout=10)
        assert answer.status_code == 403 and answer.text.startswith("pending: golden")
        (rollout,) = requests.get(f"{url}/api/v1/rollouts", timeout=10).json()["rollouts"]
        assert (rollout["image"], rollout["weight"], rollout["phase"]) == (NEW, 25, "Progressing")
    assert (tmp_path / "gate.sqlite").exists()


def test_a_gate_that_never_reached_its_api_server_is_not_ready(tmp_path: Path) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
    }
    (tmp_path / "config").write_text(json.dumps(config))
    with served(tmp_path, tmp_path / "config", "--context", "c") as url:
        answer = requests.get(f"{url}/readyz", timeout=10)
        assert answer.status_code == 503 and "the API server cannot be reached" in answer.text
        assert requests.get(f"{url}/healthz", timeout=10).status_code == 200
