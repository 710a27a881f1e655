"""Every program of the cluster: its command line, what it comes after, and how to see that it is ready."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import requests

from tests.cluster import control_plane, node
from tests.cluster.certificates import Certificates
from tests.cluster.layout import (
    API,
    API_PORT,
    CONTOUR_HEALTH_PORT,
    CONTOUR_HTTP_PORT,
    ENVOY_METRICS_PORT,
    ENVOY_PORT,
    ETCD_PEER_PORT,
    ETCD_PORT,
    GIT_PORT,
    NODE,
    NODE_NAME,
    PODS,
    REGISTRY,
    SOURCE_PORT,
    XDS_PORT,
    State,
)
from tests.integration.servers.gotools import go_tool, go_tools
from tests.integration.servers.process import MissingError, program

OVERLAY = Path(__file__).parent / "overlay"
_NO_GATEWAY_API = ("tlsroutes", "grpcroutes", "tcproutes", "backendtlspolicies")


@dataclass(frozen=True)
class Component:
    """`ready` is asked until it says yes. None: a step that has to end with 0, once; others are started again."""

    name: str
    argv: tuple[str, ...]
    after: tuple[str, ...] = ()
    ready: Callable[[], bool] | None = None
    env: Mapping[str, str] = field(default_factory=dict)


def components(state: State, made: Certificates) -> tuple[Component, ...]:
    """All of them, those that others wait for first. Raises MissingError."""
    return (*_base(state, made), *_kubernetes(state, made), *_delivery(state))


def programs() -> None:
    """Raise MissingError unless all programs are here; builds those written in Go."""
    for name, package in (
        ("etcd", "etcd-server"),
        ("runc", "runc"),
        ("ipset", "ipset"),
        ("iptables", "iptables"),
        ("conntrack", "conntrack"),
        ("ip", "iproute2"),
        ("unshare", "util-linux"),
        ("nsenter", "util-linux"),
        ("openssl", "openssl"),
        ("git", "git"),
        ("skopeo", "skopeo"),
    ):
        program(name, f"apt-get install {package}")
    if not (node.CNI / "bridge").exists():
        raise MissingError(str(node.CNI), "apt-get install containernetworking-plugins")
    for folder in ("registry", "kubernetes", "containerd", "contour", "kube-router", "coredns", "flux-source"):
        go_tools(folder)
    go_tools("flux-kustomize")


def _base(state: State, made: Certificates) -> tuple[Component, ...]:
    containerd = go_tool("containerd")
    return (
        Component(
            "etcd",
            tuple(control_plane.etcd_command(state / "etcd", ETCD_PORT, ETCD_PEER_PORT)),
            ready=lambda: control_plane.etcd_ready(ETCD_PORT),
        ),
        Component(
            "kube-apiserver",
            tuple(control_plane.apiserver_command(made, NODE, API_PORT, ETCD_PORT)),
            ("etcd",),
            lambda: control_plane.apiserver_ready(API, made),
        ),
        Component(
            "registry",
            (str(go_tool("registry")), "serve", str(state / "registry.yml")),
            ready=_answering(f"http://{REGISTRY}/v2/"),
            env={"OTEL_TRACES_EXPORTER": "none"},
        ),
        Component("images", (sys.executable, "-m", "tests.cluster.seed", str(state.folder)), ("registry",)),
        Component(
            "git",
            (sys.executable, "-m", "tests.cluster.git_server", str(state / "git"), NODE, str(GIT_PORT)),
            ready=_answering(f"http://{NODE}:{GIT_PORT}/ready.git/info/refs?service=git-upload-pack"),
        ),
        Component(
            "containerd",
            (str(containerd), "--config", str(state / "containerd.toml")),
            ready=node.CONTAINERD_SOCKET.exists,
            env={"PATH": f"{containerd.parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        ),
    )


def _kubernetes(state: State, made: Certificates) -> tuple[Component, ...]:
    config = f"--kubeconfig={state.kubeconfig}"

    def kubernetes(name: str, *words: str) -> tuple[str, ...]:
        return (str(go_tool("kubernetes", name)), config, *words)

    serving = (f"--tls-cert-file={made.server.certificate}", f"--tls-private-key-file={made.server.key}")
    definitions = [f"-f={go_tools(each) / 'crd'}" for each in ("contour", "flux-source", "flux-kustomize", "flagger")]
    return (
        Component(
            "kube-controller-manager",
            kubernetes(
                "kube-controller-manager",
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
                "--allocate-node-cidrs=true",
                f"--cluster-cidr={PODS}",
                "--node-cidr-mask-size=24",
                f"--service-cluster-ip-range={control_plane.SERVICES}",
                f"--root-ca-file={made.authority.certificate}",
                f"--service-account-private-key-file={made.tokens.key}",
                *serving,
            ),
            ("kube-apiserver",),
            _answering("https://127.0.0.1:10257/healthz", made),
        ),
        Component(
            "kube-scheduler",
            kubernetes("kube-scheduler", "--leader-elect=false", "--bind-address=127.0.0.1", *serving),
            ("kube-apiserver",),
            _answering("https://127.0.0.1:10259/healthz", made),
        ),
        Component("objects", kubernetes("kubectl", "apply", f"-f={state / 'objects.yaml'}"), ("kube-apiserver",)),
        Component("kinds", kubernetes("kubectl", "apply", "--server-side", *definitions), ("kube-apiserver",)),
        Component(
            "kubelet",
            kubernetes(
                "kubelet",
                f"--config={state / 'kubelet.json'}",
                f"--root-dir={state / 'kubelet'}",
                f"--cert-dir={state / 'kubelet-certificates'}",
                f"--hostname-override={NODE_NAME}",
                f"--node-ip={NODE}",
            ),
            ("kube-apiserver", "containerd"),
            lambda: node.ready(made),
        ),
        Component(
            "kube-proxy",
            kubernetes(
                "kube-proxy",
                f"--hostname-override={NODE_NAME}",
                "--proxy-mode=iptables",
                f"--cluster-cidr={PODS}",
                "--conntrack-max-per-core=0",
                "--conntrack-tcp-timeout-established=0",
                "--conntrack-tcp-timeout-close-wait=0",
            ),
            ("kube-apiserver",),
            _answering("http://127.0.0.1:10249/healthz"),
        ),
        Component(
            "kube-router",
            (
                str(go_tool("kube-router")),
                config,
                "--run-firewall=true",
                "--run-router=false",
                "--run-service-proxy=false",
                f"--hostname-override={NODE_NAME}",
                f"--service-cluster-ip-range={control_plane.SERVICES}",
            ),
            ("kubelet", "kube-proxy"),
            _answering("http://127.0.0.1:20244/healthz"),
        ),
    )


def _delivery(state: State) -> tuple[Component, ...]:
    contour = str(go_tool("contour"))
    flux = {"KUBECONFIG": str(state.kubeconfig), "RUNTIME_NAMESPACE": "flux-system"}
    controller = ("--enable-leader-election=false", "--watch-all-namespaces=true", "--log-encoding=console")
    ours: tuple[Component, ...] = (
        Component(
            "contour",
            (
                contour,
                "serve",
                f"--kubeconfig={state.kubeconfig}",
                "--insecure",
                "--disable-leader-election",
                *(f"--disable-feature={each}" for each in _NO_GATEWAY_API),
                f"--xds-address={NODE}",
                f"--xds-port={XDS_PORT}",
                "--http-address=127.0.0.1",
                f"--http-port={CONTOUR_HTTP_PORT}",
                "--health-address=127.0.0.1",
                f"--health-port={CONTOUR_HEALTH_PORT}",
                "--stats-address=0.0.0.0",
                f"--stats-port={ENVOY_METRICS_PORT}",
                "--envoy-service-http-address=0.0.0.0",
                f"--envoy-service-http-port={ENVOY_PORT}",
            ),
            ("kinds", "objects"),
            _answering(f"http://127.0.0.1:{CONTOUR_HEALTH_PORT}/healthz"),
        ),
        Component(
            "envoy-bootstrap",
            (
                contour,
                "bootstrap",
                str(state / "envoy" / "envoy.json"),
                "--admin-address=/tmp/envoy.sock",
                f"--xds-address={NODE}",
                f"--xds-port={XDS_PORT}",
                "--resources-dir=/config/resources",
            ),
        ),
        Component(
            "source-controller",
            (
                str(go_tool("flux-source", "source-controller")),
                *controller,
                f"--storage-path={state / 'flux'}",
                f"--storage-addr={NODE}:{SOURCE_PORT}",
                f"--storage-adv-addr={NODE}:{SOURCE_PORT}",
                "--health-addr=127.0.0.1:9440",
                "--metrics-addr=127.0.0.1:9441",
            ),
            ("kinds", "objects"),
            _answering("http://127.0.0.1:9440/readyz"),
            flux,
        ),
        Component(
            "kustomize-controller",
            (
                str(go_tool("flux-kustomize", "kustomize-controller")),
                *controller,
                "--requeue-dependency=2s",
                "--health-addr=127.0.0.1:9442",
                "--metrics-addr=127.0.0.1:9443",
            ),
            ("kinds", "objects"),
            _answering("http://127.0.0.1:9442/readyz"),
            flux,
        ),
    )
    kubectl = (str(go_tool("kubernetes", "kubectl")), f"--kubeconfig={state.kubeconfig}")
    parts = ["images", "kinds", "objects", "kubelet", "kube-router", "kube-controller-manager", "kube-scheduler"]
    if (OVERLAY / "kustomization.yaml").exists():
        # the gate, settle, Prometheus and Flagger
        apply = (*kubectl, "apply", "--server-side", "--force-conflicts", "-k", str(OVERLAY))
        ours = (*ours, Component("manifests", apply, ("images", "kinds", "objects")))
        parts.append("manifests")
    available = ("deployment", "--all", "--all-namespaces", "--for=condition=Available", "--timeout=25s")
    return (*ours, Component("pods", (*kubectl, "wait", *available), (*parts, "envoy-bootstrap", "contour")))


def _answering(url: str, made: Certificates | None = None) -> Callable[[], bool]:
    verify = str(made.authority.certificate) if made else True

    def ask() -> bool:
        with requests.Session() as session:
            session.trust_env = False
            try:
                return session.get(url, timeout=2, verify=verify).ok
            except requests.RequestException:
                return False

    return ask
