"""Blocks run one by one, each in a process of its own, come to what the notebook comes to as a whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from modelpack.notebook import document, parse
from modelpack.notebook.magics import without_magics
from modelpack.notebook.script import script
from tests.fakes.blocks import run_blocks
from tests.fakes.notebooks import WHOLE, notebook


def as_a_whole(data: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> dict[str, Any]:
    """The variables after every cell ran in one process."""
    monkeypatch.chdir(folder)
    scope: dict[str, Any] = {"__name__": "__main__"}
    for cell in document.read(data, "m.ipynb").cells:
        if "skip" not in cell.tags:
            exec(without_magics(cell, "m.ipynb").source, scope)
        if "pipeline-parameters" in cell.tags:
            scope |= parameters
    return scope


@pytest.mark.parametrize(
    ("words", "parameters"),
    [([], {}), (["n=7", "dropRate=3", "name=a=b $(c)"], {"n": 7, "dropRate": 3.0, "name": "a=b $(c)"})],
)
def test_results_are_those_of_the_whole(
    words: list[str], parameters: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run_blocks(parse(WHOLE, "m.ipynb"), tmp_path, words)
    assert found == {"answer": as_a_whole(WHOLE, tmp_path, monkeypatch, **parameters)["answer"]}


def test_a_list_that_functions_make_and_a_block_fills_reaches_the_next(tmp_path: Path) -> None:
    cells = [
        ("seen = []\ndef note(x):\n    seen.append(x)", ["functions"]),
        ("seen.append(1)", ["block:a"]),
        ("seen += [2]", ["block:b", "prev:a"]),
        ("count = len(seen) + sum(seen)", ["block:c", "prev:b"]),
        ("count", ["pipeline-metrics"]),
    ]
    assert run_blocks(parse(notebook(*cells), "m.ipynb"), tmp_path) == {"count": 5.0}


def test_what_a_block_defines_can_be_passed_to_another(tmp_path: Path) -> None:
    cells = [
        ("from __future__ import annotations\nimport dataclasses", ["imports"]),
        ("@dataclasses.dataclass\nclass Shared:\n    x: Later\nclass Later:\n    pass\n", ["functions"]),
        ("class Own:\n    y = 2\nboth = [Shared(1), Own(), lambda z: z + Own.y]", ["block:a"]),
        ("assert isinstance(both[0], Shared)\nr = both[0].x + both[1].y + both[2](3)", ["block:b", "prev:a"]),
        ("print(r)", ["pipeline-metrics"]),
    ]
    assert run_blocks(parse(notebook(*cells), "m.ipynb"), tmp_path) == {"r": 8.0}


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        ("import threading\nf = threading.Lock()", "f.acquire()", "a: f, a lock, cannot be passed to another block"),
        ("f = 'text'", "g = f", "b: g is no number, so it is no metric"),
        ("f = 1\nif f > 1:\n    g = 1", "h = g", "NameError"),
    ],
)
def test_what_cannot_be_passed_is_said(first: str, second: str, says: str, tmp_path: Path) -> None:
    metric = [("g", ["pipeline-metrics"])] if second == "g = f" else []
    cells = [(first, ["block:a"]), (second, ["block:b", "prev:a"]), *metric]
    with pytest.raises(RuntimeError, match=says):
        run_blocks(parse(notebook(*cells), "m.ipynb"), tmp_path)


@pytest.mark.parametrize(
    ("word", "says"),
    [("n=x", "n: 'x' is no number"), ("flag=7", "'7' is neither true nor false"), ("m=1", "takes no parameter 'm'")],
)
def test_a_parameter_that_is_none(word: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=says):
        run_blocks(parse(WHOLE, "m.ipynb"), tmp_path, [word])


def test_a_block_without_those_before_it_says_so(tmp_path: Path) -> None:
    pipeline = parse(WHOLE, "m.ipynb")
    with pytest.raises(RuntimeError, match="fit: block load left nothing in left/load"):
        run_blocks(type(pipeline)(**{**vars(pipeline), "blocks": pipeline.blocks[1:2]}), tmp_path)


def test_a_script_needs_no_cloudpickle_where_all_is_plain(tmp_path: Path) -> None:
    for name in ("cloudpickle", "joblib"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError")
    cells = [("x = {'a': [1.5]}", ["block:a"]), ("y = x['a'][0]", ["block:b", "prev:a"]), ("y", ["pipeline-metrics"])]
    found = run_blocks(parse(notebook(*cells), "m.ipynb"), tmp_path, environ={"PYTHONPATH": str(tmp_path)})
    assert found == {"y": 1.5}


def test_a_hostile_name_stays_in_the_docstring() -> None:
    name = 'x"""\nimport os\n"""\\.ipynb'
    pipeline = parse(notebook(("a = 1", ["block:A"])), name)
    first = script(pipeline, pipeline.blocks[0]).splitlines()[0]
    assert first.startswith('"""') and first.endswith('"""') and first.count('"""') == 2
    compile(script(pipeline, pipeline.blocks[0]), "a.py", "exec")
    assert os.sep not in pipeline.name
