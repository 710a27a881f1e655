"""The scripts of a pipeline's blocks: one file of Python each, which needs nothing of modelpack."""

from __future__ import annotations

import ast
import pprint
from collections.abc import Iterable
from pathlib import Path

from modelpack.notebook.document import Cell
from modelpack.notebook.pipeline import Block, Pipeline

_RUNTIME = Path(__file__).with_name("runtime.py")


def script(pipeline: Pipeline, block: Block) -> str:
    """What a block runs: `python SCRIPT --into DIR [--from BLOCK DIR]… [--result NAME FILE]… [NAME=VALUE]…`."""
    parameters = {each.name: each.default for each in pipeline.parameters}
    cells = [*pipeline.imports, *pipeline.functions, *block.cells]
    futures = sorted({name for cell in cells for name in _futures(cell)})
    parts = [
        f'"""Block {block.name} of {_quoted(pipeline.notebook)}."""\n',
        *([f"from __future__ import {', '.join(futures)}\n"] if futures else []),
        _body(_RUNTIME.read_text()),
        f"_modelpack = _Modelpack({block.name!r}, {_literal(parameters)}, {_literal(pipeline.shared)})\n",
        "display = print\n",
        *_sections(pipeline.imports),
        "".join(f"{each}\n" for each in block.imports),
        "".join(f'{name} = _modelpack.parameters["{name}"]\n' for name in parameters),
        *_sections(pipeline.functions),
        *([f"_modelpack.load({_literal(dict(block.loads))}, globals())\n"] if block.loads else []),
        *_sections(block.cells),
        f"_modelpack.save({_literal(block.saves)}, globals())\n",
    ]
    return "\n".join(each for each in parts if each)


def _sections(cells: Iterable[Cell]) -> list[str]:
    return [f"# --- cell {cell.number}\n{_without_futures(cell)}\n" for cell in cells]


def _futures(cell: Cell) -> list[str]:
    return [alias.name for node in _future_imports(cell) for alias in node.names]


def _future_imports(cell: Cell) -> list[ast.ImportFrom]:
    body = ast.parse(cell.source).body
    return [node for node in body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]


def _without_futures(cell: Cell) -> str:
    """They stand at the top of a file, or nowhere."""
    lines = cell.source.rstrip().split("\n")
    for node in _future_imports(cell):
        for number in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[number] = "pass"
    return "\n".join(lines)


def _body(text: str) -> str:
    """A module's text without its docstring."""
    first = ast.parse(text).body[0]
    return "\n".join(text.splitlines()[first.end_lineno or 0 :]).strip() + "\n"


def _literal(value: object) -> str:
    return pprint.pformat(value, width=100, sort_dicts=False, indent=1).replace("\n", "\n    ")


def _quoted(text: str) -> str:
    return text.encode("unicode_escape").decode().replace('"', "'").replace("\\", "/")
