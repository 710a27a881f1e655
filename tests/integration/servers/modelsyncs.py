"""A real API server with the definitions of ModelSync and PipelineRun, the operator beside it, and no Tekton.

A test says itself how a run ends, or lets `Ends` do it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.cluster.control_plane import ControlPlane, control_plane
from tests.integration.servers.gotools import go_tools
from tests.integration.servers.process import stop

ROOT = Path(__file__).parents[3]
KINDS = ROOT / "manifests" / "reconciler" / "modelsync.yaml"
V1, ORIGINAL = "modelpack.dev/v1", "automl.cloudai.kubeflow.org/v1alpha1"
TEKTON = "tekton.dev/v1"
Json = dict[str, Any]


@dataclass
class Server:
    """The API server, as its administrator."""

    plane: ControlPlane
    session: requests.Session

    def call(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Json:
        answer = self.session.request(
            method, self.plane.url + path, data=json.dumps(body), headers={"content-type": kind}, timeout=30
        )
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return dict(answer.json())

    def objects(self, api_version: str, plural: str, namespace: str = "default") -> list[Json]:
        return list(self.call("GET", f"/apis/{api_version}/namespaces/{namespace}/{plural}")["items"])

    def runs(self, owner: str = "") -> list[Json]:
        """PipelineRuns by number, all or those of one ModelSync."""
        found = self.objects(TEKTON, "pipelineruns")
        mine = [each for each in found if not owner or owner == each["metadata"]["ownerReferences"][0]["name"]]
        return sorted(mine, key=lambda each: int(each["metadata"]["annotations"]["modelpack.dev/number"]))

    def make(self, name: str, url: str, *, api_version: str = V1, **spec: Any) -> Json:
        template = {"spec": {"pipelineRef": {"name": "train"}}}
        body = {
            "apiVersion": api_version,
            "kind": "ModelSync",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"needsSyncUrl": url, "pipelineRunTemplate": template, **spec},
        }
        return self.call("POST", f"/apis/{api_version}/namespaces/default/modelsyncs", body)

    def change(self, name: str, **spec: Any) -> None:
        path = f"/apis/{V1}/namespaces/default/modelsyncs/{name}"
        self.call("PATCH", path, {"spec": spec}, "application/merge-patch+json")

    def status(self, name: str, api_version: str = V1) -> Json:
        found = self.call("GET", f"/apis/{api_version}/namespaces/default/modelsyncs/{name}")
        return dict(found.get("status") or {})

    def condition(self, name: str, kind: str, api_version: str = V1) -> tuple[str, str]:
        conditions = self.status(name, api_version).get("conditions") or ()
        return next(((each["status"], each["reason"]) for each in conditions if each["type"] == kind), ("", ""))

    def end(self, run: str, succeeded: bool = True) -> None:
        """What Tekton's controller writes at the end of a run."""
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        said = {"type": "Succeeded", "status": str(succeeded), "reason": "x", "message": "x", "lastTransitionTime": now}
        status = {"status": {"conditions": [said], "startTime": now, "completionTime": now}}
        path = f"/apis/{TEKTON}/namespaces/default/pipelineruns/{run}/status"
        self.call("PATCH", path, status, "application/merge-patch+json")

    def remove_all(self) -> None:
        options = {"propagationPolicy": "Background"}
        for path in (f"{V1}/namespaces/default/modelsyncs", f"{ORIGINAL}/namespaces/default/modelsyncs"):
            self.call("DELETE", f"/apis/{path}", options)
        self.call("DELETE", f"/apis/{TEKTON}/namespaces/default/pipelineruns", options)


@contextmanager
def api_server(folder: Path) -> Iterator[Server]:
    """Raises MissingError."""
    tekton = go_tools("tekton") / "crd" / "300-pipelinerun.yaml"
    with control_plane(folder) as plane, requests.Session() as session:
        config = json.loads(plane.kubeconfig.read_text())
        user = config["users"][0]["user"]
        session.trust_env = False
        session.verify = config["clusters"][0]["cluster"]["certificate-authority"]
        session.cert = (user["client-certificate"], user["client-key"])
        server = Server(plane, session)
        for each in (*yaml.safe_load_all(KINDS.read_text()), yaml.safe_load(tekton.read_text())):
            each["spec"].pop("conversion", None)  # its webhook is Tekton's
            server.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", each)
        places = (f"{V1}/modelsyncs", f"{ORIGINAL}/modelsyncs", f"{TEKTON}/pipelineruns")
        wait(lambda: all(session.get(f"{plane.url}/apis/{each}", timeout=10).ok for each in places), 30)
        wait(lambda: session.get(f"{plane.url}/api/v1/namespaces/default", timeout=10).ok, 30)
        yield server


@contextmanager
def operator(
    server: Server, log: Path, *words: str, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """`modelpack operator` for the namespace default, as a process of its own."""
    command = [sys.executable, "-m", "modelpack", "operator", "--namespace=default", *words]
    environ = {**os.environ, "KUBECONFIG": str(server.plane.kubeconfig), **(env or {})}
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environ, cwd=ROOT, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            stop(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(10)


def wait(until: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.1)


class Relay:
    """TCP in front of a server; `cut()` ends every connection and lets none in until `mend()`."""

    def __init__(self, port: int) -> None:
        self._target, self._open, self._sockets = port, True, set[socket.socket]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._open = False
        for each in tuple(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._open = True

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if not self._open:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets |= {client, server}
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            self._sockets.discard(each)
