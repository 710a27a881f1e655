"""What the installed service accounts may do: a real API server's own word on it, with everything installed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.variants import Server, started
from tests.integration.conftest import available

pytestmark = pytest.mark.xdist_group("control-plane")

ROOT = Path(__file__).parents[2]
ACCOUNTS = "system:serviceaccounts"
GATE = "system:serviceaccount:modelpack:modelpack-gate"
SETTLE = "system:serviceaccount:modelpack:modelpack-settle"
OPERATOR = "system:serviceaccount:modelpack:modelpack-operator"
NEEDS_SYNC = "system:serviceaccount:modelpack:modelpack-needs-sync"
PROMETHEUS = "system:serviceaccount:modelpack:prometheus"
NAMESPACES = ("default", "modelpack", "modelpack-training", "flagger-system", "kube-system", "elsewhere")


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with available(lambda: started(tmp_path_factory.mktemp("rights"))) as server:
        server.kubectl("apply", "-f", str(ROOT / "manifests" / "tekton" / "namespace.yaml"))
        for folder in ("gate", "settle", "reconciler", "prometheus", "mpg"):
            server.kubectl("apply", "--server-side", "-k", str(ROOT / "manifests" / folder))
        yield server


# everybody who is logged in may ask what he may do, and what the server serves
ANYBODY = {
    ("authorization.k8s.io", "selfsubjectaccessreviews", "create"),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "create"),
    ("authentication.k8s.io", "selfsubjectreviews", "create"),
}
READS = {("flagger.app", "canaries", "get"), ("apps", "deployments", "get"), ("", "configmaps", "get")}
SYNCS = {
    (group, resource, verb)
    for group in ("modelpack.dev", "automl.cloudai.kubeflow.org")
    for resource, verb in (("modelsyncs", "list"), ("modelsyncs", "watch"), ("modelsyncs/status", "patch"))
} | {("tekton.dev", "pipelineruns", verb) for verb in ("get", "list", "watch", "create", "delete")}
LEADS = {("coordination.k8s.io", "leases/modelpack-operator", verb) for verb in ("get", "update")}
FINDS = {("", "pods", "get"), ("", "pods", "list"), ("", "pods", "watch")}


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize(
    ("who", "may"),
    [
        (GATE, {"default": READS}),
        (SETTLE, {}),
        (OPERATOR, {"modelpack": LEADS, "modelpack-training": SYNCS}),
        (NEEDS_SYNC, {}),
        (PROMETHEUS, dict.fromkeys(NAMESPACES, FINDS)),
    ],
    ids=["gate", "settle", "operator", "needs-sync", "prometheus"],
)
def test_a_service_account_may_do_this_and_nothing_else(
    server: Server, who: str, may: dict[str, set[tuple[str, str, str]]], namespace: str
) -> None:
    assert rules(server, who, namespace) == may.get(namespace, set()) | ANYBODY


def rules(server: Server, who: str, namespace: str) -> set[tuple[str, str, str]]:
    """All that is granted in a namespace: group, resource (with a name where it is for that one alone), verb."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    groups = (ACCOUNTS, f"{ACCOUNTS}:modelpack", "system:authenticated")
    options = [f"--as={who}", *(f"--as-group={each}" for each in groups), "--validate=false", "-f", "-", "-o", "json"]
    status = json.loads(server.kubectl("create", *options, stdin=json.dumps(review)))["status"]
    assert not status["incomplete"]
    found = set()
    for rule in status["resourceRules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames") or [""]:
                    found |= {(group, f"{resource}/{name}" if name else resource, verb) for verb in rule["verbs"]}
    return found


@pytest.mark.parametrize(
    ("who", "verb", "what", "namespace", "may"),
    [
        (GATE, "get", "canaries.flagger.app", "default", True),
        (GATE, "get", "deployments.apps", "default", True),
        (GATE, "get", "configmaps", "default", True),
        (GATE, "list", "canaries.flagger.app", "default", False),
        (GATE, "list", "configmaps", "default", False),
        (GATE, "get", "canaries.flagger.app", "elsewhere", False),
        (GATE, "get", "configmaps", "kube-system", False),
        (GATE, "get", "secrets", "default", False),
        (GATE, "get", "secrets", "modelpack", False),
        (GATE, "get", "pods", "default", False),
        (GATE, "create", "pods", "modelpack", False),
        (GATE, "create", "pods/exec", "default", False),
        (GATE, "update", "canaries.flagger.app", "default", False),
        (GATE, "patch", "deployments.apps", "default", False),
        (GATE, "get", "nodes", "", False),
        (GATE, "impersonate", "users", "", False),
        (SETTLE, "get", "secrets", "modelpack", False),
        (SETTLE, "get", "configmaps", "modelpack", False),
        (SETTLE, "get", "canaries.flagger.app", "default", False),
        (SETTLE, "patch", "deployments.apps", "default", False),
        (OPERATOR, "patch", "modelsyncs.modelpack.dev/status", "modelpack-training", True),
        (OPERATOR, "create", "pipelineruns.tekton.dev", "modelpack-training", True),
        (OPERATOR, "patch", "modelsyncs.modelpack.dev", "modelpack-training", False),
        (OPERATOR, "update", "pipelineruns.tekton.dev", "modelpack-training", False),
        (OPERATOR, "create", "pipelineruns.tekton.dev", "default", False),
        (OPERATOR, "create", "taskruns.tekton.dev", "modelpack-training", False),
        (OPERATOR, "create", "pods", "modelpack-training", False),
        (OPERATOR, "get", "secrets", "modelpack-training", False),
        (OPERATOR, "list", "secrets", "modelpack", False),
        (OPERATOR, "create", "leases.coordination.k8s.io", "modelpack", False),
        (OPERATOR, "list", "modelsyncs.modelpack.dev", "elsewhere", False),
        (OPERATOR, "list", "namespaces", "", False),
        (OPERATOR, "list", "customresourcedefinitions.apiextensions.k8s.io", "", False),
        (NEEDS_SYNC, "get", "secrets", "modelpack", False),
        (NEEDS_SYNC, "list", "modelsyncs.modelpack.dev", "modelpack-training", False),
        (PROMETHEUS, "list", "pods", "default", True),
        (PROMETHEUS, "watch", "pods", "elsewhere", True),
        (PROMETHEUS, "get", "secrets", "modelpack", False),
        (PROMETHEUS, "get", "configmaps", "modelpack", False),
        (PROMETHEUS, "get", "pods/log", "default", False),
        (PROMETHEUS, "create", "pods/exec", "default", False),
        (PROMETHEUS, "get", "nodes/proxy", "", False),
        (PROMETHEUS, "delete", "pods", "default", False),
    ],
)  # fmt: skip
def test_can_i(server: Server, who: str, verb: str, what: str, namespace: str, may: bool) -> None:
    resource, _, subresource = what.partition("/")
    resource, _, group = resource.partition(".")
    attributes = {
        "verb": verb,
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "namespace": namespace,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": who, "groups": [ACCOUNTS], "resourceAttributes": attributes},
    }
    said = json.loads(server.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review)))
    assert said["status"]["allowed"] is may
