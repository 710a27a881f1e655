"""A real API server without a node: etcd and kube-apiserver on loopback, ready in about ten seconds.

The whole cluster starts its own two with the same words (`etcd_command`, `apiserver_command`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.cluster import certificates
from tests.cluster.certificates import Certificates
from tests.integration.servers.gotools import go_tool
from tests.integration.servers.process import free_port, program, running

SERVICES = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"  # the first of them is the Service `kubernetes`
_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


@dataclass(frozen=True)
class ControlPlane:
    """`kubeconfig` is the administrator's; `url` is https://host:port."""

    kubeconfig: Path
    url: str


@contextmanager
def control_plane(folder: Path) -> Iterator[ControlPlane]:
    """An empty API server with RBAC whose files are below `folder`. No controllers: nothing acts on what is stored,
    no namespace gets its default service account, and a deleted namespace stays. Raises MissingError, ServerError."""
    folder.mkdir(parents=True, exist_ok=True)
    etcd, peer, port = free_port(), free_port(), free_port()
    url = f"https://127.0.0.1:{port}"
    made = make_certificates(folder / "certificates", "127.0.0.1")
    config = certificates.kubeconfig(folder / "kubeconfig", url, made)
    argv = etcd_command(folder / "etcd", etcd, peer)
    server = apiserver_command(made, "127.0.0.1", port, etcd)
    with (
        running(argv, folder / "etcd.log", lambda _: etcd_ready(etcd)),
        running(server, folder / "kube-apiserver.log", lambda _: apiserver_ready(url, made)),
    ):
        yield ControlPlane(config, url)


def make_certificates(folder: Path, *addresses: str) -> Certificates:
    return certificates.make(folder, (*_NAMES, SERVICE_ADDRESS, *addresses))


def etcd_command(data: Path, port: int, peer_port: int) -> list[str]:
    """etcd with one member on loopback that never waits for the disk: it is thrown away after the tests."""
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    argv = [program("etcd", "apt-get install etcd-server"), "--name=tests", f"--data-dir={data}", "--unsafe-no-fsync"]
    argv += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
    return [
        *argv,
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=tests={peer}",
    ]


def etcd_ready(port: int) -> bool:
    return _answers(f"http://127.0.0.1:{port}/health")


def apiserver_command(made: Certificates, address: str, port: int, etcd_port: int) -> list[str]:
    """kube-apiserver with RBAC. Who runs more than one program makes the endpoints of `kubernetes` by hand."""
    return [
        str(go_tool("kubernetes", "kube-apiserver")),
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        f"--bind-address={address}",
        f"--secure-port={port}",
        "--endpoint-reconciler-type=none",
        f"--service-cluster-ip-range={SERVICES}",
        "--authorization-mode=RBAC",
        f"--client-ca-file={made.authority.certificate}",
        f"--tls-cert-file={made.server.certificate}",
        f"--tls-private-key-file={made.server.key}",
        f"--kubelet-client-certificate={made.admin.certificate}",
        f"--kubelet-client-key={made.admin.key}",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={made.tokens.certificate}",
        f"--service-account-signing-key-file={made.tokens.key}",
    ]


def apiserver_ready(url: str, made: Certificates) -> bool:
    return _answers(f"{url}/readyz", str(made.authority.certificate))


def _answers(url: str, authority: str = "") -> bool:
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(url, verify=authority or True, timeout=2).ok
        except requests.RequestException:
            return False
