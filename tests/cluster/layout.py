"""Where everything of the cluster is: addresses, ports, names, and files below the state folder."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.control_plane import SERVICES

NAME = "modelpack-cluster"  # of the cgroups, the lock and the default state folder
NODE_NAME = "node"
PODS = "10.98.0.0/24"
HOST = "10.99.0.1"  # this machine, as the cluster sees it
NODE = "10.99.0.2"  # the cluster's only node: every component listens there
LINK = "mpcluster"  # the host's end of the veth
UPLINK = "uplink"  # the cluster's end
ROUTED = (PODS, SERVICES)

ETCD_PORT, ETCD_PEER_PORT, API_PORT = 2379, 2380, 6443
REGISTRY_PORT, GIT_PORT = 5000, 3000
ENVOY_PORT, ENVOY_METRICS_PORT = 8080, 8002  # in its pod
XDS_PORT, CONTOUR_HEALTH_PORT, CONTOUR_HTTP_PORT = 8001, 8003, 8000
SOURCE_PORT = 9790
API = f"https://{NODE}:{API_PORT}"
REGISTRY = f"{NODE}:{REGISTRY_PORT}"
GIT = f"http://{NODE}:{GIT_PORT}"
INGRESS_ADDRESS, DNS_ADDRESS = "10.96.0.80", "10.96.0.10"  # of Services
INGRESS = f"http://{INGRESS_ADDRESS}"


@dataclass(frozen=True)
class State:
    """The state folder and the files in it."""

    folder: Path

    @classmethod
    def default(cls) -> State:
        """$MODELPACK_CLUSTER_DIR, else a folder below the system's temporary one: unix sockets want short paths."""
        given = os.environ.get("MODELPACK_CLUSTER_DIR")
        return cls(Path(given) if given else Path(tempfile.gettempdir()) / NAME)

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @property
    def kubeconfig(self) -> Path:
        return self / "kubeconfig"

    @property
    def certificates(self) -> Path:
        return self / "certificates"

    @property
    def process(self) -> Path:
        """The supervisor: its pid here and when it started."""
        return self / "supervisor.json"

    @property
    def status(self) -> Path:
        """What the supervisor says of each component."""
        return self / "status.json"

    @property
    def images(self) -> Path:
        """The image layouts to store in the registry: name -> folder."""
        return self / "images.json"

    def log(self, component: str) -> Path:
        return self / "logs" / f"{component}.log"
