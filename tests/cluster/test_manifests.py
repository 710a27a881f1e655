"""manifests/: built as a user builds them, and judged by a real API server with its admission and its RBAC."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelpack.scaffold import IMAGE_VOLUME, Scaffold, render, write
from tests.cluster.variants import Server, started
from tests.integration.conftest import available
from tests.integration.servers.gotools import go_tools

pytestmark = pytest.mark.xdist_group("control-plane")

ROOT = Path(__file__).parents[2]
OVERLAY = ROOT / "tests" / "cluster" / "overlay"
FOLDERS = sorted(
    path.parent
    for path in [*ROOT.glob("manifests/**/kustomization.yaml"), OVERLAY / "kustomization.yaml"]
    if yaml.safe_load(path.read_text())["kind"] == "Kustomization"
)
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "elsewhere"}}
KSERVE = ("inferenceservices", "servingruntimes")
INSTALLED = ("gate", "settle", "reconciler", "prometheus", "mpg")
PODS = ("gate", "settle", "needs-sync", "operator", "prometheus", "mpg", "mpg-gpu")


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """All of manifests/ and Flagger installed, beside a namespace that is none of their business."""
    with available(lambda: started(tmp_path_factory.mktemp("manifests"))) as server:
        kserve = [go_tools("kserve") / "crd" / f"serving.kserve.io_{each}.yaml" for each in KSERVE]
        server.kubectl("apply", "--server-side", *(f"-f={each}" for each in (go_tools("tekton") / "crd", *kserve)))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all")
        for each in (*ROOT.glob("manifests/overlays/*/namespace.yaml"), ROOT / "manifests/tekton/namespace.yaml"):
            server.kubectl("apply", "-f", str(each))
        for folder in (*(f"manifests/{name}" for name in INSTALLED), "flagger/install"):
            server.kubectl("apply", "--server-side", "-k", str(ROOT / folder))
        server.kubectl("create", "namespace", "elsewhere")
        server.kubectl("label", "namespace", "elsewhere", "pod-security.kubernetes.io/enforce=restricted")
        server.kubectl("create", "serviceaccount", "default", "-n", "elsewhere")  # a controller's work, and none runs
        yield server


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_every_kustomization_builds_without_flags_and_is_valid(server: Server, folder: Path) -> None:
    assert "(server dry run)" in server.valid(server.kubectl("kustomize", str(folder)))


@pytest.mark.parametrize("scaffold", [Scaffold("true"), Scaffold("x1e3", serve=IMAGE_VOLUME), Scaffold("a" * 55)])
def test_what_init_writes_is_valid(server: Server, tmp_path: Path, scaffold: Scaffold) -> None:
    write(render(scaffold), tmp_path)
    said = server.valid(server.kubectl("kustomize", str(tmp_path / "manifests" / scaffold.name)))
    made = {line.split()[0] for line in said.splitlines()}
    assert made == {
        f"canary.flagger.app/{scaffold.name}",
        f"configmap/gate-{scaffold.name}",
        f"deployment.apps/{scaffold.name}",
        f"horizontalpodautoscaler.autoscaling/{scaffold.name}",
        f"httpproxy.projectcontour.io/{scaffold.name}-host",
        f"rolebinding.rbac.authorization.k8s.io/modelpack-gate-{scaffold.name}",
    }


def test_gates_that_share_a_database_need_no_volume_and_reach_it(server: Server) -> None:
    built = list(yaml.safe_load_all(server.kubectl("kustomize", str(ROOT / "manifests" / "gate-replicas"))))
    assert "PersistentVolumeClaim" not in {each["kind"] for each in built}
    (gate,) = (each["spec"] for each in built if each["kind"] == "Deployment")
    assert (gate["replicas"], gate["strategy"]["type"]) == (2, "RollingUpdate")
    reached = [way for each in built if each["kind"] == "NetworkPolicy" for way in each["spec"].get("egress", ())]
    assert {"ports": [{"protocol": "TCP", "port": 5432}]} in reached


def test_a_misspelt_field_is_refused(server: Server) -> None:
    text = server.kubectl("kustomize", str(ROOT / "manifests" / "gate"))
    assert "unknown field" in server.valid(text.replace("readinessProbe", "readynessProbe"), fails=True)


# -- pods


def pods(server: Server) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every Deployment's pod, as a Pod in a namespace that admits only restricted ones."""
    for name in (*INSTALLED, "overlays/gpu"):
        for each in yaml.safe_load_all(server.kubectl("kustomize", str(ROOT / "manifests" / name))):
            if each["kind"] == "Deployment":
                spec = each["spec"]["template"]["spec"]
                spec.pop("serviceAccountName", None)
                found = each["metadata"]["name"].removeprefix("modelpack-")
                yield f"{found}-gpu" if name == "overlays/gpu" else found, POD | {"spec": spec}


def test_every_pod_passes_the_restricted_standard(server: Server) -> None:
    seen = [name for name, pod in pods(server) if server.valid(json.dumps(pod))]
    assert tuple(seen) == PODS


@pytest.mark.parametrize("field", ["runAsNonRoot", "seccompProfile"])
def test_a_pod_with_less_is_refused(server: Server, field: str) -> None:
    for _, pod in pods(server):
        del pod["spec"]["securityContext"][field]
        assert "violates PodSecurity" in server.valid(json.dumps(pod), fails=True)


@pytest.mark.parametrize(("namespace", "account"), [("modelpack", "modelpack-gate"), ("flagger-system", "flagger")])
def test_the_installed_namespaces_enforce_it(server: Server, namespace: str, account: str) -> None:
    spec = {"serviceAccountName": account, "containers": [{"name": "p", "image": "p"}]}
    pod = POD | {"metadata": {"name": "p", "namespace": namespace}, "spec": spec}
    assert "violates PodSecurity" in server.valid(json.dumps(pod), fails=True)


def test_nothing_runs_as_root_writes_its_image_or_is_without_bounds(server: Server) -> None:
    for name, pod in pods(server):
        assert pod["spec"]["securityContext"]["runAsUser"] == 65532, name
        for each in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
            assert each["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert each["resources"]["requests"].keys() >= {"cpu", "memory"} and "memory" in each["resources"]["limits"]


def test_only_who_asks_the_api_server_has_a_token(server: Server) -> None:
    tokens = {name: pod["spec"]["automountServiceAccountToken"] for name, pod in pods(server)}
    assert {name for name, token in tokens.items() if token} == {"gate", "operator", "prometheus"}
    assert tuple(tokens) == PODS


def test_only_settle_sees_the_git_credentials(server: Server) -> None:
    seen = {name for name, pod in pods(server) if '"modelpack-git"' in json.dumps(pod)}
    assert seen == {"settle"}


def test_the_example_of_a_modelsync_is_valid(server: Server) -> None:
    for each in sorted((ROOT / "manifests" / "reconciler" / "examples").glob("*.yaml")):
        assert "(server dry run)" in server.valid(each.read_text())
