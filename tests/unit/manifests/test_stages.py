"""The example's two environments: what model.yaml is told of them, and what its overlays are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from modelpack.definition import Definition, parse
from modelpack.gitops.place import Place, place_of
from modelpack.yamledit import edit, find

ROOT = Path(__file__).parents[3]
OVERLAYS = ROOT / "manifests" / "overlays"
NAMES = ("staging", "production")


def definition(environments: str) -> Definition:
    """The example's model.yaml with environments in the place of its targets."""
    model = (ROOT / "model-images" / "mpg" / "model.yaml").read_text()
    return parse((model.partition("targets:")[0] + environments).encode(), "model.yaml")


def read(path: str) -> bytes | None:
    return (ROOT / path).read_bytes() if (ROOT / path).exists() else None


def test_each_environment_is_an_overlay_of_its_own_namespace() -> None:
    known = definition((OVERLAYS / "environments.yaml").read_text())
    assert tuple(each.name for each in known.environments) == NAMES
    assert known.environments[0].gate
    for each in known.environments:
        (target,) = each.targets
        assert place_of(read, target) == Place(each.name)
        data = read(target.file) or b""
        assert find(data, target.file, target).value == f"{known.image.name}:v1"
        assert edit(data, target.file, target, f"{known.image.name}:v2@sha256:{'1' * 64}") != data


def test_the_gate_may_ask_the_golden_set_in_both() -> None:
    policies = yaml.safe_load_all((ROOT / "manifests" / "gate" / "network.yaml").read_text())
    assert any("[default, staging, production]" in str(each).replace("'", "") for each in policies)


@pytest.mark.parametrize("name", NAMES)
def test_a_namespace_outlives_one_models_overlay(name: str) -> None:
    namespace = yaml.safe_load((OVERLAYS / name / "namespace.yaml").read_text())["metadata"]
    assert namespace["name"] == name
    assert namespace["annotations"] == {"kustomize.toolkit.fluxcd.io/prune": "disabled"}
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_two_do_not_answer_for_one_host() -> None:
    hosts = [
        re.findall(r"value: (\S+\.example\.com)", (OVERLAYS / name / "kustomization.yaml").read_text())
        for name in NAMES
    ]
    assert hosts == [["mpg.staging.example.com"], []]  # production has the base's


def test_the_documented_second_repository_is_one_that_can_be_read() -> None:
    (text,) = re.findall(r"```yaml\n(environments:.*?)```", (ROOT / "manifests" / "README.md").read_text(), re.DOTALL)
    staging, production = definition(text).environments
    assert (staging.name, bool(staging.targets), staging.repository) == ("staging", True, "")
    assert (production.name, production.targets, bool(production.repository)) == ("production", (), True)
