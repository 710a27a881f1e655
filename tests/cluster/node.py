"""The node's configuration files: containerd, CNI, kubelet, the registry, and the objects it starts with."""

from __future__ import annotations

import json
from pathlib import Path
from string import Template
from typing import Any

import requests

from tests.cluster.certificates import Certificates
from tests.cluster.images import COREDNS, ENVOY, SANDBOX
from tests.cluster.layout import (
    API,
    API_PORT,
    DNS_ADDRESS,
    ENVOY_METRICS_PORT,
    ENVOY_PORT,
    INGRESS_ADDRESS,
    NAME,
    NODE,
    NODE_NAME,
    PODS,
    REGISTRY,
    State,
)

CNI = Path("/usr/lib/cni")
CONTAINERD_SOCKET = Path("/run/containerd/containerd.sock")
_OBJECTS = Path(__file__).with_name("objects.yaml")

# Without CAP_SYS_RESOURCE a container can't have a lower oom_score_adj than its parent.
_CONTAINERD = """\
version = 3
root = "{state}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]
[plugins."io.containerd.cri.v1.images"]
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{sandbox}"
[plugins."io.containerd.cri.v1.images".registry]
config_path = "{state}/hosts"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{cni}"]
conf_dir = "{state}/cni"
"""
# every registry is the local one: manifests keep their true names
_HOSTS = """\
[host."http://{registry}"]
capabilities = ["pull", "resolve"]
"""
_REGISTRY = """\
version: 0.1
log: {{accesslog: {{disabled: true}}, level: warn}}
storage:
  filesystem: {{rootdirectory: {state}/registry}}
  delete: {{enabled: true}}
http: {{addr: "{registry}"}}
"""


def write(state: State, made: Certificates) -> None:
    """All files, into the state folder."""
    values = {"state": state.folder, "registry": REGISTRY}
    files = {
        "containerd.toml": _CONTAINERD.format(**values, sandbox=f"{REGISTRY}/{SANDBOX}", cni=CNI),
        "hosts/_default/hosts.toml": _HOSTS.format(**values),
        "registry.yml": _REGISTRY.format(**values),
        "resolv.conf": "",
        "cni/bridge.conflist": json.dumps(_network()),
        "kubelet.json": json.dumps(_kubelet(state, made)),
        "objects.yaml": _objects(state),
    }
    for folder in ("flux", "envoy"):
        (state / folder).mkdir()
    for name, content in files.items():
        path = state / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def ready(made: Certificates) -> bool:
    """Whether the API server says that the node is Ready."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(made.authority.certificate)
        session.cert = (str(made.admin.certificate), str(made.admin.key))
        try:
            answer = session.get(f"{API}/api/v1/nodes/{NODE_NAME}", timeout=2)
        except requests.RequestException:
            return False
    conditions = answer.json().get("status", {}).get("conditions", ()) if answer.ok else ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _network() -> dict[str, Any]:
    bridge = {
        "type": "bridge",
        "bridge": "pods",
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}],
    }


def _kubelet(state: State, made: Certificates) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(made.authority.certificate)},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{NAME}",
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        # a full disk is the developer's own affair
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
        "failCgroupV1": False,
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,
        "registryPullQPS": 0,
        "resolvConf": str(state / "resolv.conf"),
        "serializeImagePulls": False,
        "volumePluginDir": str(state / "kubelet-plugins"),
    }


def _objects(state: State) -> str:
    values = {
        "API_PORT": API_PORT,
        "COREDNS": f"{REGISTRY}/{COREDNS}",
        "DNS_ADDRESS": DNS_ADDRESS,
        "ENVOY": f"{REGISTRY}/{ENVOY}",
        "ENVOY_METRICS_PORT": ENVOY_METRICS_PORT,
        "ENVOY_PORT": ENVOY_PORT,
        "INGRESS_ADDRESS": INGRESS_ADDRESS,
        "NODE": NODE,
        "STATE": state.folder,
    }
    return Template(_OBJECTS.read_text()).substitute(values)
