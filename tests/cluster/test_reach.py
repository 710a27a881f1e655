"""Who reaches whom: the network policies of manifests/, enforced on the cluster.

Each caller is a pod with the labels of the real one. It never gets ready, so that no Service takes it for the real one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import layout
from tests.cluster.environment import Environment
from tests.cluster.images import BUSYBOX

pytestmark = pytest.mark.xdist_group("cluster")

IMAGE = f"registry.example.com/{BUSYBOX}"
CALLERS = {
    "gate": ("modelpack", "modelpack-gate"),
    "settle": ("modelpack", "modelpack-settle"),
    "prometheus": ("modelpack", "prometheus"),
    "neighbour": ("modelpack", "neighbour"),
    "stranger": ("default", "stranger"),
    "flagger": ("flagger-system", "flagger"),
}
REACHES = {
    "gate": {"prometheus", "server", "api"},
    "settle": {"gate", "registry"},
    "prometheus": {"gate", "server", "server-other", "api"},
    "neighbour": set(),
    "stranger": {"server", "server-other", "api", "registry"},
    "flagger": {"gate", "prometheus", "api"},
}


@pytest.fixture(name="targets", scope="module")
def _targets(cluster: Environment) -> Iterator[dict[str, str]]:
    """The callers, and where they call: `address port` by name."""
    server = pod("default", "reach-server", "reach-server", "httpd -p 9999 -h /bin; exec httpd -f -p 8080 -h /bin")
    made = [server, *(pod(space, f"reach-{name}", app, "exec sleep 3600") for name, (space, app) in CALLERS.items())]
    cluster.apply(*made)
    try:
        for each in made:
            where, name = each["metadata"]["namespace"], each["metadata"]["name"]
            running = "--for=jsonpath={.status.phase}=Running"
            cluster.kubectl("wait", f"-n={where}", f"pod/{name}", running, "--timeout=50s")
        serving = cluster.get("pod", "default", "reach-server")["status"]["podIP"]
        found = {"server": f"{serving} 8080", "server-other": f"{serving} 9999"}
        for name, label, port in (("gate", "modelpack-gate", 8080), ("prometheus", "prometheus", 9090)):
            real = [each for each in cluster.get("pods", "modelpack")["items"] if is_real(each, label)]
            found[name] = f"{real[0]['status']['podIP']} {port}"
        if cluster.state:
            found |= {"api": f"{layout.NODE} {layout.API_PORT}", "registry": f"{layout.NODE} {layout.REGISTRY_PORT}"}
        yield found
    finally:
        for each in made:
            where, name = each["metadata"]["namespace"], each["metadata"]["name"]
            cluster.kubectl("delete", "pod", name, f"-n={where}", "--force", "--grace-period=0", "--ignore-not-found")


@pytest.mark.parametrize("caller", CALLERS)
def test_it_reaches_these_and_nothing_else(cluster: Environment, targets: dict[str, str], caller: str) -> None:
    namespace, _ = CALLERS[caller]
    script = "; ".join(f"nc -w 3 {where} </dev/null >/dev/null 2>&1 && echo {name}" for name, where in targets.items())
    said = cluster.kubectl("exec", f"-n={namespace}", f"reach-{caller}", "--", "sh", "-c", f"{script}; true")
    itself = {caller} & {"gate", "prometheus"}  # the real one of its kind: nobody asks it to call that
    assert set(said.split()) - itself == (REACHES[caller] & targets.keys()) - itself


def is_real(found: dict[str, Any], app: str) -> bool:
    return found["metadata"]["labels"].get("app") == app and not found["metadata"]["name"].startswith("reach-")


def pod(namespace: str, name: str, app: str, script: str) -> dict[str, Any]:
    container = {
        "name": "busybox",
        "image": IMAGE,
        "command": ["sh", "-c", script],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": app}},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "readinessGates": [{"conditionType": "modelpack.dev/never"}],
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        },
    }
