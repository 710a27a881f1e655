"""A pipeline for Kubeflow Pipelines: its intermediate representation, as the kfp SDK compiles it."""

from __future__ import annotations

import base64
import inspect
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from modelpack.errors import InputError
from modelpack.notebook.objects import Place, dump, settings
from modelpack.notebook.pipeline import Block, Pipeline, label
from modelpack.notebook.script import script

_LONGEST = 100_000  # bytes; Linux takes 128 KiB in one word of a command
_REPLACED = ("{{$", "$(", "$$")  # what Kubeflow or Kubernetes would put something else for


def to_kfp(pipeline: Pipeline, place: Place) -> bytes:
    """The compiled pipeline, YAML: a component for each block, whose variables travel as an artifact, a folder.

    Raises InputError where kfp is not installed, or where `place` asks for what is set in Kubeflow itself.
    """
    if place.secret or place.namespace:
        raise InputError("kfp", "takes neither a namespace nor a secret", "Kubeflow sets them where the pipeline runs")
    try:
        from kfp import compiler, dsl
    except ImportError as error:
        raise InputError("kfp", "is not installed", "install modelpack-delivery[kfp]") from error
    values = settings(pipeline, place.parameters)
    for name in values:
        if name == "variables" or name.startswith(("from_", "result_")):
            raise InputError(
                pipeline.notebook, f"parameter {name} has a name that Kubeflow's artifacts have", "rename it"
            )
    components = {block.name: _component(pipeline, block, place.image) for block in pipeline.blocks}

    def build(*arguments: Any) -> None:
        given = dict(zip(values, arguments, strict=True))
        tasks: dict[str, Any] = {}
        for block in pipeline.blocks:
            sources = {
                f"from_{_word(each)}": tasks[each].outputs["variables"] for each in sorted(set(block.loads.values()))
            }
            task = components[block.name](**given, **sources)
            task.after(*(tasks[each] for each in block.after))
            task.set_caching_options(False)
            tasks[block.name] = task

    signed = _signed(build, _word(pipeline.name), {name: type(value) for name, value in values.items()}, values)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "pipeline.yaml"
        compiler.Compiler().compile(dsl.pipeline(name=pipeline.name)(signed), str(path))
        return dump(*yaml.safe_load_all(path.read_bytes()))


def _component(pipeline: Pipeline, block: Block, image: str) -> Any:
    from kfp import dsl

    code = _code(pipeline, block)
    sources = {f"from_{_word(each)}": each for each in sorted(set(block.loads.values()))}

    def build(*arguments: Any) -> Any:
        given = dict(zip(kinds, arguments, strict=True))
        words = ["--into", given["variables"].path]
        for word, each in sources.items():
            words += ["--from", each, given[word].path]
        for name in block.results:
            words += ["--result", name, given[f"result_{name}"]]
        words += ["--", *(f"{each.name}={given[each.name]}" for each in pipeline.parameters)]
        return dsl.ContainerSpec(image=image, command=["python3", "-u", "-c", code], args=words)

    kinds: dict[str, Any] = {
        **{each.name: type(each.default) for each in pipeline.parameters},
        **dict.fromkeys(sources, dsl.Input[dsl.Artifact]),
        "variables": dsl.Output[dsl.Artifact],
        **{f"result_{name}": dsl.OutputPath(float) for name in block.results},
    }
    return dsl.container_component(_signed(build, _word(block.name), kinds, {}))


def _signed(function: Callable[..., Any], name: str, kinds: Mapping[str, Any], defaults: Mapping[str, Any]) -> Any:
    """A function as kfp reads it: its name, and its parameters with their types."""
    function.__name__ = name
    empty = inspect.Parameter.empty
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                each, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=defaults.get(each, empty), annotation=kind
            )
            for each, kind in kinds.items()
        ]
    )
    return function


def _code(pipeline: Pipeline, block: Block) -> str:
    """A script as one word of a command: as it is, or packed where it is too long or something would be replaced."""
    code = script(pipeline, block)
    if len(code.encode()) <= _LONGEST and not any(each in code for each in _REPLACED):
        return code
    packed = base64.b64encode(zlib.compress(code.encode(), 9)).decode()
    if len(packed) > _LONGEST:
        remedy = "move code into a module in the image"
        raise InputError(pipeline.notebook, f"block {block.name!r} is too long for a command", remedy)
    return f"import base64, zlib\nexec(compile(zlib.decompress(base64.b64decode('{packed}')), 'block', 'exec'))\n"


def _word(name: str) -> str:
    return label(name).replace("-", "_")
