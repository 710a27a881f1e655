"""Runs as objects of a real API server: what it takes, what it makes of names that are there, what it tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from modelpack.errors import InputError, NotFoundError
from modelpack.registry import Via
from modelpack.runs import Backend, open_backend
from modelpack.runs.job import Job, manifest
from modelpack.training.definition import Training
from modelpack.training.folder import compact
from modelpack.training.run import Result, Run, Seen, State
from tests.fakes import training as fake
from tests.integration.conftest import available
from tests.integration.servers.modelsyncs import Server, api_server

PLACE = "training"
NOW = "2026-11-22T10:00:00Z"
DONE = Seen(State.SUCCEEDED, "fine", 5.0, 9.0, Result(True, "fine", "r.example.com/line:v2@sha256:ab"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with available(lambda: api_server(tmp_path_factory.mktemp("cluster"))) as found:
        strictest = {"pod-security.kubernetes.io/enforce": "restricted"}
        found.call("POST", "/api/v1/namespaces", {"metadata": {"name": PLACE, "labels": strictest}})
        account = {"metadata": {"name": "default"}}
        found.call("POST", f"/api/v1/namespaces/{PLACE}/serviceaccounts", account)
        yield found


@pytest.fixture
def connect(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    monkeypatch.setenv("KUBECONFIG", str(server.plane.kubeconfig))
    return lambda training: open_backend(training, tmp_path, Via())


JOB = fake.training("job", image="registry.example.com/train:1", namespace=PLACE, timeout=60.0)
TEKTON = fake.training("tekton", pipeline="modelpack-train", namespace=PLACE, timeout=60.0)


@pytest.mark.parametrize("training", [JOB, TEKTON], ids=["job", "tekton"])
def test_a_run_is_made_once_found_again_and_removed(connect: Any, training: Training) -> None:
    backend: Backend = connect(training)
    run = fake.run(id=f"line-v2-{training.runs.backend}", parameters={"note": "$(HOME)", "slope": 2.5})
    assert backend.look(run).state is State.LOST
    backend.start(run, training)
    backend.start(run, training)
    assert backend.look(run).state is State.PENDING and backend.log(run) == ""
    assert backend.runs("line") == (run,) and backend.runs("other") == ()
    backend.cancel(run)
    backend.remove(run)
    backend.remove(run)
    assert backend.look(run).state is State.LOST


def test_a_jobs_pod_is_admitted_where_only_the_strictest_are(server: Server) -> None:
    """No controller makes pods here: its template is made one by hand."""
    run = fake.run(id="line-v2-strict")
    template = manifest(run, JOB)["spec"]["template"]
    pod = {"metadata": {"name": run.id, **template["metadata"]}, "spec": template["spec"]}
    made = server.call("POST", f"/api/v1/namespaces/{PLACE}/pods?dryRun=All&fieldValidation=Strict", pod)
    (container,) = made["spec"]["containers"]
    assert container["terminationMessagePath"] == "/dev/termination-log"  # where the outcome is written
    body = {**manifest(run, JOB)}
    server.call("POST", f"/apis/batch/v1/namespaces/{PLACE}/jobs?dryRun=All&fieldValidation=Strict", body)


def test_a_job_that_has_ended_tells_what_its_pod_said(server: Server, connect: Any) -> None:
    backend: Job = connect(JOB)
    run = fake.run(id="line-v2-ended")
    backend.start(run, JOB)
    template = manifest(run, JOB)["spec"]["template"]
    pod = {"metadata": {"name": run.id, **template["metadata"]}, "spec": template["spec"]}
    server.call("POST", f"/api/v1/namespaces/{PLACE}/pods", pod)
    end = {"exitCode": 0, "reason": "Completed", "message": compact(DONE).decode()}
    status = {"name": "train", "ready": False, "restartCount": 0, "image": "x", "imageID": "x"}
    said = {"phase": "Succeeded", "containerStatuses": [{**status, "state": {"terminated": end}}]}
    _patch(server, f"/api/v1/namespaces/{PLACE}/pods/{run.id}/status", {"status": said})
    seen = backend.look(run)
    assert seen.state is State.SUCCEEDED and seen.result == DONE.result


def test_cancelled_a_job_is_suspended_and_says_so(server: Server, connect: Any) -> None:
    backend: Job = connect(JOB)
    run = fake.run(id="line-v2-cancelled")
    backend.start(run, JOB)
    backend.cancel(run)
    found = server.call("GET", f"/apis/batch/v1/namespaces/{PLACE}/jobs/{run.id}")
    assert found["spec"]["suspend"] is True
    assert backend.look(run).state is State.CANCELLED


def test_a_tekton_run_is_ended_by_its_spec_and_read_from_its_status(server: Server, connect: Any) -> None:
    backend: Backend = connect(TEKTON)
    run = fake.run(id="line-v2-told")
    backend.start(run, TEKTON)
    condition = {"type": "Succeeded", "status": "True", "reason": "Succeeded", "message": "all done"}
    results = [{"name": "result", "value": compact(DONE).decode()}]
    status = {"conditions": [condition], "startTime": NOW, "completionTime": NOW, "results": results}
    _patch(server, f"/apis/tekton.dev/v1/namespaces/{PLACE}/pipelineruns/{run.id}/status", {"status": status})
    assert backend.look(run).result == DONE.result
    other = fake.run(id="line-v2-ended-by-hand")
    backend.start(other, TEKTON)
    backend.cancel(other)
    found = server.call("GET", f"/apis/tekton.dev/v1/namespaces/{PLACE}/pipelineruns/{other.id}")
    assert found["spec"]["status"] == "Cancelled"


@pytest.mark.parametrize(
    ("run", "training", "error", "words"),
    [
        (fake.run(), fake.training("job", image="x", namespace="not-there"), NotFoundError, "runs.namespace"),
        (fake.run(id="Not A Name"), JOB, InputError, "does not take it"),
    ],
)
def test_refusals_are_sentences(connect: Any, run: Run, training: Training, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        connect(training).start(run, training)


def _patch(server: Server, path: str, value: dict[str, Any]) -> None:
    server.call("PATCH", path, value, "application/merge-patch+json")
