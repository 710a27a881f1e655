"""An environment that is a Kustomize overlay: what builds it, and what a rehearsal reads in what was built."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.errors import InputError, NotFoundError
from modelpack.reference import Reference
from modelpack.rehearse.overlay import build, gate_files, model_in
from modelpack.rehearse.plan import Plan, read_plan
from modelpack.target import Target
from tests.fakes import serving

IMAGE = Reference.parse(serving.IMAGE)
OVERLAY = "overlays/staging/kustomization.yaml"
ENVIRONMENTS = f"""\
environments:
- {{name: staging, targets: [{{file: {OVERLAY}, images: {serving.IMAGE}}}]}}
- {{name: production, targets: [{{file: deployment.yaml, name: mpg, initContainer: model}}]}}
"""
MODEL = serving.MODEL.partition("targets:")[0] + ENVIRONMENTS
STAGED = "\n---\n".join(
    text.replace("namespace: default", "namespace: staging")
    for text in (serving.DEPLOYMENT % f"{serving.IMAGE}:v2", serving.canary())
)
TWO = STAGED + "\n---\n" + STAGED.replace("{name: mpg", "{name: bulk")
GATE_MAP = """
---
kind: ConfigMap
metadata: {name: gate-mpg, namespace: staging}
data: {gate.yaml: "built: here", golden.jsonl: ""}
"""


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def export(folder: Path) -> None:
    (folder / "overlays").mkdir()
    (folder / "overlays" / "said").write_text("built\n")


@pytest.mark.parametrize(
    ("programs", "said"),
    [
        ({"kustomize": 'echo "kustomize $1"; cat "$2/said"', "kubectl": "exit 1"}, b"kustomize build\nbuilt\n"),
        ({"kubectl": 'echo "kubectl $1"; cat "$2/said"'}, b"kubectl kustomize\nbuilt\n"),
    ],
)
def test_kustomize_builds_it_or_else_kubectl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: dict[str, str], said: bytes
) -> None:
    for name, script in programs.items():
        program(tmp_path, name, script)
    program(tmp_path, "cat", 'while read -r line; do echo "$line"; done <"$1"')
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build("overlays", export) == said


def test_without_either_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"overlays: is an overlay, and neither .* on PATH .*; install one: https"):
        build("overlays", export)


def test_an_overlay_that_does_not_build_is_told_in_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "kubectl", 'echo "error: no resource in $2/x.yaml" >&2; exit 1')
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError) as caught:
        build("overlays", export)
    assert str(caught.value) == (
        "overlays: kubectl cannot build it: error: no resource in overlays/x.yaml; try kubectl kustomize overlays"
    )


@pytest.mark.parametrize(
    ("text", "wanted", "target"),
    [
        (STAGED, "", Target("built", "Deployment", "mpg", "model", "staging")),
        (
            TWO,
            "bulk",
            Target("built", "Deployment", "bulk", "model", "staging"),
        ),
        (serving.MOUNTED % f"{serving.IMAGE}:v2", "", Target("built", "Deployment", "mpg", "", "default", "model")),
    ],
)
def test_the_model_is_found_by_its_image(text: str, wanted: str, target: Target) -> None:
    assert model_in(text.encode(), "built", IMAGE, wanted) == target


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (STAGED.replace(serving.IMAGE, "elsewhere.local/mpg"), "builds no Deployment with it; model.yaml's image"),
        (
            TWO,
            "several .* with it: staging/mpg and staging/bulk",
        ),
    ],
)
def test_none_and_several_are_errors(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        model_in(text.encode(), "built", IMAGE)


def test_the_gates_files_are_those_beside_the_canary() -> None:
    assert gate_files(GATE_MAP.encode(), "built", "mpg", "staging") == {
        "gate.yaml": b"built: here",
        "golden.jsonl": b"",
    }
    assert gate_files(GATE_MAP.encode(), "built", "mpg", "production") == {}
    assert gate_files(GATE_MAP.encode(), "built", "other", "staging") == {}


# -- the plan


def plan(environment: str = "", model: str = MODEL, built: str = STAGED + GATE_MAP) -> Plan:
    tip = {**serving.files("v1", model=model), OVERLAY: b"namespace: staging\n"}
    asked: list[str] = []

    def made(folder: str) -> bytes:
        asked.append(folder)
        return built.encode()

    found = read_plan(tuple(tip), tip.get, None, environment, made)
    assert asked == ["overlays/staging"] * (found.environment == "staging")
    return found


@pytest.mark.parametrize("environment", ["", "staging"])
def test_an_overlay_is_read_as_it_is_built_and_the_first_is_the_default(environment: str) -> None:
    found = plan(environment)
    assert (found.environment, str(found.image), found.canary.namespace) == (
        "staging",
        f"{serving.IMAGE}:v2",
        "staging",
    )
    assert (found.gate, found.golden, found.folder) == (b"built: here", b"", "model-images/mpg")
    assert found.target == Target(f"{OVERLAY} (built)", "Deployment", "mpg", "model", "staging")


def test_an_environment_without_an_overlay_is_read_as_it_stands() -> None:
    found = plan("production")
    assert (str(found.image), found.canary.namespace) == (f"{serving.IMAGE}:v1", "default")
    assert found.gate == serving.GATE.encode()


def test_its_files_are_the_models_where_the_overlay_has_no_configuration() -> None:
    assert plan("staging", built=STAGED).gate == serving.GATE.encode()


def test_what_is_wrong_in_an_overlay_is_named() -> None:
    with pytest.raises(InputError, match=rf"{OVERLAY} \(built\):\d+: spec\.analysis\.metrics"):
        plan("staging", built=STAGED.replace("threshold: 2", "threshold: 2\n    metrics: [{name: x}]"))


def test_without_environments_it_is_not_built() -> None:
    assert plan(model=serving.MODEL).environment == ""
    with pytest.raises(NotFoundError, match="names no environments"):
        plan("staging", model=serving.MODEL)


def test_a_target_that_no_rehearsal_runs_is_refused() -> None:
    model = MODEL.replace(f"images: {serving.IMAGE}", "marker: flux-system:mpg").replace(OVERLAY, "deployment.yaml")
    with pytest.raises(InputError, match=r"deployment\.yaml: a rehearsal runs the init container or image volume"):
        plan("", model=model)
