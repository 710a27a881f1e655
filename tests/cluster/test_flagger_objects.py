"""flagger/: what it installs and every way it writes a Canary, against a real API server and the real Flagger."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from tests.cluster.deployments import mark_ready
from tests.cluster.variants import (
    BY_WEIGHTS,
    CASES,
    FLAGGER,
    INSTALLS,
    ROOT,
    Case,
    Seen,
    Server,
    beside,
    example,
    flagger,
    started,
    wait,
)
from tests.fakes.scripted_gate import scripted_gate
from tests.integration.conftest import available
from tests.integration.servers.gotools import TOOLS, go_tools
from tests.integration.servers.process import program

pytestmark = pytest.mark.xdist_group("control-plane")


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("flagger")
    with available(lambda: started(folder)) as server:
        server.kubectl("create", "namespace", "modelpack")
        server.kubectl("apply", "-k", str(FLAGGER / "install"))
        yield server


# -- one release of Flagger


def test_the_definitions_are_of_the_release_that_is_installed_and_tested() -> None:
    images = yaml.safe_load((ROOT / "manifests/versions/kustomization.yaml").read_text())["images"]
    installed = next(each["newTag"] for each in images if each["name"] == "flagger")
    (address,) = yaml.safe_load((FLAGGER / "install/crds/kustomization.yaml").read_text())["resources"]
    found = re.fullmatch(r"https://raw\.githubusercontent\.com/fluxcd/flagger/v([^/]+)/(.+)", address)
    assert found
    assert f"github.com/fluxcd/flagger v{installed} " in (TOOLS / "flagger/go.mod").read_text()
    assert found[1] == installed
    assert Path(found[2]).name in [each.name for each in (go_tools("flagger") / "crd").iterdir()]


def test_every_variant_is_tried_and_told_of() -> None:
    told = (FLAGGER / "README.md").read_text()
    for folder in (FLAGGER / "variants").iterdir():
        assert any(folder.name in case.components for case in CASES), folder
        assert f"`{folder.name}`" in told


# -- what the API server says


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.provider}-{case.name}")
def test_every_variant_is_valid(server: Server, case: Case) -> None:
    said = server.valid(server.built(*case.components))
    assert "canary.flagger.app/mpg created (server dry run)" in said


@pytest.mark.parametrize("folder", ["metrics", "alerts"])
def test_what_a_canary_may_refer_to_is_valid(server: Server, folder: str) -> None:
    assert server.valid(server.kubectl("kustomize", str(FLAGGER / folder)))


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("threshold:", "treshold:", 'unknown field "spec.analysis.treshold"'),
        ("type: rollback", "type: roll-back", "Unsupported value"),
        ("stepWeights:", "iterations: 3\n    stepWeights:", "must validate one and only one schema"),
    ],
)
def test_a_wrong_canary_is_refused(server: Server, right: str, wrong: str, says: str) -> None:
    assert says in server.valid(server.built().replace(right, wrong), fails=True)


@pytest.mark.parametrize("folder", INSTALLS.values())
def test_every_install_is_valid(server: Server, folder: str) -> None:
    assert server.valid(server.kubectl("kustomize", str(FLAGGER / folder)))


def test_the_namespace_admits_flaggers_pod(server: Server) -> None:
    deployment = json.loads(server.kubectl("-n", "flagger-system", "get", "deployment", "flagger", "-o", "json"))
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "flagger", "namespace": "flagger-system"}}
    spec = deployment["spec"]["template"]["spec"]
    assert server.valid(json.dumps({**pod, "spec": spec}))
    del spec["securityContext"]["runAsNonRoot"]
    assert "violates PodSecurity" in server.valid(json.dumps({**pod, "spec": spec}), fails=True)


@pytest.mark.parametrize(
    ("verb", "what", "namespace", "may"),
    [
        ("patch", "deployments.apps", "default", True),
        ("update", "httpproxies.projectcontour.io", "default", True),
        ("get", "secret/flagger-chat", "modelpack", True),
        ("get", "secret/modelpack-git", "modelpack", False),
        ("list", "secrets", "modelpack", False),
        ("get", "secrets", "default", False),
        ("get", "configmaps", "default", False),
        ("delete", "deployments.apps", "default", False),
        ("delete", "services", "default", False),
        ("create", "pods", "default", False),
        ("update", "virtualservices.networking.istio.io", "default", False),
        ("update", "ingresses.networking.k8s.io", "default", False),
        ("create", "canaries.flagger.app", "default", False),
    ],
)
def test_what_flagger_may(server: Server, verb: str, what: str, namespace: str, may: bool) -> None:
    server.kubectl("apply", "-k", str(FLAGGER / "alerts"))
    who = "--as=system:serviceaccount:flagger-system:flagger"
    said = server.kubectl("auth", "can-i", verb, what, "-n", namespace, who, fails=not may)
    assert not said.strip() or may


# -- what Flagger does with them


@pytest.fixture(name="seen", scope="module")
def _seen(server: Server) -> Iterator[Seen]:
    """Every case at once: a namespace and a Flagger with an account of its own for each provider, v1 and then v2."""

    def answer(hook: str, body: dict[str, Any]) -> bool:
        return hook != "rollback" or body["name"] == "alerts"

    api = client.CustomObjectsApi(config.new_client_from_config(str(server.plane.kubeconfig)))
    with ExitStack() as stack:
        seen = Seen(stack.enter_context(scripted_gate(answer)))
        stack.enter_context(mark_ready(server.plane.kubeconfig))
        for provider in INSTALLS:
            server.kubectl("create", "namespace", provider)
            for case in CASES:
                if case.provider == provider:
                    server.kubectl("apply", "-f", "-", stdin=example(server, case, seen.gate.url))
        chat = f"--from-literal=address={seen.gate.url}/chat"
        server.kubectl("-n", "contour", "create", "secret", "generic", "flagger-chat", chat)
        for folder in ("alerts", "metrics"):
            text = server.kubectl("kustomize", str(FLAGGER / folder))
            server.kubectl("apply", "-f", "-", stdin=beside(text, "contour"))
        logs = {provider: stack.enter_context(flagger(server, provider)) for provider in INSTALLS}
        keys = {(case.provider, case.name) for case in CASES}
        wait(seen, api, lambda: seen.initialized >= keys)
        for provider, name in sorted(keys):
            image = "model=registry.local/models/other:v2"
            server.kubectl("-n", provider, "set", "image", f"deployment/{name}", image)
        wait(seen, api, lambda: all(seen.phases[key] in ("Succeeded", "Failed") for key in keys))
        seen.logs = {provider: log.read_text() for provider, log in logs.items()}
        yield seen


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.provider}-{case.name}")
def test_flagger_takes_every_variant_to_its_end(seen: Seen, case: Case) -> None:
    key = (case.provider, case.name)
    assert seen.phases[key] == case.end
    for words in case.route:
        assert any(words in said for said in seen.routes[key]), (words, seen.routes[key])
    assert set(seen.hooks(case)) >= {"rollback", "post-rollout", "event"}
    before = {"pre-rollout", "confirm-traffic-increase"} & set(seen.hooks(case))
    assert before <= {"confirm-traffic-increase" if case.name in BY_WEIGHTS else "pre-rollout"}
    assert before or case.end == "Failed"


@pytest.mark.parametrize("provider", INSTALLS)
def test_flagger_is_never_refused_what_it_needs(seen: Seen, provider: str) -> None:
    refused = [line for line in seen.logs[provider].splitlines() if "forbidden" in line.lower()]
    assert not refused


def test_a_chat_hears_of_what_the_gate_rejects(seen: Seen) -> None:
    assert "Rolling back" in json.dumps([body for hook, body in seen.gate.calls if hook == "chat"])


def test_a_prometheus_that_is_away_counts_as_a_failure(seen: Seen) -> None:
    events = [body["metadata"]["eventMessage"] for hook, body in seen.gate.calls if hook == "event"]
    assert any(each.startswith("Metric query failed for error share, percent") for each in events)
    assert "Rolling back metrics.contour failed checks threshold reached 3" in events


# -- what Prometheus says to the templates


def test_metric_templates(tmp_path: Path) -> None:
    templates = yaml.safe_load_all((FLAGGER / "metrics/templates.yaml").read_text())
    rendered = {}
    for each in templates:
        query = each["spec"]["query"]
        for name, value in {"namespace": "default", "service": "mpg", "interval": "1m"}.items():
            query = query.replace(f"{{{{ {name} }}}}", value)
        rendered[each["metadata"]["name"]] = query
    requests = 'envoy_cluster_upstream_rq_xx{envoy_cluster_name="default_mpg-%s_8080",envoy_response_code_class="%s"}'
    times = 'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="default_mpg-canary_8080",le="%s"}'

    def case(name: str, series: dict[str, int], answer: list[float]) -> dict[str, Any]:
        """Series that grow by so much every 15 s, and what a template makes of them."""
        given = [{"series": each, "values": f"0+{step}x20"} for each, step in series.items()]
        expected = [{"labels": "{}", "value": value} for value in answer]
        asked = [{"expr": rendered[name], "eval_time": "4m", "exp_samples": expected}]
        return {"interval": "15s", "input_series": given, "promql_expr_test": asked}

    good, bad, others = requests % ("canary", 2), requests % ("canary", 5), requests % ("primary", 5)
    cases = [
        case("model-error-share", {good: 3, bad: 1, others: 50}, [25]),
        case("model-error-share", {good: 3, others: 50}, [0]),
        case("model-error-share", {others: 50}, []),
        case("model-latency-p99", {times % 100: 100, times % 500: 100, times % "+Inf": 100}, [99]),
    ]
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump({"evaluation_interval": "15s", "tests": cases}))
    promtool = [program("promtool", "apt-get install prometheus"), "test", "rules", str(tmp_path / "cases.yaml")]
    done = subprocess.run(promtool, capture_output=True, text=True, timeout=60)
    assert not done.returncode, done.stdout + done.stderr


def test_no_metric_is_named_like_one_of_flaggers_own() -> None:
    text = (FLAGGER / "variants/metrics/kustomization.yaml").read_text()
    names = re.findall(r"name: ([^,}\n]+)", text + (FLAGGER / "metrics/templates.yaml").read_text())
    assert names
    assert not {"request-success-rate", "request-duration"} & set(names)
