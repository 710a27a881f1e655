from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import InputError, ModelpackError, NotFoundError, RemoteError
from modelpack.rollout.cluster import READINGS, Cluster, Event
from tests.fakes.cluster import CANARIES, FakeApi, canary, config_map, workload

V1, V2 = (f"registry.local/models/mpg:v{n}@sha256:{n:064d}" for n in (1, 2))
CANARY = CANARIES.format("default") + "/mpg"


@pytest.fixture
def api() -> FakeApi:
    api = FakeApi()
    api.put(canary(canaryWeight=25, failedChecks=1, conditions=[{"type": "Promoted", "message": "New revision"}]))
    api.put(workload(V2))
    api.put(workload(V1, "mpg-primary"))
    return api


def test_a_reading_joins_the_canary_and_its_two_deployments(api: FakeApi) -> None:
    seen = api.cluster.observe("default", "mpg")
    assert (seen.phase, seen.weight, seen.failed_checks, seen.iterations) == ("Progressing", 25, 1, 0)
    assert (seen.last_applied, seen.last_promoted, seen.last_transition) == ("b", "a", 1767323045.0)
    assert (seen.interval, seen.threshold, seen.steps, seen.analysis_iterations) == (10.0, 3, (10, 25, 50), 0)
    assert (seen.service, seen.port, seen.canary_image, seen.primary_image) == ("mpg", 8080, V2, V1)
    assert (seen.message, seen.rollback) == ("New revision", False)


@pytest.mark.parametrize("key", ["lastAppliedSpec", "phase"])
def test_a_canary_that_changes_while_it_is_read_is_read_again(api: FakeApi, key: str) -> None:
    def change(path: str) -> None:
        if path.endswith("deployments/mpg") and api.objects[CANARY]["status"][key] != "new":
            api.objects[CANARY]["status"][key] = "new"
            api.put(workload("r/m:v3"))

    api.before = change
    assert api.cluster.observe("default", "mpg").canary_image == "r/m:v3"
    assert [path for path, _ in api.queries].count(CANARY) == 3


def test_a_canary_that_never_stands_still_is_an_error(api: FakeApi) -> None:
    def change(path: str) -> None:
        api.objects[CANARY]["status"]["lastAppliedSpec"] += "x"

    api.before = change
    with pytest.raises(RemoteError, match="changes faster than it can be read"):
        api.cluster.observe("default", "mpg")
    assert [path for path, _ in api.queries].count(CANARY) == READINGS + 1


@pytest.mark.parametrize(
    ("analysis", "steps", "iterations", "interval"),
    [
        ({"stepWeights": [5, 40], "interval": "1m30s"}, (5, 40), 0, 90.0),
        ({"stepWeight": 30, "maxWeight": 50, "interval": "1s"}, (30, 60), 0, 10.0),
        ({"stepWeight": 50}, (50, 100), 0, 60.0),
        ({"stepWeight": 50, "maxWeight": 10**15}, (50, 100), 0, 60.0),
        ({"iterations": 10, "interval": "odd"}, (), 10, 60.0),
    ],
)
def test_the_analysis(
    api: FakeApi, analysis: dict[str, Any], steps: tuple[int, ...], iterations: int, interval: float
) -> None:
    api.objects[CANARY]["spec"]["analysis"] = analysis
    seen = api.cluster.observe("default", "mpg")
    assert (seen.steps, seen.analysis_iterations, seen.interval, seen.threshold) == (steps, iterations, interval, 1)


@pytest.mark.parametrize(
    ("pod", "container", "image"),
    [
        (
            {"initContainers": [{"name": "model", "image": "a"}], "containers": [{"name": "model", "image": "b"}]},
            "",
            "a",
        ),
        ({"volumes": [{"name": "model", "image": {"reference": "c"}}], "containers": []}, "", "c"),
        ({"volumes": [{"name": "model", "emptyDir": {}}], "containers": [{"name": "model", "image": "b"}]}, "", "b"),
        ({"containers": [{"name": "server", "image": "s"}, {"name": "model", "image": "b"}]}, "server", "s"),
    ],
)
def test_which_image_is_the_models(api: FakeApi, pod: dict[str, Any], container: str, image: str) -> None:
    api.put(workload("x"))["spec"]["template"]["spec"] = pod
    api.put(workload("x", "mpg-primary"))["spec"]["template"]["spec"] = pod
    if container:
        api.objects[CANARY]["metadata"]["annotations"] = {"modelpack.dev/container": container}
    assert api.cluster.observe("default", "mpg").canary_image == image


def test_a_pod_without_the_models_container_is_one_sentence(api: FakeApi) -> None:
    api.objects[CANARY]["metadata"]["annotations"] = {"modelpack.dev/container": "weights"}
    with pytest.raises(
        InputError, match=r"Deployment mpg: has no .* 'weights'; .* modelpack.dev/container of Canary default/mpg"
    ):
        api.cluster.observe("default", "mpg")


def test_daemon_sets_and_a_service_of_another_name(api: FakeApi) -> None:
    other = api.put(canary(name="edge", kind="DaemonSet"))
    other["spec"]["service"] = {"name": "predictor", "port": 9000}
    api.put(workload(V1, "edge", kind="DaemonSet"))
    seen = api.cluster.observe("default", "edge")
    assert (seen.service, seen.port, seen.canary_image, seen.primary_image) == ("predictor", 9000, V1, "")


@pytest.mark.parametrize("kind", ["StatefulSet", "Service", ""])
def test_other_kinds_are_not_supported(api: FakeApi, kind: str) -> None:
    api.objects[CANARY]["spec"]["targetRef"]["kind"] = kind
    with pytest.raises(InputError, match="Deployment or a DaemonSet"):
        api.cluster.observe("default", "mpg")


@pytest.mark.parametrize(("mark", "rollback"), [("v2", True), (f"sha256:{2:064d}", True), ("v1", False), ("", False)])
def test_a_rollback_is_marked_with_its_own_version(api: FakeApi, mark: str, rollback: bool) -> None:
    api.put(workload(V2, annotations={"modelpack.dev/rollback": mark}))
    assert api.cluster.observe("default", "mpg").rollback is rollback


@pytest.mark.parametrize(
    ("refusal", "kind", "problem"),
    [
        ((404, "canaries.flagger.app not found"), NotFoundError, "Canary default/mpg: is not there: canaries"),
        ((403, "forbidden"), RemoteError, "may not be read: forbidden; give"),
        ((401, "Unauthorized"), RemoteError, "may not be read"),
        ((500, "etcd is\x00 slow"), RemoteError, "answered 500: etcd is  slow".replace("  ", " ")),
    ],
)
def test_refusals_are_one_sentence(
    api: FakeApi, refusal: tuple[int, str], kind: type[ModelpackError], problem: str
) -> None:
    api.refusal = refusal
    with pytest.raises(kind, match=problem):
        api.cluster.observe("default", "mpg")


@pytest.mark.parametrize("value", [b"", b"[]", b"{", b"<html>"])
def test_nonsense_is_an_error(api: FakeApi, value: bytes) -> None:
    api.objects[CANARY] = value
    with pytest.raises(RemoteError, match="the API server did not answer"):
        api.cluster.observe("default", "mpg")


def test_config_maps_have_text_and_bytes(api: FakeApi) -> None:
    api.put(config_map("gate-mpg", {"gate.yaml": "ä"}))["binaryData"] = {
        "golden.jsonl": base64.b64encode(b"\xff").decode()
    }
    assert api.cluster.config_map("default", "gate-mpg") == {"gate.yaml": "ä".encode(), "golden.jsonl": b"\xff"}
    with pytest.raises(NotFoundError, match="ConfigMap other/gate-mpg"):
        api.cluster.config_map("other", "gate-mpg")


def test_canaries_of_all_namespaces_and_of_one(api: FakeApi) -> None:
    items = [{"metadata": {"namespace": space, "name": name}} for space, name in (("b", "x"), ("a", "y"))]
    api.objects["/apis/flagger.app/v1beta1/canaries"] = {"items": items}
    api.objects[CANARIES.format("b")] = {"items": items[:1]}
    assert api.cluster.canaries() == (("a", "y"), ("b", "x"))
    assert api.cluster.canaries("b") == (("b", "x"),)


def test_events_are_in_order_of_time(api: FakeApi) -> None:
    api.objects["/api/v1/namespaces/default/events"] = {
        "items": [
            {"type": "Warning", "message": "second", "lastTimestamp": "2026-01-02T03:04:06Z"},
            {"type": "Normal", "message": "first", "lastTimestamp": None, "eventTime": "2026-01-02T03:04:05.500000Z"},
        ]
    }
    found = api.cluster.events("default", "mpg")
    assert found == (Event(1767323045.5, "Normal", "first"), Event(1767323046.0, "Warning", "second"))
    assert api.queries[-1][1] == {"fieldSelector": "involvedObject.kind=Canary,involvedObject.name=mpg"}


def test_a_service_is_reached_through_the_api_server(api: FakeApi) -> None:
    path = "/api/v1/namespaces/modelpack/services/modelpack-gate:http/proxy/api/v1/rollouts?state=failed"
    api.objects[path] = b"{}"
    assert api.cluster.proxied("modelpack", "modelpack-gate", "http", "/api/v1/rollouts?state=failed") == b"{}"


def test_names_cannot_leave_their_place_in_the_path(api: FakeApi) -> None:
    with pytest.raises(NotFoundError):
        api.cluster.config_map("default/../kube-system", "a?b")
    assert api.queries[-1][0] == "/api/v1/namespaces/default%2F..%2Fkube-system/configmaps/a%3Fb"


def test_no_cluster_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kubernetes")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(InputError, match="a cluster: is not configured"):
        Cluster.connect()
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    (tmp_path / "config").write_text(str({**config, "current-context": "c", "kind": "Config", "apiVersion": "v1"}))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(InputError, match="is not configured"):
        Cluster.connect("other")
    with pytest.raises(RemoteError, match="cannot be reached"):
        Cluster.connect("c").version()


@pytest.mark.parametrize(
    "service",
    [{"name": "169.254.169.254/latest?"}, {"name": "a@b"}, {"name": "mpg\r\nX: y"}, {"port": 70000}, {"port": -1}],
)
def test_a_service_that_would_lead_elsewhere_is_refused(api: FakeApi, service: dict[str, Any]) -> None:
    api.objects[CANARY]["spec"]["service"] |= service
    with pytest.raises(InputError, match=r"^Canary default/mpg: makes no sense: "):
        api.cluster.observe("default", "mpg")


@pytest.mark.parametrize("text", ["a: [", "- 1", "5", "clusters: 3"])
def test_a_kubeconfig_that_makes_no_sense_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (tmp_path / "config").write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(InputError, match="is not configured"):
        Cluster.connect()
