"""What a pod may ask of its node, as training.yaml says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.errors import InputError
from modelpack.fields import read
from modelpack.resources import Resources, amount, parse
from modelpack.training.definition import parse as parse_training
from tests.command import modelpack
from tests.fakes.notebooks import WHOLE
from tests.fakes.training import TRAINING

GPU = "{requests: {cpu: 2, memory: 4Gi}, limits: {memory: 8Gi, nvidia.com/gpu: 1, ephemeral-storage: 20Gi}}"


def asked(text: str) -> Resources:
    return parse(read(text, "training.yaml"))


def test_what_is_known_is_taken_as_it_is_written() -> None:
    found = asked(
        f"resources: {GPU}\nnodeSelector: {{example.com/pool: gpu}}\n"
        "tolerations: [{key: nvidia.com/gpu, effect: NoSchedule}, {key: a, value: b}]\n"
    )
    assert found.of_container() == {
        "requests": {"cpu": "2", "memory": "4Gi"},
        "limits": {"memory": "8Gi", "nvidia.com/gpu": "1", "ephemeral-storage": "20Gi"},
    }
    assert found.of_pod() == {
        "nodeSelector": {"example.com/pool": "gpu"},
        "tolerations": [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "a", "operator": "Equal", "value": "b"},
        ],
    }
    assert not asked("x: 1") and asked("x: 1").of_container() == asked("x: 1").of_pod() == {}


@pytest.mark.parametrize(
    ("text", "number"), [("2", 2), ("500m", 0.5), ("1.5Gi", 1.5 * 2**30), ("3k", 3000), ("2M", 2e6)]
)
def test_quantities(text: str, number: float) -> None:
    assert float(amount(text)) == number


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resources: {cpu: 2}", "resources.cpu: is not a known key"),
        ("resources: {limits: {gpu: 1}}", "resources.limits.gpu: is not a known resource; did you mean"),
        ("resources: {limits: {pods: 1}}", "known: cpu, memory, ephemeral-storage, and devices like nvidia.com/gpu"),
        ("resources: {limits: {memry: 1Gi}}", "did you mean 'memory'"),
        ("resources: {limits: {requests.kubernetes.io/x: 1}}", "is not a known resource"),
        ("resources: {limits: {memory: 8GB}}", "'8GB' is not a quantity; write it like 2, 500m or 8Gi"),
        ("resources: {limits: {memory: 500m}}", "500m is thousandths of a byte; write it like 500Mi"),
        ("resources: {limits: {cpu: 4Gi}}", "4Gi are more CPUs than any node has"),
        ("resources: {limits: {cpu: -1}}", "'-1' is not a quantity"),
        ("resources: {limits: {cpu: 0}}", "'0' is not a quantity"),
        ("resources: {limits: {nvidia.com/gpu: 0.5}}", "0.5 is not a whole number of devices"),
        ("resources: {requests: {nvidia.com/gpu: 1}}", "has to be its limit too; name it under limits alone"),
        ("resources: {requests: {cpu: 3}, limits: {cpu: 2500m}}", "requests.cpu: 3 is more than its limit, 2500m"),
        ("resources: {limits: {cpu: {a: b}}}", "limits.cpu: is not a text"),
        ("nodeSelector: {'a b': c}", "is not a node's label"),
        ("tolerations: [{key: a, operator: Exist}]", "did you mean 'Exists'"),
        ("tolerations: [{key: a, operator: Exists, value: b}]", "goes with operator: Equal alone"),
        ("tolerations: [{value: b}]", "operator: Equal needs one"),
        ("tolerations: [{key: a, tolerationSeconds: 3}]", "is not a known key"),
        (f"nodeSelector: {{{'a.' * 200}: c}}", "is not a node's label"),
    ],
)
def test_what_no_cluster_would_take_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(InputError, match="training.yaml:1: .*" + words.replace("(", r"\(")):
        asked(text)


@pytest.mark.parametrize(
    ("runs", "refused"),
    [
        ("backend: job, image: i, ", ""),
        ("backend: tekton, pipeline: p, ", ""),
        ("", "backend is local"),
        ("backend: remote, url: 'https://x', ", "backend is remote"),
        ("backend: kfp, url: 'https://x', pipeline: p, ", "backend is kfp"),
    ],
)
def test_they_are_for_backends_that_have_pods(runs: str, refused: str) -> None:
    text = TRAINING.replace("{timeout: 60s}", f"{{{runs}resources: {GPU}}}")
    if refused:
        with pytest.raises(InputError, match=f"resources: of a pod are for job and tekton, and {refused}"):
            parse_training(text.encode(), "training.yaml")
    else:
        assert parse_training(text.encode(), "training.yaml").runs.resources.limits["nvidia.com/gpu"] == "1"


def test_compile_takes_them_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "n.ipynb").write_bytes(WHOLE)
    (tmp_path / "gpu.yaml").write_text(f"resources: {GPU}\n")
    words = ("compile", "n.ipynb", "--image", "i", "--resources", "gpu.yaml", "--to")
    assert "nvidia.com/gpu" in modelpack(*words, "job", cwd=tmp_path).out
    assert modelpack(*words, "kfp", cwd=tmp_path).sentence.startswith("--resources: are for job and tekton")
    (tmp_path / "gpu.yaml").write_text("resource: {}\n")
    assert "gpu.yaml:1: resource: is not a known key" in modelpack(*words, "job", cwd=tmp_path).sentence
