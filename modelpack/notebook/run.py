"""Run a notebook with parameters, and keep what it said.

The kernel is always ipykernel of this interpreter: a notebook's kernelspec names whatever its author had installed. It
leads a process group of its own, which is killed at the end. What a cell takes out of that group outlives a run by
hand; the keeper of a training run ends that too.
"""

from __future__ import annotations

import contextlib
import logging
import re
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, NoReturn

from modelpack.errors import InputError, ModelpackError, RemoteError
from modelpack.notebook import document, kernel, page
from modelpack.notebook.document import check_parameters

_TAG = "parameters"  # what papermill looks for
_INJECTED = ("injected-parameters", "papermill-error-cell-tag")  # cells that papermill adds
_EMPTY: Mapping[str, Any] = MappingProxyType({})
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_LONGEST = 300  # characters of an error's text in our own sentence


def names(notebook: Path) -> dict[str, Any]:
    """The parameters that a notebook takes, with their defaults (None where that is no literal)."""
    return document.parameters(document.load(notebook))


def execute(
    notebook: Path,
    parameters: Mapping[str, Any],
    *,
    out: Path,
    html: Path,
    cwd: Path,
    timeout: float,
    env: Mapping[str, str],
    offered: Mapping[str, Any] = _EMPTY,
    progress: bool = False,
) -> None:
    """Run a notebook in `cwd` with the environment `env`, for at most `timeout` seconds.

    `parameters` replace what its parameters cell assigns; one that the cell does not name is an InputError. `offered`
    are passed where the cell names them. `out` gets the executed notebook and `html` a page of it, also when a cell
    fails: then InputError says its number (of the notebook as given, from 1), line and error. RemoteError: the kernel
    died.
    """
    found = document.load(notebook)
    known = document.parameters(found)
    check_parameters(found, parameters)
    given = {**{key: value for key, value in offered.items() if key in known}, **parameters}
    if not cwd.is_dir():
        raise InputError(cwd, "is not a folder")
    failure: ModelpackError | None = None
    ended: BaseException | None = None
    try:
        _papermill(found, given, out, cwd, timeout, env, progress)
    except ModelpackError as error:
        failure = error
    except (KeyboardInterrupt, SystemExit) as error:
        ended = error
    if out.is_file():
        problem = str(failure.problem) if failure else "interrupted" if ended else ""
        page.write(out, html, title=found.name, problem=problem)
    if ended or failure:
        raise ended or failure  # type: ignore[misc]


def _papermill(
    found: document.Document,
    parameters: Mapping[str, Any],
    out: Path,
    cwd: Path,
    timeout: float,
    env: Mapping[str, str],
    progress: bool,
) -> None:
    try:
        import papermill
        from nbclient.exceptions import CellTimeoutError, DeadKernelError
    except ImportError as error:
        raise InputError("notebooks", "need papermill", "install modelpack-delivery[train]") from error
    logging.getLogger("papermill").addHandler(logging.NullHandler())  # else its remarks go to stderr
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        node = document.node(_prepared(found), found.name)
        with tempfile.TemporaryDirectory() as scratch, _terminated(), kernel.session(Path(scratch), env) as at:
            papermill.execute_notebook(
                node,
                str(out.resolve()),
                dict(parameters),
                engine_name=at.engine,
                kernel_name=kernel.NAME,
                language="python",
                progress_bar=progress,
                deadline=time.monotonic() + timeout,
                resources={"metadata": {"path": str(cwd.resolve())}},
            )
    except papermill.PapermillExecutionError as error:
        raise InputError(found.name, _told(out, error)) from error
    except CellTimeoutError as error:
        problem = f"cell {_number(out, at.cell)}: not done after {timeout:g} s"
        raise InputError(found.name, problem, "give it more time") from error
    except (DeadKernelError, RuntimeError) as error:
        where = f"cell {_number(out, at.cell)}: the kernel died" if at.cell >= 0 else "no kernel started"
        said = f": {at.said}" if at.said else ""
        raise RemoteError(found.name, f"{where}{said}", "too little memory is the usual cause") from error
    except OSError as error:
        raise RemoteError(error.filename or out, f"cannot be written: {error.strerror or error}") from error


def _prepared(found: document.Document) -> dict[str, Any]:
    """The notebook as papermill takes it: our kernel, and its own tag on the parameters cell."""
    metadata = {**found.json.get("metadata", {}), "language_info": {"name": "python"}}
    metadata["kernelspec"] = {"name": kernel.NAME, "display_name": "Python 3", "language": "python"}
    cells = [dict(each) for each in found.json["cells"]]
    tagged = [each for each in found.cells if any(tag in document.PARAMETERS for tag in each.tags)]
    if tagged:
        for cell in found.cells:
            if _TAG in cell.tags and cell is not tagged[-1]:  # it injects after the first that it finds
                _tag(cells[cell.number - 1], [tag for tag in cell.tags if tag != _TAG])
        last = tagged[-1]
        _tag(cells[last.number - 1], [*(tag for tag in last.tags if tag != _TAG), _TAG])
    cells = [each for each in cells if not set(_INJECTED) & set(each.get("metadata", {}).get("tags", []))]
    return {**found.json, "metadata": metadata, "cells": cells}


def _tag(cell: dict[str, Any], tags: list[str]) -> None:
    cell["metadata"] = {**cell.get("metadata", {}), "tags": tags}


def _told(out: Path, error: Any) -> str:
    """`cell 5, line 2: ValueError: …` of papermill's error."""
    number = _number(out, int(error.cell_index), marked=True)
    text = _COLOURS.sub("", "\n".join(map(str, error.traceback or ())))
    lines = re.findall(rf"Cell In ?\[{error.exec_count}\], line (\d+)", text)
    # IPython leaves out empty lines at a cell's start, and counts from there
    skipped = next((at for at, each in enumerate(str(error.source).split("\n")) if each.strip()), 0)
    line = f", line {int(lines[0]) + skipped}" if lines else ""
    value = " ".join(_COLOURS.sub("", str(error.evalue)).split())
    if len(value) > _LONGEST:
        value = f"{value[:_LONGEST]} …"
    return f"cell {number}{line}: {error.ename}" + (f": {value}" if value else "")


def _cells(out: Path) -> list[Any]:
    with contextlib.suppress(OSError, ModelpackError):
        return list(document.load(out).json["cells"])
    return []


def _number(out: Path, index: int, marked: bool = False) -> int:
    """The number in the notebook as given of a cell of the executed one. `marked`: `index` was taken before papermill
    marked the failure by two cells of its own, which _cells has."""
    cells = _cells(out)
    if marked:
        cells = [each for each in cells if _INJECTED[1] not in each.get("metadata", {}).get("tags", [])]
    return sum(1 for each in cells[: index + 1] if not set(_INJECTED) & set(each.get("metadata", {}).get("tags", [])))


@contextlib.contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind the stack, so that the kernel is ended, unless the caller has handlers of its own."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    ours = [signal.SIGTERM, signal.SIGHUP] if threading.current_thread() is threading.main_thread() else []
    ours = [each for each in ours if signal.getsignal(each) is signal.SIG_DFL]
    try:
        for each in ours:
            signal.signal(each, end)
        yield
    finally:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)
