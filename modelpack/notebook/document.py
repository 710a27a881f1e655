"""An .ipynb as values. It may come from anybody: its size and depth are bounded, and nothing of it is run."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelpack.errors import InputError, NotFoundError
from modelpack.fields import nearest

LARGEST = 64 * 1024 * 1024  # bytes
_DEEPEST = 100  # levels; whatever walks a notebook recurses
PARAMETERS = ("parameters", "pipeline-parameters")  # papermill's tag, and Kale's


@dataclass(frozen=True)
class Cell:
    """A code cell. `number` counts all cells, from 1, as people count them on the page."""

    number: int
    source: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Document:
    """A notebook in Python: its code cells, and the whole of it as JSON."""

    name: str
    cells: tuple[Cell, ...]
    json: dict[str, Any]


def load(path: Path) -> Document:
    """Read a notebook's file. Raises NotFoundError, or InputError for what is no notebook in Python."""
    return read(load_bytes(path), path.name)


def load_bytes(path: Path) -> bytes:
    """A file's bytes, one more than a notebook may have at most. Raises NotFoundError or InputError."""
    try:
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except FileNotFoundError as error:
        raise NotFoundError(path, "there is no such notebook") from error
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}") from error


def read(data: bytes, name: str) -> Document:
    """A notebook from its bytes; `name` is what messages call it. Raises InputError."""
    if len(data) > LARGEST:
        remedy = "clear its outputs: jupyter nbconvert --clear-output --inplace"
        raise InputError(name, f"is larger than {LARGEST >> 20} MiB", remedy)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        where = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{name}{where}", "is not JSON, so it is no notebook") from error
    if _depth(value) > _DEEPEST:
        raise InputError(name, f"is nested more than {_DEEPEST} levels deep")
    if not isinstance(value, dict) or not isinstance(value.get("nbformat"), int):
        raise InputError(name, "is no notebook: it does not say its nbformat")
    if value["nbformat"] != 4 or not isinstance(value.get("cells"), list):
        remedy = "bring it to format 4: jupyter nbconvert --to notebook --inplace"
        raise InputError(name, f"is of nbformat {value['nbformat']}, or has no cells", remedy)
    _check_language(value, name)
    cells = [_cell(each, number, name) for number, each in enumerate(value["cells"], 1)]
    return Document(name, tuple(each for each in cells if each), value)


def node(value: dict[str, Any], name: str) -> Any:
    """A notebook's JSON as nbformat's own object. Raises InputError for what its schema does not allow."""
    import nbformat

    v4: Any = nbformat.v4  # untyped
    try:
        found = v4.upgrade(v4.reads_json(json.dumps(value)))
        nbformat.validate(found)
    except nbformat.ValidationError as error:
        where = "/".join(map(str, error.absolute_path))
        raise InputError(name, f"is no valid notebook: {where}: {error.message[:200]}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(name, "is no valid notebook") from error
    return found


def parameters(document: Document) -> dict[str, Any]:
    """The names that a notebook's parameters cells assign, with their defaults (None where that is no literal)."""
    found: dict[str, Any] = {}
    for cell in document.cells:
        if not any(tag in PARAMETERS for tag in cell.tags):
            continue
        for statement in parse(cell, document.name).body:
            if isinstance(statement, ast.Assign):
                targets, value = statement.targets, statement.value
            elif isinstance(statement, ast.AnnAssign) and statement.value:
                targets, value = [statement.target], statement.value
            else:
                continue
            found |= {each.id: literal(value) for each in targets if isinstance(each, ast.Name)}
    return found


def check_parameters(document: Document, given: Iterable[str]) -> None:
    """Raise InputError for the first name that no parameters cell of the notebook assigns."""
    known = parameters(document)
    for key in given:
        if key not in known:
            near = nearest(key, known)
            listed = f"it takes: {', '.join(known) or 'none; tag the cell that assigns them `parameters`'}"
            remedy = f"did you mean {near!r}? {listed}" if near else listed
            raise InputError(document.name, f"takes no parameter {key!r}", remedy)


def literal(node: ast.expr) -> Any:
    """The value of a literal, None for anything else."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def parse(cell: Cell, name: str) -> ast.Module:
    """A cell's syntax tree. Raises InputError with the cell's number and line."""
    try:
        compile(cell.source, name, "exec", dont_inherit=True)  # says what the parser alone lets pass
        return ast.parse(cell.source)
    except SyntaxError as error:
        problem = f"{error.msg}: {(error.text or '').strip()[:100]}" if error.text else error.msg
        raise at(name, cell, error.lineno or 1, f"is not Python: {problem}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise at(name, cell, 1, f"is not Python that can be parsed: {error or type(error).__name__}") from error


def at(name: str, cell: Cell, line: int, problem: str, remedy: str = "") -> InputError:
    """An error in a line of a cell, for the caller to raise."""
    return InputError(name, f"cell {cell.number}, line {line}: {problem}", remedy)


def _check_language(value: dict[str, Any], name: str) -> None:
    metadata = value.get("metadata", {})
    if not isinstance(metadata, dict):
        raise InputError(name, "has metadata that are no mapping")
    for key, part in (("kernelspec", "language"), ("language_info", "name")):
        found = metadata.get(key) or {}
        language = found.get(part, "python") if isinstance(found, dict) else found
        if not isinstance(language, str) or language.lower() not in ("python", "python3", "ipython"):
            raise InputError(name, f"is in {str(language)[:50]!r}, not in Python")


def _cell(value: Any, number: int, name: str) -> Cell | None:
    """A cell, None if it holds no code."""
    where = f"cell {number}"
    if not isinstance(value, dict) or value.get("cell_type") not in ("code", "markdown", "raw"):
        raise InputError(name, f"{where} is neither code, markdown nor raw")
    source, metadata = value.get("source", ""), value.get("metadata", {})
    if isinstance(source, list) and all(isinstance(each, str) for each in source):
        source = "".join(source)
    if not isinstance(source, str):
        raise InputError(name, f"{where} has a source that is no text")
    tags = metadata.get("tags", []) if isinstance(metadata, dict) else None
    if not isinstance(tags, list) or not all(isinstance(each, str) for each in tags):
        raise InputError(name, f"{where} has tags that are no list of texts")
    try:
        source.encode()
    except UnicodeEncodeError as error:
        raise InputError(name, f"{where} holds half a character (a lone surrogate)") from error
    source = source.replace("\r\n", "\n").replace("\r", "\n")  # as Python counts lines
    return Cell(number, source, tuple(tags)) if value["cell_type"] == "code" else None


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level and depth <= _DEEPEST:
        depth += 1
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
    return depth
