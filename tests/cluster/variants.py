"""The example's Canary with every variant of flagger/, and the real Flagger that walks them on an API server alone.

No data plane: Deployments are marked ready by a loop, and a route is only an object, validated by its real definition.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from kubernetes import client

from tests.cluster.control_plane import ControlPlane, control_plane
from tests.fakes.scripted_gate import ScriptedGate
from tests.integration.servers.gotools import go_tool, go_tools
from tests.integration.servers.process import MissingError, free_port, program, running

ROOT = Path(__file__).parents[2]
FLAGGER = ROOT / "flagger"
INSTALLS = {"contour": "install", "kubernetes": "install/base"} | {
    each: f"install/{each}" for each in ("gatewayapi", "istio", "nginx")
}
ROUTES = {
    "contour": ("projectcontour.io", "v1", "httpproxies"),
    "gatewayapi": ("gateway.networking.k8s.io", "v1", "httproutes"),
    "istio": ("networking.istio.io", "v1beta1", "virtualservices"),
    "nginx": ("networking.k8s.io", "v1", "ingresses"),
}
CRDS = (("sigs.k8s.io/gateway-api", "config/crd/standard"), ("istio.io/api", "kubernetes"))  # of crds/go.mod
ROLLOUT = 300  # seconds for all of them, side by side; the longest takes about 110
WEIGHTS = ('"weight": 10', '"weight": 25', '"weight": 50')
NGINX_WEIGHTS = tuple(f'canary-weight": "{each}"' for each in (10, 25, 50))


@dataclass(frozen=True)
class Case:
    """The example's Canary with components on top: its provider, what its route says on the way, and how it ends."""

    name: str
    provider: str
    components: tuple[str, ...]
    route: tuple[str, ...] = ()
    end: str = "Succeeded"


CASES = (
    Case("weighted", "contour", (), WEIGHTS),
    Case("blue-green", "contour", ("blue-green",), ('"weight": 100',)),
    Case("header", "contour", ("ab-header",), ('"exact": "insider"', '"weight": 100')),
    Case("cookie", "contour", ("ab-cookie-contour",), ('"contains": "canary=always"', '"weight": 100')),
    Case("alerts", "contour", ("alerts",), (), "Failed"),
    Case("metrics", "contour", ("metrics",), ('"weight": 10',), "Failed"),
    Case("blue-green", "kubernetes", ("kubernetes",)),
    Case("weighted", "gatewayapi", ("gatewayapi",), WEIGHTS),
    Case("blue-green", "gatewayapi", ("gatewayapi", "blue-green"), ('"weight": 100',)),
    Case("header", "gatewayapi", ("gatewayapi", "ab-header"), ('"value": "insider"',)),
    Case("cookie", "gatewayapi", ("gatewayapi", "ab-cookie"), ('"type": "RegularExpression"', "canary=always")),
    Case("mirror", "gatewayapi", ("gatewayapi", "mirror"), ('"type": "RequestMirror"',)),
    Case("weighted", "istio", ("istio",), WEIGHTS),
    Case("blue-green", "istio", ("istio", "blue-green"), ('"weight": 100',)),
    Case("header", "istio", ("istio", "ab-header"), ('"exact": "insider"',)),
    Case("cookie", "istio", ("istio", "ab-cookie"), ('"regex": "^(.*; *)?canary=always',)),
    Case("mirror", "istio", ("istio", "mirror"), ('"mirror": {"host": "mirror-canary"}',)),
    Case("weighted", "nginx", ("nginx",), NGINX_WEIGHTS),
    Case("blue-green", "nginx", ("nginx", "blue-green"), ('canary-weight": "100"',)),
    Case("header", "nginx", ("nginx", "ab-header"), ('canary-by-header-value": "insider"',)),
    Case("cookie", "nginx", ("nginx", "ab-cookie-nginx"), ('canary-by-cookie": "canary"',)),
)
BY_WEIGHTS = ("weighted", "alerts", "metrics")


@dataclass(frozen=True)
class Server:
    """A control plane that knows the definitions of Flagger and of every provider."""

    plane: ControlPlane
    folder: Path

    def kubectl(self, *argv: str, stdin: str = "", fails: bool = False) -> str:
        """What it says: its errors where it has to fail."""
        command = [str(go_tool("kubernetes", "kubectl")), f"--kubeconfig={self.plane.kubeconfig}"]
        command += [f"--cache-dir={self.folder / 'cache'}", *argv]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120)
        assert bool(done.returncode) is fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    def built(self, *components: str) -> str:
        """The example's Canary with these variants, as `kubectl kustomize` writes it."""
        folder = self.folder / "-".join(("built", *components))
        folder.mkdir(exist_ok=True)
        lines = ["kind: Kustomization", "resources:", f"- {os.path.relpath(FLAGGER / 'mpg', folder)}", "components:"]
        lines += [f"- {os.path.relpath(FLAGGER / 'variants' / each, folder)}" for each in components]
        (folder / "kustomization.yaml").write_text("\n".join(lines if components else lines[:-1]) + "\n")
        return self.kubectl("kustomize", str(folder))

    def valid(self, text: str, *, fails: bool = False) -> str:
        return self.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text, fails=fails)


def definitions() -> Iterator[Path]:
    """Folders with what the API server has to know; Go checks the modules by go.sum. Raises MissingError."""
    yield from (go_tools(each) / "crd" for each in ("flagger", "contour"))
    for module, folder in CRDS:
        argv = [program("go", "Go 1.21 or later from https://go.dev/dl"), "mod", "download", "-json", module]
        done = subprocess.run(argv, cwd=Path(__file__).parent / "crds", capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise MissingError(module, f"go mod download says {done.stdout}{done.stderr}")
        yield Path(json.loads(done.stdout)["Dir"]) / folder


@contextmanager
def started(folder: Path) -> Iterator[Server]:
    """The control plane with these definitions. Raises MissingError."""
    files = [f"--filename={each}" for each in definitions()]
    with control_plane(folder / "plane") as plane:
        server = Server(plane, folder)
        server.kubectl("apply", "--server-side", *files)
        server.kubectl("wait", "--for=condition=Established", "crd", "--all")
        yield server


@dataclass
class Seen:
    """All of it: each Canary's last phase, what stood in its route, the hooks it called, and Flagger's logs."""

    gate: ScriptedGate
    phases: dict[tuple[str, str], str] = field(default_factory=dict)
    initialized: set[tuple[str, str]] = field(default_factory=set)
    routes: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)

    def hooks(self, case: Case) -> list[str]:
        names = {"name": case.name, "namespace": case.provider}
        return [hook for hook, body in self.gate.calls if names.items() <= body.items()]

    def look(self, api: client.CustomObjectsApi) -> None:
        for provider, kind in ROUTES.items():
            for item in api.list_namespaced_custom_object(kind[0], kind[1], provider, kind[2])["items"]:
                said = json.dumps([item["spec"], item["metadata"].get("annotations")])
                name = item["metadata"]["name"].removesuffix("-canary")
                self.routes.setdefault((provider, name), set()).add(said)
        for item in api.list_cluster_custom_object("flagger.app", "v1beta1", "canaries")["items"]:
            key = (item["metadata"]["namespace"], item["metadata"]["name"])
            self.phases[key] = item.get("status", {}).get("phase", "")
            if self.phases[key] == "Initialized":
                self.initialized.add(key)


def example(server: Server, case: Case, gate: str) -> str:
    """The example under the case's name and namespace, with this gate, and iterations that are over soon."""
    files = [(ROOT / "manifests/mpg" / name).read_text() for name in ("deployment.yaml", "autoscaler.yaml")]
    text = "\n---\n".join([*files, server.built(*case.components)])
    text = beside(text.replace("namespace: default", f"namespace: {case.provider}"), case.provider)
    text = re.sub(r"\bmpg\b", case.name, text).replace("http://modelpack-gate.modelpack", gate)
    return text.replace("iterations: 10", "iterations: 2")


def beside(text: str, namespace: str) -> str:
    """A Flagger of one namespace finds MetricTemplates and AlertProviders in that one only."""
    return text.replace("namespace: modelpack", f"namespace: {namespace}")


def wait(seen: Seen, api: client.CustomObjectsApi, until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + ROLLOUT
    while not until():
        assert time.monotonic() < deadline, seen.phases
        time.sleep(1)
        seen.look(api)


@contextmanager
def flagger(server: Server, provider: str) -> Iterator[Path]:
    """Flagger as its install runs it, with the account it gives it (Contour's under its true name); gives its log."""
    suffix = "" if provider == "contour" else f"-{provider}"
    objects = list(yaml.safe_load_all(server.kubectl("kustomize", str(FLAGGER / INSTALLS[provider]))))
    access = [each for each in objects if each["kind"] in ("ServiceAccount", "ClusterRole", "ClusterRoleBinding")]
    for each in access:
        for named in (each["metadata"], each.get("roleRef", {}), *each.get("subjects", ())):
            named["name"] = f"flagger{suffix}"
    server.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(access))
    token = server.kubectl("-n", "flagger-system", "create", "token", f"flagger{suffix}").strip()
    own = json.loads(server.plane.kubeconfig.read_text())
    own["users"][0]["user"] = {"token": token}
    kubeconfig, log = server.folder / f"flagger-{provider}.json", server.folder / f"flagger-{provider}.log"
    kubeconfig.write_text(json.dumps(own))
    deployment = next(each for each in objects if each["kind"] == "Deployment")
    args = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    argv = [str(go_tool("flagger")), *args, f"-kubeconfig={kubeconfig}", f"-namespace={provider}"]
    argv += [f"-port={free_port()}", "-control-loop-interval=1s"]
    with running(argv, log, lambda said: "Started operator workers" in said):
        yield log
