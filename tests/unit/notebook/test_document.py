"""A notebook may come from anybody: what is none, or too much of one, is refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import InputError, NotFoundError
from modelpack.notebook import document
from tests.fakes.notebooks import document as made
from tests.fakes.notebooks import notebook


def with_cell(**changes: Any) -> bytes:
    value = made("x = 1")
    value["cells"][0] |= changes
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "m.ipynb:1: is not JSON"),
        (b'{"cells": [\n}', "m.ipynb:2: is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"nbformat": 4, "cells": [], "x": ' + b"[" * 200 + b"]" * 200 + b"}", "more than 100 levels"),
        (b"[]", "does not say its nbformat"),
        (b'{"nbformat": 3, "worksheets": []}', "nbconvert --to notebook"),
        (b'{"nbformat": 4}', "has no cells"),
        (b'{"nbformat": 4, "cells": [], "metadata": []}', "metadata"),
        (notebook("x <- 1", language="R"), "is in 'R', not in Python"),
        (b'{"nbformat": 4, "cells": [1]}', "cell 1 is neither"),
        (with_cell(cell_type="code2"), "cell 1 is neither"),
        (with_cell(source=5), "cell 1 has a source"),
        (with_cell(source="\ud800"), "lone surrogate"),
        (with_cell(metadata={"tags": "block:x"}), "cell 1 has tags"),
        (with_cell(metadata={"tags": [1]}), "cell 1 has tags"),
        (b" " * (document.LARGEST + 1), "larger than 64 MiB"),
    ],
)
def test_what_is_no_notebook(data: bytes, says: str) -> None:
    with pytest.raises(InputError) as caught:
        document.read(data, "m.ipynb")
    assert says in str(caught.value)


def test_cells_are_counted_as_on_the_page() -> None:
    found = document.read(notebook("md:text", "x = 1\ny = 2", ("z", ["t"])), "m.ipynb")
    assert [(cell.number, cell.source, cell.tags) for cell in found.cells] == [
        (2, "x = 1\ny = 2", ()),
        (3, "z", ("t",)),
    ]


@pytest.mark.parametrize("tag", ["parameters", "pipeline-parameters"])
def test_parameters_are_those_of_the_tagged_cell(tag: str) -> None:
    cell = ("epochs = 3\nrate: float = -0.5\nwhere = make()\nif x:\n    y = 1", [tag])
    found = document.read(notebook("other = 1", cell), "m.ipynb")
    assert document.parameters(found) == {"epochs": 3, "rate": -0.5, "where": None}


def test_code_that_is_none_names_cell_and_line() -> None:
    found = document.read(notebook("md:x", ("a = 1\nb = = 2", ["parameters"])), "m.ipynb")
    with pytest.raises(InputError, match=r"m\.ipynb: cell 2, line 2: is not Python: .*b = = 2"):
        document.parameters(found)


@pytest.mark.parametrize("source", ["(" * 500 + ")" * 500, "-" * 300_000 + "1", "a\0b"])
def test_code_that_the_parser_cannot_take(source: str) -> None:
    with pytest.raises(InputError, match="cell 1, line 1"):
        document.parse(document.Cell(1, source), "m.ipynb")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such notebook"):
        document.load(tmp_path / "m.ipynb")
    with pytest.raises(InputError, match="cannot be read"):
        document.load(tmp_path)
