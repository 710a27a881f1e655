"""A run as a Tekton PipelineRun: made once, read from its condition, its results and its TaskRuns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelpack.resources import Resources
from modelpack.runs.tekton import ASKING, Tekton, manifest
from modelpack.training.folder import compact
from modelpack.training.run import Result, Seen, State, from_json
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.training import run, training

ROOT = "/apis/tekton.dev/v1/namespaces/training"
TRAINING = training("tekton", pipeline="modelpack-train", image="registry.example.com/train:1", timeout=60.0)
PASSED = Seen(State.SUCCEEDED, "fine", 5.0, 9.0, Result(True, "fine", "r.example.com/line:v2@sha256:ab"))
DID_NOT = Seen(State.SUCCEEDED, "worse", 5.0, 9.0, Result(False, "worse"))
AWAY = Seen(State.FAILED, "registry: cannot be reached", 5.0, 9.0, retryable=True)
TIMES = {"startTime": "2026-11-22T10:00:00Z", "completionTime": "2026-11-22T10:01:00Z"}


def status(succeeded: str, reason: str = "", results: list[dict[str, str]] | None = None) -> dict[str, Any]:
    condition = {"type": "Succeeded", "status": succeeded, "reason": reason, "message": reason}
    times = TIMES if succeeded != "Unknown" else {"startTime": TIMES["startTime"]}
    return {**times, "conditions": [condition], "results": results or []}


def told(seen: Seen) -> list[dict[str, str]]:
    return [{"name": "passed", "value": "true"}, {"name": "result", "value": compact(seen).decode()}]


def task(results: list[dict[str, str]], code: int) -> dict[str, Any]:
    labels = {"tekton.dev/pipelineRun": run().id}
    steps = [{"terminated": {"exitCode": code}}]
    return {"metadata": {"name": "task", "labels": labels}, "status": {"results": results, "steps": steps}}


def world(status: dict[str, Any] | None, tasks: dict[str, Any] | None = None) -> tuple[FakeKubernetes, Tekton]:
    fake = FakeKubernetes()
    tekton = Tekton(fake.cluster)
    tekton.start(run(), TRAINING)
    if status is not None:
        fake.objects[f"{ROOT}/pipelineruns/{run().id}"]["status"] = status
    if tasks is not None:
        fake.put(f"{ROOT}/taskruns", tasks)
    return fake, tekton


@pytest.mark.parametrize(
    ("status", "task", "state", "message", "retryable", "passed"),
    [
        (None, None, State.PENDING, "", False, None),
        (status("Unknown", "Running"), None, State.RUNNING, "Running", False, None),
        (status("True", "Succeeded", told(PASSED)), None, State.SUCCEEDED, "fine", False, True),
        (status("True", "Completed", told(DID_NOT)), None, State.SUCCEEDED, "worse", False, False),
        (status("True", "Succeeded"), None, State.SUCCEEDED, "Succeeded", False, None),
        (status("False", "Failed"), task(told(AWAY), 5), State.FAILED, "cannot be reached", True, None),
        (status("False", "Failed"), task([], 137), State.FAILED, "Failed", True, None),
        (status("False", "Failed"), task([], 1), State.FAILED, "Failed", False, None),
        (status("False", "PipelineRunTimeout"), None, State.FAILED, "took longer", False, None),
        (status("False", "Cancelled"), None, State.CANCELLED, "was cancelled", False, None),
        (status("False", "CouldntGetPipeline"), None, State.FAILED, "CouldntGetPipeline", False, None),
    ],
)
def test_how_it_stands(
    status: dict[str, Any], task: dict[str, Any], state: State, message: str, retryable: bool, passed: bool | None
) -> None:
    seen = world(status, task)[1].look(run())
    assert (seen.state, seen.retryable) == (state, retryable)
    assert message in seen.message
    assert (seen.result.passed if seen.result else None) == passed


def test_asked_twice_there_is_one_and_it_is_found_again() -> None:
    fake, tekton = world(None)
    tekton.start(run(), TRAINING)
    assert len(fake.objects) == 1 and tekton.runs("line") == (run(),)
    tekton.remove(run())
    assert tekton.look(run()).state is State.LOST


def test_cancelled_by_its_spec() -> None:
    fake, tekton = world(status("Unknown", "Running"))
    tekton.cancel(run())
    assert fake.objects[f"{ROOT}/pipelineruns/{run().id}"]["spec"]["status"] == "Cancelled"
    fake, tekton = world(status("True", "Succeeded"))
    tekton.cancel(run())
    assert "status" not in fake.objects[f"{ROOT}/pipelineruns/{run().id}"]["spec"]


def test_its_log_is_that_of_its_steps_in_order() -> None:
    fake, tekton = world(status("Unknown"))
    for at, name in enumerate(("fetch", "train")):
        fake.put(
            "/api/v1/namespaces/training/pods",
            {
                "metadata": {
                    "name": name,
                    "labels": {"tekton.dev/pipelineRun": run().id},
                    "creationTimestamp": f"2026-11-22T10:0{at}:00Z",
                },
                "spec": {"containers": [{"name": "step-step"}]},
            },
        )
        fake.logs[name] = f"{name}\n"
    assert tekton.log(run()) == "fetch\ntrain\n"


def test_the_manifest_names_pipeline_image_and_run() -> None:
    value = manifest(run(parameters={"note": "$(params.run)"}), TRAINING)
    params = {each["name"]: each["value"] for each in value["spec"]["params"]}
    assert value["metadata"]["name"] == run().id and value["spec"]["pipelineRef"] == {"name": "modelpack-train"}
    assert params["image"] == "registry.example.com/train:1" and "$" not in params["run"]
    assert from_json(json.loads(params["run"])).parameters["note"] == "$(params.run)"
    assert value["spec"]["timeouts"] == {"pipeline": "60s"}


def test_what_training_yaml_asks_of_a_node_is_for_the_tasks_that_train_and_answer() -> None:
    asked = Resources({"cpu": "2"}, {"memory": "8Gi"}, {"pool": "gpu"})
    spec = manifest(run(), training("tekton", pipeline="line", resources=asked))["spec"]
    wanted = {"requests": {"cpu": "2"}, "limits": {"memory": "8Gi"}}
    assert spec["taskRunSpecs"] == [{"pipelineTaskName": each, "computeResources": wanted} for each in ASKING]
    assert spec["taskRunTemplate"]["podTemplate"]["nodeSelector"] == {"pool": "gpu"}
    assert "taskRunSpecs" not in manifest(run(), training("tekton", pipeline="line"))["spec"]


def test_the_tasks_that_ask_are_those_of_the_pipeline_that_is_there() -> None:
    pipeline = yaml.safe_load((Path(__file__).parents[3] / "manifests/tekton/pipeline.yaml").read_text())
    assert set(ASKING) <= {each["name"] for each in pipeline["spec"]["tasks"]}
