"""What `modelpack init` writes: valid, consistent with the example, and never over somebody's file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from modelpack import definition
from modelpack.cli.init import init
from modelpack.errors import InputError, RefusedError, RemoteError
from modelpack.fields import read
from modelpack.gate import config
from modelpack.rehearse.workload import read_workload
from modelpack.rollout.canary import find_canary
from modelpack.scaffold import Scaffold, render, write

ROOT = Path(__file__).parents[3]
MPG = Scaffold("mpg", base="none", rehearse_command="HOST=127.0.0.1 python model-images/mpg/serve.py")


OWN = ("golden.jsonl", "gate.yaml")  # the example's own examples, and what it knows of miles per gallon


@pytest.mark.parametrize("path", [path for path in render(MPG) if not path.endswith(OWN)])
def test_the_example_is_what_init_renders(path: str) -> None:
    assert (ROOT / path).read_bytes() == render(MPG)[path]


@pytest.mark.parametrize("name", ["a", "true", "on", "x1e3", "two-words"])
def test_names_that_yaml_could_misread_stay_texts(name: str) -> None:
    files = render(Scaffold(name))
    deployment, canary = (
        yaml.safe_load(files[path]) for path in files if path.endswith(("deployment.yaml", "canary.yaml"))
    )
    target = definition.parse(files[f"model-images/{name}/model.yaml"], "model.yaml").targets[0]
    assert deployment["metadata"]["name"] == deployment["spec"]["template"]["metadata"]["labels"]["app"] == name
    assert canary["spec"]["targetRef"]["name"] == target.name == name
    assert target.file in files
    assert target.init_container in [each["name"] for each in deployment["spec"]["template"]["spec"]["initContainers"]]


def test_every_reader_of_these_files_understands_them() -> None:
    files = render(MPG)
    model = definition.parse(files["model-images/mpg/model.yaml"], "model.yaml")
    canary = find_canary(files.items(), model.targets[0])
    assert (canary.name, canary.service, canary.step_weights) == ("mpg", "mpg", (10, 25, 50))
    gate = config.parse({name: files[f"model-images/mpg/{name}"] for name in ("gate.yaml", "golden.jsonl")}, "mpg")
    assert [check.name for check in gate.checks] == ["golden", "errors", "latency"]
    template = read(files["manifests/mpg/deployment.yaml"], "deployment.yaml").mapping("spec").mapping("template")
    workload = read_workload(template, model.targets[0], model.copy)
    assert workload.image == "registry.local/models/mpg:v1"
    assert workload.probe == "/healthz"


def test_an_image_volume_takes_the_init_containers_place() -> None:
    files = render(Scaffold("tips", serve="image-volume"))
    model = definition.parse(files["model-images/tips/model.yaml"], "model.yaml")
    assert (model.base, model.targets[0].volume, model.targets[0].init_container) == ("none", "model", "")
    pod = yaml.safe_load(files["manifests/tips/deployment.yaml"])["spec"]["template"]["spec"]
    assert "initContainers" not in pod
    reference = {"reference": "registry.local/models/tips:v1", "pullPolicy": "IfNotPresent"}
    assert pod["volumes"] == [{"name": "model", "image": reference}]
    (mount,) = pod["containers"][0]["volumeMounts"]
    assert mount == {"name": "model", "mountPath": "/mnt/models", "subPath": "models", "readOnly": True}
    assert f"/{mount['subPath']}" == model.copy.source
    template = read(files["manifests/tips/deployment.yaml"], "deployment.yaml").mapping("spec").mapping("template")
    assert read_workload(template, model.targets[0], model.copy).mounted


def test_what_init_says_of_an_image_volume(tmp_path: Path) -> None:
    words = CliRunner().invoke(init, ["tips", "--serve", "image-volume", "--dir", str(tmp_path)])
    assert (words.exit_code, "Kubernetes 1.36" in words.output, "containerd 2.2" in words.output) == (0, True, True)
    assert "Kubernetes" not in CliRunner().invoke(init, ["other", "--dir", str(tmp_path)]).output


def test_the_base_is_the_users_if_told() -> None:
    assert definition.parse(render(Scaffold("m"))["model-images/m/model.yaml"], "m").base == "host-busybox"
    told = render(Scaffold("m", serve="image-volume", base="host-busybox"))
    assert definition.parse(told["model-images/m/model.yaml"], "m").base == "host-busybox"
    with pytest.raises(InputError, match="choose one of init-container, image-volume"):
        render(Scaffold("m", serve="volume"))


@pytest.mark.parametrize("name", ["", "1model", "Model", "-a", "a-", "../x", "a/b", "a\nb", "a" * 56])
def test_a_name_that_is_no_services_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is not a name"):
        render(Scaffold(name))


@pytest.mark.parametrize(
    ("scaffold", "message"),
    [
        (Scaffold("m", image="Not An Image"), "is not an image reference"),
        (Scaffold("m", image="registry.local/models/m:v1"), "the version is the tag"),
        (Scaffold("m", server="Not An Image"), "is not an image reference"),
    ],
)
def test_images_are_checked_before_anything_is_written(scaffold: Scaffold, message: str) -> None:
    with pytest.raises(InputError, match=message):
        render(scaffold)


def test_texts_from_outside_are_kept_to_the_letter() -> None:
    odd = "cd 'a b' && X=\"#1: yes\" ./run  # {{ so }}"
    files = render(Scaffold("m", source="s3://bucket/a: b #c/{version}", rehearse_command=odd))
    template = yaml.safe_load(files["manifests/m/deployment.yaml"])["spec"]["template"]
    assert template["metadata"]["annotations"]["modelpack.dev/rehearse-command"] == odd
    assert definition.parse(files["model-images/m/model.yaml"], "model.yaml").source == "s3://bucket/a: b #c/{version}"


def test_only_hooks_whose_failure_flagger_does_not_count() -> None:
    hooks = yaml.safe_load(render(MPG)["flagger/mpg/canary.yaml"])["spec"]["analysis"]["webhooks"]
    assert {hook["type"] for hook in hooks} == {
        "confirm-traffic-increase",
        "rollback",
        "confirm-promotion",
        "post-rollout",
        "event",
    }
    assert all(hook["url"].endswith(f"/flagger/{hook['type']}") for hook in hooks)


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    last = tmp_path / list(render(MPG))[-1]
    last.parent.mkdir(parents=True)
    last.write_text("mine")
    with pytest.raises(RefusedError, match="is there already"):
        write(render(MPG), tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [last]
    assert last.read_text() == "mine"


def test_a_folder_that_cannot_be_made_leaves_nothing_half_done(tmp_path: Path) -> None:
    (tmp_path / "flagger").write_text("a file where a folder is needed")
    with pytest.raises(RemoteError, match="cannot be written"):
        write(render(MPG), tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["flagger"]


def test_init_prints_what_it_wrote_and_what_comes_next(tmp_path: Path) -> None:
    words = CliRunner().invoke(init, ["mpg", "--dir", str(tmp_path / "a")])
    assert words.exit_code == 0
    assert "modelpack bump registry.local/models/mpg:v1" in words.output
    answer = json.loads(CliRunner().invoke(init, ["mpg", "--json", "--dir", str(tmp_path / "b")]).output)
    assert sorted(answer["files"]) == sorted(str(path) for path in (tmp_path / "b").rglob("*") if path.is_file())
