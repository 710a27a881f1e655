"""manifests/tekton before the real Tekton's webhook. What its controller makes of them: test_loop.py."""

from __future__ import annotations

import subprocess

import pytest

from tests.cluster import images
from tests.cluster.environment import Environment
from tests.cluster.training import MANIFESTS, NAMESPACE

pytestmark = pytest.mark.xdist_group("cluster")


@pytest.fixture(name="environment", scope="module")
def _environment(training_cluster: Environment) -> Environment:
    return training_cluster


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("pipeline.yaml", "$(params.run)", "$(params.rum)", "non-existent variable"),
        ("pipeline.yaml", "tasks.package.results.result", "tasks.packages.results.result", "invalid value"),
        ("pipeline.yaml", "runAfter: [train]", "runAfter: [trained]", "trained wasn't present in Pipeline"),
        ("step.yaml", "$(params.step)", "$(params.stop)", "non-existent variable"),
        ("step.yaml", "computeResources:", "resource:", "unknown field"),
    ],
)
def test_the_webhook_refuses_a_mistake_in_them(
    environment: Environment, file: str, old: str, new: str, problem: str
) -> None:
    text = (MANIFESTS / file).read_text()
    assert old in text
    with pytest.raises(subprocess.CalledProcessError) as refused:
        environment.kubectl("replace", "--dry-run=server", "-f", "-", stdin=text.replace(old, new))
    assert problem in refused.value.stderr


def test_the_training_image_is_the_one_of_the_versions(environment: Environment) -> None:
    pipeline = environment.get("pipelines", NAMESPACE, "modelpack-train")
    defaults = {each["name"]: each.get("default", "") for each in pipeline["spec"]["params"]}
    assert defaults["image"] == f"registry.example.com/{images.versions()['train']}"


def test_a_run_may_ask_the_api_server_for_nothing(environment: Environment) -> None:
    who = f"--as=system:serviceaccount:{NAMESPACE}:modelpack-train"
    for verb, what in (("get", "secrets"), ("list", "pods"), ("create", "pods"), ("create", "pipelineruns.tekton.dev")):
        with pytest.raises(subprocess.CalledProcessError):
            environment.kubectl("auth", "can-i", verb, what, who, f"--namespace={NAMESPACE}")
