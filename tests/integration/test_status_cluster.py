"""`modelpack status` against a real API server: Flagger's definition of a Canary, the gate behind its Service."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.control_plane import ControlPlane, control_plane
from tests.command import Done, modelpack
from tests.fakes.scene import V1, V2, V3, rollout
from tests.integration.conftest import available
from tests.integration.servers.gotools import go_tool, go_tools


@dataclass(frozen=True)
class Server:
    """An API server with Flagger's definition, and a namespace for the gate."""

    plane: ControlPlane
    folder: Path

    def kubectl(self, *argv: str, stdin: object = None) -> None:
        command = [str(go_tool("kubernetes", "kubectl")), f"--kubeconfig={self.plane.kubeconfig}", *argv]
        words = json.dumps(stdin) if stdin else None
        done = subprocess.run(command, input=words, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": list(objects)})

    def status(self, *words: str) -> Done:
        env = {"KUBECONFIG": str(self.plane.kubeconfig)}
        return modelpack("status", *words, cwd=self.folder, env=env)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("status")
    with available(lambda: control_plane(folder / "plane")) as plane:
        found = Server(plane, folder)
        found.kubectl("apply", "--server-side", "-f", str(go_tools("flagger") / "crd"))
        found.kubectl("wait", "--for=condition=Established", "crd/canaries.flagger.app")
        found.kubectl("create", "namespace", "modelpack")
        found.apply(deployment("mpg", V2), deployment("mpg-primary", V1), canary("mpg"))
        found.kubectl("patch", "canary", "mpg", "--subresource=status", "--type=merge", "-p", json.dumps(STATUS))
        found.kubectl("create", "-f", "-", stdin=event("Halt mpg.default advancement waiting for approval"))
        yield found


STATUS = {
    "status": {
        "phase": "WaitingPromotion", "canaryWeight": 0, "failedChecks": 0, "iterations": 0,
        "lastAppliedSpec": "5c7d", "lastPromotedSpec": "6b8f",
        "lastTransitionTime": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
}  # fmt: skip


def deployment(name: str, image: str) -> dict[str, Any]:
    container = {"name": "server", "image": "registry.local/servers/mpg:v1"}
    template = {"spec": {"initContainers": [{"name": "model", "image": image}], "containers": [container]}}
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, **template}},
    }  # fmt: skip


def canary(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "flagger.app/v1beta1", "kind": "Canary", "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "service": {"port": 8080},
            "analysis": {"interval": "10s", "threshold": 3, "stepWeights": [10, 25, 50]},
        },
    }  # fmt: skip


def event(message: str) -> dict[str, Any]:
    about = {"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "name": "mpg", "namespace": "default"}
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1", "kind": "Event", "metadata": {"generateName": "mpg-", "namespace": "default"},
        "involvedObject": about, "type": "Warning", "reason": "Synced", "message": message,
        "firstTimestamp": now, "lastTimestamp": now, "count": 1,
    }  # fmt: skip


def own_address() -> str:
    """This machine's address as others see it: an API server proxies to no loopback one. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


@pytest.fixture
def gate(server: Server) -> Iterator[None]:
    """A gate behind the Service that the manifests install, with one rollout that waits for more requests.

    The API server proxies only to an address that an Endpoints object and a Pod agree on.
    """
    found = rollout(started=time.time() - 60, events=[])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"rollouts": [found]} if self.path == "/api/v1/rollouts" else found).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    address = own_address()
    with ThreadingHTTPServer((address, 0), Handler) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        place = {"name": "modelpack-gate", "namespace": "modelpack"}
        port = {"name": "http", "port": listener.server_address[1]}
        pod = {"kind": "Pod", **place}
        server.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**place, "name": "default"}},
            {"apiVersion": "v1", "kind": "Service", "metadata": place, "spec": {"ports": [{**port, "port": 80}]}},
            {
                "apiVersion": "v1", "kind": "Endpoints", "metadata": place,
                "subsets": [{"addresses": [{"ip": address, "targetRef": pod}], "ports": [port]}],
            },
        )  # fmt: skip
        spec = {"containers": [{"name": "gate", "image": "registry.local/gate"}], "automountServiceAccountToken": False}
        server.apply({"apiVersion": "v1", "kind": "Pod", "metadata": place, "spec": spec})
        runs = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}
        change = ("--subresource=status", "--type=merge", "-p", json.dumps(runs))
        server.kubectl("-n", "modelpack", "patch", "pod", "modelpack-gate", *change)
        yield
        server.kubectl("-n", "modelpack", "delete", "service/modelpack-gate")
        listener.shutdown()


def test_a_canary_its_deployments_its_events_and_the_gate(server: Server, gate: None) -> None:
    value = json.loads(server.status("--json").out)
    assert (value["phase"], value["weight"], value["steps"]) == ("WaitingPromotion", 50, [10, 25, 50])
    assert (value["primary"]["image"], value["canary"]["image"]) == (V1, V2)
    assert "error" not in value["gate"], value["gate"]
    assert (value["gate"]["verdict"], value["gate"]["checks"][0]["n"]) == ("undecided", 312)
    assert value["next"]["waitsFor"] == "gate"
    assert value["git"] == {"error": "not asked (no --repo)"}
    (told,) = value["events"]
    assert (told["message"], told["warning"]) == ("Halt mpg.default advancement waiting for approval", True)
    assert "default/mpg  " in server.status("economy").out


def test_without_the_gate_the_rest_is_shown(server: Server) -> None:
    done = server.status("mpg", "-n", "default")
    assert done.code == 0, done.err
    assert "canary   runs v2 (222222222222)\n" in done.out
    assert "gate     cannot be reached (is not there: " in done.out


def test_a_canary_that_is_not_there(server: Server) -> None:
    assert (server.status("other").code, server.status("mpg", "-n", "modelpack").code) == (3, 3)


def test_several_are_a_line_each_whoever_they_belong_to(server: Server) -> None:
    plain = deployment("web", V3)
    del plain["spec"]["template"]["spec"]["initContainers"]
    server.apply(plain, canary("web"))
    try:
        lines = server.status().out.splitlines()
        assert lines[0].split() == ["default/mpg", "WaitingPromotion", "50%", "v1", "->", "v2", "no", "gate"]
        assert lines[1].split() == ["default/web", "unknown"]
        assert "has no init container, image volume or container 'model'" in " ".join(lines[2:])
    finally:
        server.kubectl("delete", "canary/web", "deployment/web")
