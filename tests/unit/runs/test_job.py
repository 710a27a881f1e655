"""A run as a Kubernetes Job: made once, read from its conditions and its pod's last words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelpack.errors import InputError, NotFoundError, RefusedError, RemoteError
from modelpack.resources import Resources
from modelpack.runs.job import Job, manifest
from modelpack.training.folder import compact
from modelpack.training.run import Result, Seen, State, from_json
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.training import run, training

JOBS, PODS = "/apis/batch/v1/namespaces/training/jobs", "/api/v1/namespaces/training/pods"
TRAINING = training("job", image="registry.example.com/train:1", timeout=90.5)
PASSED = Seen(State.SUCCEEDED, "mae 0.12", 5.0, 9.0, Result(True, "mae 0.12", "r.example.com/line:v2@sha256:ab"))
DID_NOT = Seen(State.SUCCEEDED, "mae is 0.9", 5.0, 9.0, Result(False, "mae is 0.9"))
AWAY = Seen(State.FAILED, "registry: cannot be reached", 5.0, 9.0, retryable=True)
STARTED, ENDED = "2026-11-22T10:00:00Z", "2026-11-22T10:01:00Z"


def condition(kind: str, reason: str = "") -> dict[str, Any]:
    return {"type": kind, "status": "True", "reason": reason, "message": reason, "lastTransitionTime": ENDED}


def world(status: dict[str, Any] | None = None, pod: dict[str, Any] | None = None) -> tuple[FakeKubernetes, Job]:
    """A Job that has this status, and its pod."""
    fake = FakeKubernetes()
    job = Job(fake.cluster)
    job.start(run(), TRAINING)
    if status is not None:
        fake.objects[f"{JOBS}/{run().id}"]["status"] = {"startTime": STARTED, **status}
    if pod is not None:
        labels = {"modelpack.dev/run": run().id}
        fake.put(PODS, {"metadata": {"name": "pod-1", "labels": labels}, "status": pod})
    return fake, job


def ended(message: str, code: int = 0, reason: str = "Completed") -> dict[str, Any]:
    end = {"exitCode": code, "message": message, "reason": reason}
    return {"phase": "Succeeded", "containerStatuses": [{"name": "train", "state": {"terminated": end}}]}


FAILED = {"conditions": [condition("Failed", "BackoffLimitExceeded")]}
COMPLETE = {"conditions": [condition("Complete")], "completionTime": ENDED}


@pytest.mark.parametrize(
    ("status", "pod", "state", "message", "retryable", "passed"),
    [
        (None, None, State.PENDING, "", False, None),
        ({"active": 1}, {"phase": "Running"}, State.RUNNING, "", False, None),
        (COMPLETE, ended(compact(PASSED).decode()), State.SUCCEEDED, "mae 0.12", False, True),
        (FAILED, ended(compact(DID_NOT).decode(), 4), State.SUCCEEDED, "mae is 0.9", False, False),
        (FAILED, ended(compact(AWAY).decode(), 5), State.FAILED, "cannot be reached", True, None),
        (FAILED, ended("", 137, "OOMKilled"), State.FAILED, "OOMKilled, exit code 137", True, None),
        (FAILED, {"reason": "Evicted", "message": "disk"}, State.FAILED, "Evicted: disk", True, None),
        (FAILED, None, State.FAILED, "BackoffLimitExceeded", True, None),
        (
            {"conditions": [condition("Failed", "DeadlineExceeded")]},
            None,
            State.FAILED,
            "took longer than it may",
            False,
            None,
        ),
        (COMPLETE, ended("not json"), State.FAILED, "left no outcome", False, None),
        (COMPLETE, ended('{"state": "no such"}'), State.FAILED, "left no outcome", False, None),
        (
            {"active": 1},
            {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]},
            State.PENDING,
            "ImagePullBackOff",
            False,
            None,
        ),
    ],
)
def test_how_it_stands(
    status: dict[str, Any], pod: dict[str, Any], state: State, message: str, retryable: bool, passed: bool | None
) -> None:
    seen = world(status, pod)[1].look(run())
    assert (seen.state, seen.retryable) == (state, retryable)
    assert message in seen.message
    assert (seen.result.passed if seen.result else None) == passed
    if state.over:
        assert seen.ended - seen.started == 60.0


def test_asked_twice_there_is_one() -> None:
    fake, job = world()
    job.start(run(), TRAINING)
    assert [each for each in fake.objects if each.startswith(JOBS)] == [f"{JOBS}/{run().id}"]
    assert job.runs("line") == (run(),) and job.runs("other") == ()


def test_what_is_not_there_is_lost() -> None:
    seen = Job(FakeKubernetes().cluster).look(run())
    assert seen.state is State.LOST and seen.retryable


def test_cancelled_it_tells_so_once_its_pod_is_gone() -> None:
    fake, job = world({"active": 1}, {"phase": "Running"})
    job.cancel(run())
    stored = fake.objects[f"{JOBS}/{run().id}"]
    assert stored["spec"]["suspend"] is True
    assert job.look(run()).state is State.RUNNING
    stored["status"]["active"] = 0
    assert job.look(run()).state is State.CANCELLED


def test_what_is_over_is_not_cancelled() -> None:
    fake, job = world(COMPLETE, ended(compact(PASSED).decode()))
    job.cancel(run())
    assert "PATCH" not in [method for method, _ in fake.calls]
    job.remove(run())
    job.remove(run())
    assert job.look(run()).state is State.LOST


def test_its_log_is_its_pods() -> None:
    fake, job = world({"active": 1}, {"phase": "Running"})
    assert job.log(run()) == ""
    fake.logs["pod-1"] = "learning\n"
    assert job.log(run()) == "learning\n"


@pytest.mark.parametrize(
    ("status", "error"), [(403, RefusedError), (404, NotFoundError), (422, InputError), (500, RemoteError)]
)
def test_refusals_say_what_to_do(status: int, error: type[Exception]) -> None:
    fake = FakeKubernetes()
    fake.refusal = (status, "the reason")
    with pytest.raises(error, match="the reason"):
        Job(fake.cluster).start(run(), TRAINING)


def test_the_manifest_is_restricted_and_tells_no_secret() -> None:
    value = manifest(run(parameters={"note": "$(HOME) $(params.run)"}), TRAINING)
    pod = value["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert value["spec"]["backoffLimit"] == 0 and value["spec"]["activeDeadlineSeconds"] == 91
    assert pod["automountServiceAccountToken"] is False and pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["envFrom"] == [{"secretRef": {"name": "modelpack-train", "optional": True}}]
    told = container["args"][container["args"].index("--run") + 1]
    assert "$" not in told  # which Kubernetes would take for a variable
    assert from_json(json.loads(told)).parameters["note"] == "$(HOME) $(params.run)"


def test_an_outcome_fits_a_termination_message() -> None:
    long = Seen(State.SUCCEEDED, '"ü' * 9000, 1.0, 2.0, Result(False, '"ü' * 9000, "r/x@sha256:" + "a" * 64))
    assert len(compact(long)) <= 2048


def test_what_training_yaml_asks_of_a_node_is_in_the_pod() -> None:
    asked = Resources(
        {"cpu": "2"}, {"memory": "8Gi", "nvidia.com/gpu": "1"}, {"pool": "gpu"}, ({"key": "gpu", "operator": "Exists"},)
    )
    pod = manifest(run(), training("job", image="i", resources=asked))["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"] == {
        "requests": {"cpu": "2"},
        "limits": {"memory": "8Gi", "nvidia.com/gpu": "1"},
    }
    assert pod["nodeSelector"] == {"pool": "gpu"} and pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    plain = manifest(run(), TRAINING)["spec"]["template"]["spec"]
    assert plain["containers"][0]["resources"] == {} and not {"nodeSelector", "tolerations"} & set(plain)
