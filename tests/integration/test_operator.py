"""The operator as a process beside a real API server: runs are started, one at a time, whatever happens to whom."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command import modelpack
from tests.fakes.needs_sync import NeedsSync, needs_sync
from tests.integration.conftest import available
from tests.integration.servers.modelsyncs import (
    ORIGINAL,
    ROOT,
    TEKTON,
    V1,
    Relay,
    Server,
    api_server,
    kill,
    operator,
    wait,
)
from tests.integration.servers.process import free_port

pytest.importorskip("kopf")
FAST = "--interval=1s"


@pytest.fixture(name="plane", scope="module")
def _plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with available(lambda: api_server(tmp_path_factory.mktemp("operator"))) as server:
        yield server


@pytest.fixture(name="server")
def _server(plane: Server) -> Iterator[Server]:
    yield plane
    plane.remove_all()


@pytest.fixture(name="service")
def _service() -> Iterator[NeedsSync]:
    with needs_sync() as service:
        yield service


@pytest.fixture(name="stack")
def _stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def active(server: Server, name: str = "") -> list[str]:
    return [each["metadata"]["name"] for each in server.runs(name) if not (each.get("status") or {}).get("conditions")]


def test_from_a_need_to_its_end(server: Server, service: NeedsSync, tmp_path: Path) -> None:
    url = service.say("/mpg", True, name="v2", other="x")
    parameters = [{"needsSyncName": "name", "pipelineName": "model"}]
    template = {
        "metadata": {"labels": {"team": "a"}, "annotations": {"why": "age"}},
        "spec": {"pipelineRef": {"name": "train"}, "params": [{"name": "files", "value": ["a", "b"]}]},
    }
    server.make("mpg", url, parameters=parameters, pipelineRunTemplate=template)
    with operator(server, tmp_path / "log", FAST) as process:
        wait(lambda: server.runs())
        (run,) = server.runs()
        assert run["spec"]["params"] == [{"name": "files", "value": ["a", "b"]}, {"name": "model", "value": "v2"}]
        assert run["metadata"]["labels"]["team"] == "a" and run["metadata"]["annotations"]["why"] == "age"
        wait(lambda: server.condition("mpg", "Syncing") == ("True", "RunActive"))
        assert server.status("mpg")["active"][0]["uid"] == run["metadata"]["uid"]
        asked = service.asked["/mpg"]
        time.sleep(2.5)
        assert service.asked["/mpg"] == asked, "nobody is asked while a run goes on"
        server.end(run["metadata"]["name"])
        wait(lambda: server.condition("mpg", "Synced") == ("False", "Waiting"))
        time.sleep(2.5)
        assert len(server.runs()) == 1, "a pull request may be open"
        service.say("/mpg", False)
        wait(lambda: server.condition("mpg", "Synced") == ("True", "UpToDate"))
        assert server.status("mpg")["lastSyncTime"] and "active" not in server.status("mpg")
        service.say("/mpg", True, name="v2")
        wait(lambda: len(server.runs()) == 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_an_object_of_the_original_group_works_as_it_is(server: Server, service: NeedsSync, tmp_path: Path) -> None:
    sample: dict[str, Any] = {
        "failedPipelineRunsHistoryLimit": 10,
        "successfulPipelineRunsHistoryLimit": 10,
        "parameters": [{"needsSyncName": "name", "pipelineName": "automl-model"}],
        "pipelineRunTemplate": {
            "spec": {
                "params": [{"name": "automl-model", "value": "notavlidmodel"}, {"name": "fork", "value": "f"}],
                "pipelineRef": {"name": "update-model-pr"},
                "serviceAccountName": "auto-update",
            }
        },
    }
    url = service.say("/needsSync", True, name="model-7")
    server.make("sample", url, api_version=ORIGINAL, **sample)
    repo = {"name": "repo", "resourceSpec": {"type": "git", "params": [{"name": "revision", "value": "master"}]}}
    sample["pipelineRunTemplate"]["spec"]["resources"] = [repo]
    server.make("as-published", url, api_version=ORIGINAL, **sample)
    with operator(server, tmp_path / "log", FAST):
        wait(lambda: server.runs("sample"))
        (run,) = server.runs("sample")
        assert run["spec"]["params"][0] == {"name": "automl-model", "value": "model-7"}
        assert run["spec"]["taskRunTemplate"] == {"serviceAccountName": "auto-update"}
        wait(lambda: server.condition("as-published", "Ready", ORIGINAL) == ("False", "InvalidSpec"))
        (ready,) = (each for each in server.status("as-published", ORIGINAL)["conditions"] if each["type"] == "Ready")
        assert "resources: is what Tekton no longer has" in ready["message"]
        assert not server.runs("as-published")


def test_old_runs_go_and_failed_ones_are_repeated_later(server: Server, service: NeedsSync, tmp_path: Path) -> None:
    url = service.say("/mpg", True, n="0")
    limits = {"successfulPipelineRunsHistoryLimit": 1, "failedPipelineRunsHistoryLimit": 2}
    server.make("mpg", url, parameters=[{"pipelineName": "n"}], **limits)
    with operator(server, tmp_path / "log", FAST):
        for number in range(1, 7):
            wait(lambda: len(active(server)) == 1)
            server.end(active(server)[0], succeeded=number % 2 == 0)
            server.change("mpg", backoffLimit=number)  # a changed spec is a new beginning
        wait(lambda: server.status("mpg")["lastRun"]["number"] == 7)
        wait(lambda: len(server.runs()) == 4)  # one succeeded, two failed, one goes on
        server.end(active(server)[0], succeeded=False)
        wait(lambda: server.condition("mpg", "Synced") == ("False", "BackingOff"))
        time.sleep(2.5)
        assert not active(server)


@pytest.mark.parametrize("lease", ["", "--lease=default/two"])
def test_two_operators_start_one_run(server: Server, service: NeedsSync, tmp_path: Path, lease: str) -> None:
    """Without a lease both act, and the claim in the status still lets only one run through at a time."""
    names = [f"m{n}" for n in range(8)]
    for each in names:
        server.make(each, service.say(f"/{each}", True, n="0"), parameters=[{"pipelineName": "n"}])
    words = [FAST, *([lease] if lease else [])]
    with ExitStack() as stack:
        processes = [stack.enter_context(operator(server, tmp_path / f"log{n}", *words)) for n in range(2)]
        for turn in range(1, 4):
            wait(lambda turn=turn: len(server.runs()) == turn * len(names), 40)  # type: ignore[misc]
            assert all(len(active(server, each)) == 1 for each in names)
            if turn < 3:
                for each in active(server):
                    server.end(each)
                for each in names:
                    server.change(each, backoffLimit=turn)  # a changed spec is a new beginning
        time.sleep(3)
        assert len(server.runs()) == 3 * len(names)
        if lease:
            logs = [(tmp_path / f"log{n}").read_text() for n in range(2)]
            leader = 0 if "started" in logs[0] else 1
            assert "started" not in logs[1 - leader]
            processes[leader].send_signal(signal.SIGTERM)  # it lets go, so the other one need not wait
            processes[leader].wait(15)
            for each in active(server):
                server.end(each)
            for each in names:
                server.change(each, backoffLimit=9)
            wait(lambda: len(active(server)) == len(names), 30)


def test_killed_at_any_moment_it_ends_up_with_one_run_each(server: Server, service: NeedsSync, tmp_path: Path) -> None:
    names = [f"m{n}" for n in range(12)]
    chance = random.Random(7)
    for each in names:
        server.make(each, service.say(f"/{each}", True, n="0"), parameters=[{"pipelineName": "n"}])
    for turn in range(1, 9):
        with operator(server, tmp_path / "log", FAST) as process:
            time.sleep(1.2 + chance.random() * 1.3)
            kill(process)
        assert all(len(active(server, each)) <= 1 for each in names)
        if turn % 3 == 0:
            for each in active(server):
                server.end(each)
            for each in names:
                server.change(each, backoffLimit=turn)
    with operator(server, tmp_path / "log", FAST):
        wait(lambda: all(len(active(server, each)) == 1 for each in names), 40)
        time.sleep(2)
        assert all(len(active(server, each)) == 1 for each in names)
    numbers = [each["metadata"]["annotations"]["modelpack.dev/number"] for each in server.runs("m0")]
    assert len(numbers) == len(set(numbers))


def test_a_service_that_is_slow_or_broken_holds_up_nobody_else(
    server: Server, service: NeedsSync, stack: ExitStack, tmp_path: Path
) -> None:
    slow = stack.enter_context(needs_sync())
    for n in range(20):
        server.make(f"slow{n}", slow.say(f"/slow{n}", True))
        slow.delay[f"/slow{n}"] = 60
    server.make("drip", service.say("/drip", True))
    service.drips.add("/drip")
    server.make("big", f"{service.url}/big")
    service.answers["/big"] = b"x" * 300_000
    server.make("broken", f"{service.url}/broken")
    server.make("refused", f"http://127.0.0.1:{free_port()}/")
    server.make("incomplete", service.say("/incomplete", True), parameters=[{"pipelineName": "name"}])
    with operator(server, tmp_path / "log", FAST, "--timeout=5s"):
        wait(lambda: server.condition("refused", "Ready") == ("False", "NeedsSyncFailed"), 40)
        server.make("good", service.say("/good", True))
        wait(lambda: active(server, "good"), 8)
        assert slow.most_at_once == 4, "it asks a bounded number at once, so that a service that hangs holds up its own"
        for each in ("drip", "big", "broken"):
            wait(lambda each=each: server.condition(each, "Ready") == ("False", "NeedsSyncFailed"), 40)  # type: ignore[misc]
        wait(lambda: server.condition("incomplete", "Ready") == ("False", "IncompleteAnswer"))
        assert len(server.runs()) == 1
        asked = service.asked["/broken"]
        time.sleep(4)
        assert service.asked["/broken"] - asked <= 2, "it asks a broken one less and less often"
        wait(lambda: any(server.condition(f"slow{n}", "Ready")[0] == "False" for n in range(20)))
        slow.delay.clear()
        wait(lambda: all(active(server, f"slow{n}") for n in range(20)), 60)


def test_the_api_server_goes_away_and_comes_back(server: Server, service: NeedsSync, tmp_path: Path) -> None:
    relay = Relay(int(server.plane.url.rpartition(":")[2]))
    config = json.loads(server.plane.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{relay.port}"
    own = tmp_path / "kubeconfig"
    own.write_text(json.dumps(config))
    server.make("before", service.say("/before", True))
    try:
        with operator(server, tmp_path / "log", FAST, env={"KUBECONFIG": str(own)}) as process:
            wait(lambda: active(server, "before"))
            relay.cut()
            server.end(active(server)[0])
            server.make("meanwhile", service.say("/meanwhile", True))
            time.sleep(6)
            assert process.poll() is None
            relay.mend()
            wait(lambda: active(server, "meanwhile"), 60)
            wait(lambda: server.condition("before", "Synced") == ("False", "Waiting"), 60)
    finally:
        relay.close()


def test_an_object_goes_while_the_operator_is_down(server: Server, service: NeedsSync, tmp_path: Path) -> None:
    server.make("mpg", service.say("/mpg", True))
    with operator(server, tmp_path / "log", FAST) as process:
        wait(lambda: active(server))
        kill(process)
    found = server.call("GET", f"/apis/{V1}/namespaces/default/modelsyncs/mpg")["metadata"]
    assert "finalizers" not in found and "annotations" not in found
    server.call("DELETE", f"/apis/{V1}/namespaces/default/modelsyncs/mpg")
    assert not server.objects(V1, "modelsyncs")


def test_with_the_rights_of_the_manifests_and_no_others(server: Server, service: NeedsSync, tmp_path: Path) -> None:
    for name in ("modelpack", "modelpack-training"):
        server.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    rbac, core, coordination = "rbac.authorization.k8s.io/v1", "api/v1", "apis/coordination.k8s.io/v1"
    places = {
        "ServiceAccount": f"{core}/namespaces/{{}}/serviceaccounts",
        "Lease": f"{coordination}/namespaces/{{}}/leases",
        "ClusterRole": f"apis/{rbac}/clusterroles",
        "Role": f"apis/{rbac}/namespaces/{{}}/roles",
        "RoleBinding": f"apis/{rbac}/namespaces/{{}}/rolebindings",
    }
    for each in yaml.safe_load_all((ROOT / "manifests" / "reconciler" / "access.yaml").read_text()):
        server.call("POST", "/" + places[each["kind"]].format(each["metadata"].get("namespace")), each)
    account = "/api/v1/namespaces/modelpack/serviceaccounts/modelpack-operator/token"
    token = server.call("POST", account, {"spec": {"expirationSeconds": 3600}})["status"]["token"]
    config = json.loads(server.plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    example = yaml.safe_load((ROOT / "manifests" / "reconciler" / "examples" / "mpg.yaml").read_text())
    example["spec"]["needsSyncUrl"] = service.say("/mpg", True, id="mpg-v1-1", run='{"id": "mpg-v1-1"}')
    path = f"/apis/{V1}/namespaces/modelpack-training/modelsyncs"
    server.call("POST", path, example)
    words = ("-n", "modelpack-training", FAST, "--lease=modelpack/modelpack-operator")
    command = [sys.executable, "-m", "modelpack", "operator", *words]
    with (tmp_path / "log").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=_environ(server, tmp_path / "kubeconfig"))
    try:
        wait(lambda: server.objects(TEKTON, "pipelineruns", "modelpack-training"), 40)
        (run,) = server.objects(TEKTON, "pipelineruns", "modelpack-training")
        assert {"name": "run", "value": '{"id": "mpg-v1-1"}'} in run["spec"]["params"]
        wait(lambda: server.call("GET", f"{path}/mpg")["status"]["lastRun"]["state"] == "Running")
    finally:
        process.terminate()
        process.wait(20)
    log = (tmp_path / "log").read_text()
    assert not any(word in log.lower() for word in ("forbidden", "permission", "traceback")), log


def test_the_kinds_that_are_missing_are_named(tmp_path: Path, server: Server) -> None:
    done = modelpack("operator", "-n", "default", "--context", "nobody", cwd=tmp_path, env=_environ(server))
    assert (done.code, "name a --context" in done.sentence) == (2, True)
    done = modelpack("operator", cwd=tmp_path, env=_environ(server))
    assert (done.code, "--namespace or --all-namespaces" in done.sentence) == (2, True)
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"
    away = json.loads(server.plane.kubeconfig.read_text())
    away["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{free_port()}"
    (tmp_path / "away").write_text(json.dumps(away))
    done = modelpack("operator", "-n", "default", cwd=tmp_path, env=_environ(server, tmp_path / "away"))
    assert (done.code, "cannot be reached" in done.sentence) == (5, True)
    assert server.call("GET", f"{path}modelsyncs.modelpack.dev")["metadata"]["name"]


def _environ(server: Server, config: Path | None = None) -> dict[str, str]:
    return {**os.environ, "KUBECONFIG": str(config or server.plane.kubeconfig)}
