"""A pod template becomes a command with paths and ports of this machine, or is refused with its line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modelpack.definition import Copy
from modelpack.errors import InputError
from modelpack.fields import read
from modelpack.rehearse.workload import Workload, launch, read_workload
from modelpack.target import Target

TEMPLATE = """\
metadata: {labels: {app: mpg}}
spec:
  initContainers:
  - name: model
    image: registry.local/models/mpg:v1
    volumeMounts: [{name: model, mountPath: /mnt}]
  containers:
  - name: sidecar
    image: other
  - name: server
    image: server
    command: [python, -m, serve]
    args: ["--dir=/srv/model/x", "--cache", "/tmp/cache", "--port=$(PORT)", "$$HOME", "$(NOBODY)", "/srv/models"]
    env:
    - {name: MODEL_DIR, value: /srv/model}
    - {name: PORT, value: "8080"}
    - {name: FROM, value: "file:///srv/model/$(PORT)/"}
    - {name: BOTH, value: "$(FROM)a"}
    readinessProbe: {httpGet: {path: ready, port: http}}
    volumeMounts:
    - {name: model, mountPath: /srv/model, subPath: models, readOnly: true}
    - {name: cache, mountPath: /tmp/cache}
  volumes:
  - {name: model, emptyDir: {}}
  - {name: cache, emptyDir: {}}
"""
IMAGE_VOLUME = """\
spec:
  containers:
  - name: server
    command: [serve, /srv/model, /whole/models/x]
    volumeMounts:
    - {name: model, mountPath: /srv/model, subPath: models, readOnly: true}
    - {name: model, mountPath: /whole}
  volumes:
  - {name: model, image: {reference: "registry.local/models/mpg:v1", pullPolicy: IfNotPresent}}
"""
VOLUMES = Path("/v")
INIT_CONTAINER = Target("deployment.yaml", "Deployment", "mpg", "model")
VOLUME = Target("deployment.yaml", "Deployment", "mpg", volume="model")


def workload(text: str = TEMPLATE, target: Target = INIT_CONTAINER) -> Workload:
    return read_workload(read(text, "deployment.yaml"), target, Copy())


def test_paths_variables_and_port_are_this_machines() -> None:
    how = launch(workload(), VOLUMES, 4711)
    assert how.words == (
        *(sys.executable, "-m", "serve", "--dir=/v/model/models/x", "--cache", "/v/cache", "--port=4711"),
        *("$HOME", "$(NOBODY)", "/srv/models"),
    )
    assert how.environ["MODEL_DIR"] == "/v/model/models"
    assert (how.environ["PORT"], how.environ["BOTH"]) == ("4711", "file:///v/model/models/4711/a")
    assert workload().probe == "/ready"
    assert workload().destination(VOLUMES) == Path("/v/model/models")


def test_a_server_tells_its_predictions_to_the_rehearsals_gate_and_never_to_the_clusters() -> None:
    told = workload(TEMPLATE.replace("name: BOTH,", "name: MODEL_FEEDBACK,"))
    assert launch(told, VOLUMES, 1, "http://127.0.0.1:8").environ["MODEL_FEEDBACK"] == "http://127.0.0.1:8"
    assert launch(told, VOLUMES, 1).environ["MODEL_FEEDBACK"] == ""


def test_an_image_volume_is_the_folder_of_the_whole_image() -> None:
    found = workload(IMAGE_VOLUME, VOLUME)
    assert (found.image, found.mounted) == ("registry.local/models/mpg:v1", True)
    how = launch(found, VOLUMES, 1)
    assert how.words == ("serve", "/v/model/models", "/v/model/models/x")
    assert how.environ["MODEL_DIR"] == "/v/model/models"


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ('{name: model, image: {reference: "registry.local/models/mpg:v1", pullPolicy: IfNotPresent}}', "{name: other, emptyDir: {}}", 8, "has no volume 'model'"),  # noqa: E501
        ('image: {reference: "registry.local/models/mpg:v1", pullPolicy: IfNotPresent}', "emptyDir: {}", 9, "is no image volume"),  # noqa: E501
        ('reference: "registry.local/models/mpg:v1", ', "", 9, "is missing"),
        ("  containers:", "  initContainers: [{name: model}]\n  containers:", 2, "another init container"),
    ],
)  # fmt: skip
def test_an_image_volume_that_is_none_is_refused_with_its_line(old: str, new: str, line: int, problem: str) -> None:
    assert old in IMAGE_VOLUME
    with pytest.raises(InputError) as caught:
        workload(IMAGE_VOLUME.replace(old, new), VOLUME)
    assert problem in str(caught.value)
    assert caught.value.subject == f"deployment.yaml:{line}"


def test_the_annotation_takes_the_containers_place() -> None:
    annotated = TEMPLATE.replace(
        "metadata: {labels: {app: mpg}}",
        "metadata: {annotations: {modelpack.dev/rehearse-command: exec serve /srv/model}}",
    ).replace("    command: [python, -m, serve]\n", "")
    how = launch(workload(annotated), VOLUMES, 1)
    assert how.words == ("sh", "-c", "exec serve /v/model/models")
    assert how.environ["MODEL_DIR"] == "/v/model/models"


def test_values_from_the_cluster_are_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = workload(TEMPLATE.replace('value: "8080"', "valueFrom: {secretKeyRef: {}}").replace("PORT, v", "TOKEN, v"))
    with pytest.raises(InputError, match="set TOKEN in the environment"):
        launch(secret, VOLUMES, 1)
    monkeypatch.setenv("TOKEN", "s3cret")
    assert launch(secret, VOLUMES, 1).environ["TOKEN"] == "s3cret"


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("  - name: model\n", "  - name: other\n", 3, "has no container 'model'"),
        ("  containers:", "  - {name: setup}\n  containers:", 7, "another init container"),
        ("mountPath: /mnt}", "mountPath: /data}", 6, "has none at /mnt/models"),
        ("    - {name: model, mountPath: /srv/model, subPath: models, readOnly: true}\n", "", 7, "no container mounts"),
        ("    image: other", "    volumeMounts: [{name: model, mountPath: /m}]", 7, "several containers mount"),
        ("    command: [python, -m, serve]\n", "", 10, "rehearse-command"),
        ("{name: cache, emptyDir: {}}", "{name: cache, configMap: {name: c}}", 25, "is no emptyDir"),
        ("    args:", "    envFrom: []\n    args:", 13, "not read by a rehearsal"),
        ("path: ready", "scheme: HTTPS", 19, "must be HTTP"),
    ],
)
def test_what_cannot_run_here_is_refused_with_its_line(old: str, new: str, line: int, problem: str) -> None:
    assert old in TEMPLATE
    with pytest.raises(InputError) as caught:
        workload(TEMPLATE.replace(old, new))
    assert problem in str(caught.value)
    assert caught.value.subject == f"deployment.yaml:{line}"
