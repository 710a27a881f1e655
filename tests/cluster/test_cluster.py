"""The cluster is a real one: what the scenarios build on works, and nothing of it stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests

from tests.cluster import layout, machine
from tests.cluster.environment import Environment
from tests.cluster.images import BUSYBOX
from tests.cluster.layout import State
from tests.cluster.supervisor import STARTING
from tests.integration.servers.process import program

pytestmark = pytest.mark.xdist_group("cluster")

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
NAMESPACE = "test-cluster"
IMAGE = f"registry.example.com/{BUSYBOX}"
GIT = ("git", "-c", "user.name=Tests", "-c", "user.email=tests@example.com")


# -- before there is a cluster


def test_a_killed_supervisor_leaves_nothing_after_down(no_cluster: State) -> None:
    assert _traces(no_cluster) == set()
    env = {**os.environ, "MODELPACK_CLUSTER_DIR": str(no_cluster.folder)}
    command = [sys.executable, "-m", "tests.cluster"]
    up = subprocess.Popen([*command, "up"], cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _until(lambda: machine.components(no_cluster).get("kube-router", {}).get("state") == STARTING, 400, up)
    assert {each.split()[0] for each in _traces(no_cluster)} == {"process", "link", "route", "cgroup", "folder"}
    up.kill()
    up.wait()
    os.kill(json.loads(no_cluster.process.read_text())["pid"], signal.SIGKILL)
    subprocess.run([*command, "down"], cwd=ROOT, env=env, check=True)
    assert _traces(no_cluster) == set()


def _traces(state: State) -> set[str]:
    """Everything of the cluster that this machine shows."""
    ip = program("ip", "apt-get install iproute2")
    links = subprocess.run([ip, "-o", "link"], capture_output=True, text=True, check=True).stdout
    routes = subprocess.run([ip, "route"], capture_output=True, text=True, check=True).stdout
    save = program("iptables-save", "apt-get install iptables")
    rules = subprocess.run([save], capture_output=True, text=True, check=True).stdout
    mounts = Path("/proc/self/mountinfo").read_text()
    found = {f"link {line}" for line in links.splitlines() if layout.LINK in line}
    found |= {f"route {line}" for line in routes.splitlines() if any(each in line for each in layout.ROUTED)}
    found |= {f"rule {line}" for line in rules.splitlines() if "KUBE" in line or layout.PODS in line}
    found |= {f"mount {line}" for line in mounts.splitlines() if str(state.folder) in line}
    found |= {f"cgroup {each}" for each in Path("/sys/fs/cgroup").glob(f"**/{layout.NAME}")}
    found |= {f"folder {state.folder}"} if state.folder.exists() else set()
    for each in Path("/proc").glob("[0-9]*"):
        try:
            command = (each / "cmdline").read_bytes()
            said = command + (each / "cgroup").read_bytes() if command else b""  # without one it has ended already
        except OSError:
            continue
        if str(state.folder).encode() in said or layout.NAME.encode() in said:
            found.add(f"process {each.name}")
    return found


# -- with it


@pytest.fixture(scope="module")
def kube(cluster: Environment) -> Iterator[Environment]:
    """The cluster, with a namespace for these tests, a web server `web` and a pod `client` in it."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    _until(lambda: "default" in cluster.kubectl("get", "serviceaccounts", f"-n={NAMESPACE}"), 30)
    # what the web server serves is a folder of an image that is mounted as a volume
    volume = {"name": "content", "image": {"reference": IMAGE}}
    web = _pod("web", ["httpd", "-f", "-p", "8080", "-h", "/content"], volumes=[volume])
    web["spec"]["containers"][0]["volumeMounts"] = [{"name": "content", "mountPath": "/content", "subPath": "bin"}]
    service = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    cluster.apply(web, _pod("client", ["sleep", "3600"]), {**_named("v1", "Service", "web"), "spec": service})
    cluster.kubectl("wait", "pod", "--all", f"-n={NAMESPACE}", "--for=condition=Ready", "--timeout=50s")
    yield cluster
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_the_node_is_ready(cluster: Environment) -> None:
    (node,) = cluster.get("nodes")["items"]
    assert {each["type"]: each["status"] for each in node["status"]["conditions"]}["Ready"] == "True"


def test_a_folder_of_an_image_is_a_volume(kube: Environment) -> None:
    assert "busybox" in kube.kubectl("exec", f"-n={NAMESPACE}", "web", "--", "ls", "/content").split()


def test_names_resolve_inside(kube: Environment) -> None:
    address = kube.get("service", NAMESPACE, "web")["spec"]["clusterIP"]
    said = kube.kubectl("exec", f"-n={NAMESPACE}", "client", "--", "nslookup", f"web.{NAMESPACE}.svc.cluster.local")
    assert f"Address: {address}" in said


def test_a_service_answers_through_envoy_even_after_envoy_was_killed(kube: Environment) -> None:
    route = {"virtualhost": {"fqdn": "web.example.com"}, "routes": [{"services": [{"name": "web", "port": 80}]}]}
    kube.apply({**_named("projectcontour.io/v1", "HTTPProxy", "web"), "spec": route})
    _until(lambda: _status(kube, "/busybox") == 200, 30)
    kube.kill("envoy")
    _until(lambda: _status(kube, "/busybox") == 200, 60)


def test_a_policy_denies_what_one_pod_asks_another(kube: Environment) -> None:
    address = kube.get("service", NAMESPACE, "web")["spec"]["clusterIP"]
    ask = f"printf 'GET /busybox HTTP/1.0\\r\\n\\r\\n' | timeout 2 nc -w 2 {address} 80 | head -c 15"

    def answer() -> str:
        return kube.kubectl("exec", f"-n={NAMESPACE}", "client", "--", "sh", "-c", ask)

    assert "200" in answer()
    deny = {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]}
    kube.apply({**_named("networking.k8s.io/v1", "NetworkPolicy", "deny"), "spec": deny})
    _until(lambda: answer() == "", 20)
    kube.kubectl("delete", "networkpolicy", "deny", f"-n={NAMESPACE}")
    _until(lambda: "200" in answer(), 20)


def test_flux_applies_what_is_pushed(kube: Environment, tmp_path: Path) -> None:
    url = f"{kube.git}/{NAMESPACE}.git"
    made = {**_named("v1", "ConfigMap", "from-git"), "data": {"commit": "first"}}
    (tmp_path / "map.yaml").write_text(json.dumps(made))
    for words in (
        ("init", "-q", "-b", "main"),
        ("add", "map.yaml"),
        ("commit", "-q", "-m", "First"),
        ("push", "-q", "-f", url, "main"),
    ):
        subprocess.run([*GIT, *words], cwd=tmp_path, check=True)
    source = {"interval": "5s", "url": url, "ref": {"branch": "main"}}
    applied = {"interval": "5s", "path": ".", "prune": True}
    kube.apply(
        {**_named("source.toolkit.fluxcd.io/v1", "GitRepository", "pushed"), "spec": source},
        {
            **_named("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "pushed"),
            "spec": {**applied, "sourceRef": {"kind": "GitRepository", "name": "pushed"}},
        },
    )
    _until(lambda: "from-git" in kube.kubectl("get", "configmaps", f"-n={NAMESPACE}"), 60)


def test_a_component_that_is_killed_comes_back(cluster: Environment) -> None:
    if not cluster.state:
        pytest.skip("the components of somebody's own cluster are left alone")
    before = machine.components(cluster.state)["registry"]
    cluster.kill("registry")
    _until(lambda: machine.components(cluster.state or State(Path()))["registry"]["restarts"] > before["restarts"], 10)
    _until(lambda: requests.get(f"http://{cluster.registry}/v2/", timeout=2).ok, 20)


def _status(kube: Environment, path: str) -> int:
    return requests.get(f"{kube.ingress}{path}", headers={"Host": "web.example.com"}, timeout=5).status_code


def _named(version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}}


def _pod(name: str, command: list[str], **more: Any) -> dict[str, Any]:
    containers = [{"name": name, "image": IMAGE, "command": command}]
    found = {
        **_named("v1", "Pod", name),
        "spec": {"containers": containers, "terminationGracePeriodSeconds": 1, **more},
    }
    found["metadata"]["labels"] = {"app": name}
    return found


def _until(look: Callable[[], T], seconds: float, process: subprocess.Popen[bytes] | None = None) -> None:
    until = time.monotonic() + seconds
    problem: Exception | None = None
    while time.monotonic() < until:
        assert process is None or process.poll() is None, "it ended"
        try:
            if look():
                return
        except (requests.RequestException, subprocess.CalledProcessError) as error:
            problem = error
        time.sleep(0.3)
    raise TimeoutError(f"not within {seconds:g} s ({problem})")
