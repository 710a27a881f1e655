"""The compiled objects: whole, the same each time, and with a notebook's text nowhere where it would be replaced."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from modelpack import notebook as room
from modelpack.cli.notebook import compile_
from modelpack.errors import InputError
from modelpack.notebook import Place, parse
from modelpack.resources import Resources
from tests.fakes.blocks import run
from tests.fakes.notebooks import WHOLE, notebook

PLACE = Place("registry.example.com/train:1")
PIPELINE = parse(WHOLE, "train.ipynb")


def objects(data: bytes) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(data))


def test_a_job_has_a_container_for_each_block_in_order() -> None:
    scripts, job = objects(room.to_job(PIPELINE, PLACE))
    spec = job["spec"]["template"]["spec"]
    assert [each["name"] for each in spec["initContainers"]] == ["load", "fit", "stats"]
    assert [each["name"] for each in spec["containers"]] == ["join"]
    assert set(scripts["data"]) == {"load.py", "fit.py", "stats.py", "join.py"}
    assert scripts["metadata"]["name"] == job["metadata"]["name"] == spec["volumes"][1]["configMap"]["name"]
    # Kubernetes would put an environment variable's value into $(x)
    assert 'name=it"s $$(x) $$$$' in spec["containers"][0]["args"]


def test_the_jobs_own_words_run_its_own_scripts(tmp_path: Path) -> None:
    place = Place("image", parameters={"name": "it's $(HOME) $$", "n": 9})
    scripts, job = objects(room.to_job(PIPELINE, place))
    spec = job["spec"]["template"]["spec"]
    for container in [*spec["initContainers"], *spec["containers"]]:
        python, flag, path = container["command"]
        (tmp_path / Path(path).name).write_text(scripts["data"][Path(path).name])
        words = [each.replace("/modelpack/run", str(tmp_path)).replace("$$", "$") for each in container["args"]]
        assert (python, flag) == ("python3", "-u")
        run([sys.executable, flag, Path(path).name, *words], tmp_path)


def test_tekton_has_a_task_for_each_block_with_results() -> None:
    scripts, pipeline, wanted = objects(room.to_tekton(PIPELINE, Place("i", "training", "s3", 90, "2Gi", {"n": 8})))
    tasks = {each["name"]: each for each in pipeline["spec"]["tasks"]}
    assert {name: each.get("runAfter", []) for name, each in tasks.items()} == {
        "load": [], "fit": ["load"], "stats": ["load"], "join": ["load", "fit", "stats"],
    }  # fmt: skip
    step = tasks["join"]["taskSpec"]["steps"][0]
    assert step["args"][-5:] == ["--", *(f"{each}=$(params.{each})" for each in ("dropRate", "n", "name", "flag"))]
    assert pipeline["spec"]["results"] == [{"name": "answer", "value": "$(tasks.join.results.answer)"}]
    assert step["envFrom"] == [{"secretRef": {"name": "s3"}}]
    assert "script" not in step and "seen.append" not in yaml.safe_dump(pipeline)
    assert {each["name"]: each["value"] for each in wanted["spec"]["params"]} == {
        "dropRate": "0.5", "n": "8", "name": 'it"s $$(x) $$$$', "flag": "false",
    }  # fmt: skip
    assert wanted["spec"]["timeouts"] == {"pipeline": "90s"} and wanted["metadata"]["namespace"] == "training"
    assert scripts["immutable"] is True


@pytest.mark.parametrize("make", [room.to_job, room.to_tekton, room.to_kfp])
def test_the_same_gives_the_same_bytes_and_something_else_another_name(make: Any) -> None:
    first = make(PIPELINE, PLACE)
    assert first == make(parse(WHOLE, "train.ipynb"), PLACE)
    assert first != make(PIPELINE, Place("registry.example.com/train:2"))
    if make is not room.to_kfp:
        names = {objects(make(PIPELINE, Place("i", timeout=each)))[0]["metadata"]["name"] for each in (60, 61)}
        assert len(names) == 2


def test_kubeflows_own_loader_reads_it_and_its_words_run(tmp_path: Path) -> None:
    from kfp import components
    from kfp.pipeline_spec import pipeline_spec_pb2

    found = components.load_component_from_text(room.to_kfp(PIPELINE, PLACE).decode())
    spec: pipeline_spec_pb2.PipelineSpec = found.pipeline_spec
    tasks = spec.root.dag.tasks
    assert {name: sorted(task.dependent_tasks) for name, task in tasks.items()} == {
        "load": [], "fit": ["load"], "stats": ["load"], "join": ["fit", "load", "stats"],
    }  # fmt: skip
    inputs = {"dropRate": "0.5", "n": "5", "name": "five", "flag": "false"}
    executors = spec.deployment_spec["executors"]
    for name in ("load", "fit", "stats", "join"):
        container = executors[f"exec-{name}"]["container"]
        words = [filled(str(each), inputs, tmp_path, name) for each in [*container["command"], *container["args"]]]
        run([sys.executable, *words[1:]], tmp_path)
    assert float((tmp_path / "join-result_answer").read_text()) > 0


def filled(word: str, inputs: dict[str, str], folder: Path, block: str) -> str:
    """A word with its placeholders filled in, as Kubeflow's launcher does."""
    for name, value in inputs.items():
        word = word.replace(f"{{{{$.inputs.parameters['{name}']}}}}", value)
    for name in ("load", "fit", "stats"):
        word = word.replace(f"{{{{$.inputs.artifacts['from_{name}'].path}}}}", str(folder / f"{name}-variables"))
    word = word.replace("{{$.outputs.artifacts['variables'].path}}", str(folder / f"{block}-variables"))
    word = word.replace("{{$.outputs.parameters['result_answer'].output_file}}", str(folder / f"{block}-result_answer"))
    assert "{{$" not in word
    return word


@pytest.mark.parametrize("text", ["{{$.inputs}}", "$(HOME)", "$$x$$", "long " * 30_000])
def test_what_kubeflow_would_replace_or_cut_is_packed(text: str, tmp_path: Path) -> None:
    from kfp import components

    pipeline = parse(notebook((f"open('out', 'w').write('{text}')", ["block:a"])), "m.ipynb")
    spec = components.load_component_from_text(room.to_kfp(pipeline, PLACE).decode()).pipeline_spec
    code = str(spec.deployment_spec["executors"]["exec-a"]["container"]["command"][3])
    assert text not in code and len(code) < 128 * 1024
    run([sys.executable, "-c", code], tmp_path)
    assert (tmp_path / "out").read_text() == text


@pytest.mark.parametrize(
    ("make", "place", "says"),
    [
        (room.to_job, Place("i", parameters={"N": 1}), "has no parameter 'N'"),
        (room.to_job, Place("i", parameters={"n": "x"}), "parameter n is 'x', its default 5"),
        (room.to_tekton, Place("i", parameters={"flag": 1}), "parameter flag is 1"),
        (room.to_kfp, Place("i", "namespace"), "takes neither a namespace nor a secret"),
    ],
)
def test_what_no_run_can_have(make: Any, place: Place, says: str) -> None:
    with pytest.raises(InputError, match=says):
        make(PIPELINE, place)


@pytest.mark.parametrize("make", [room.to_job, room.to_tekton, room.to_kfp])
def test_names_that_gos_yaml_takes_for_truths_are_quoted(make: Any) -> None:
    cells = [("n = 'y'\nno = '1_0'", ["pipeline-parameters"]), ("x = n + no", ["block:on"])]
    plain = [line for line in make(parse(notebook(*cells), "m.ipynb"), PLACE).decode().splitlines() if "|" not in line]
    unquoted = re.compile(r"^(\s|- )*(y|n|no|on|1_0):|:\s+(y|n|no|on|1_0)$|- (y|n|no|on|1_0)$")
    assert not [line for line in plain if unquoted.search(line)]


def test_too_much_code_is_refused() -> None:
    import random

    noise = random.Random(1).randbytes(600_000).hex()
    pipeline = parse(notebook((f"x = '{noise}'", ["block:a"])), "m.ipynb")
    for make in (room.to_job, room.to_tekton):
        with pytest.raises(InputError, match="a ConfigMap holds 1 MiB"):
            make(pipeline, PLACE)
    with pytest.raises(InputError, match="too long for a command"):
        room.to_kfp(pipeline, PLACE)


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "train.ipynb"
    path.write_bytes(WHOLE)
    words = [str(path), "--to", "tekton", "--image", "i", "-p", "n=8", "-p", "name=8", "-p", "flag=true"]
    printed = CliRunner().invoke(compile_, words)
    assert printed.exit_code == 0, printed.output
    values = {each["name"]: each["value"] for each in objects(printed.stdout_bytes)[2]["spec"]["params"]}
    assert values == {"dropRate": "0.5", "n": "8", "name": "8", "flag": "true"}
    CliRunner().invoke(compile_, [*words, "-o", str(tmp_path / "out.yaml")], catch_exceptions=False)
    assert (tmp_path / "out.yaml").read_bytes() == printed.stdout_bytes


def test_compiling_imports_no_heavy_library() -> None:
    code = (
        "import sys; from modelpack import notebook; notebook.to_job; "
        "print([each for each in ('kfp', 'papermill', 'nbformat', 'nbconvert', 'kubernetes') if each in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("make", [room.to_job, room.to_tekton])
def test_what_a_block_asks_of_its_node(make: Callable[..., bytes]) -> None:
    asked = Resources({"cpu": "2"}, {"nvidia.com/gpu": "1"}, {"pool": "gpu"}, ({"operator": "Exists"},))
    *_, last = found = objects(make(PIPELINE, Place("i", resources=asked)))
    spec = last["spec"]
    if make is room.to_job:
        pod = spec["template"]["spec"]
        told = [each["resources"] for each in (*pod["initContainers"], *pod["containers"])]
    else:
        pod = spec["taskRunTemplate"]["podTemplate"]
        told = [each["taskSpec"]["steps"][0]["computeResources"] for each in found[1]["spec"]["tasks"]]
    assert told == [{"requests": {"cpu": "2"}, "limits": {"nvidia.com/gpu": "1"}}] * len(told) and told
    assert pod["nodeSelector"] == {"pool": "gpu"} and pod["tolerations"] == [{"operator": "Exists"}]
    *_, plain = objects(make(PIPELINE, Place("i")))
    assert plain["metadata"]["name"] != last["metadata"]["name"]
