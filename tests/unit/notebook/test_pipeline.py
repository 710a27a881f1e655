"""Tags make blocks; what a block uses of others is found in the code; what cannot be is refused with its cell."""

from __future__ import annotations

from typing import Any

import pytest

from modelpack.errors import InputError
from modelpack.notebook import parse
from tests.fakes.notebooks import WHOLE, notebook

A = ("a = 1", ["block:A"])


def test_the_blocks_of_a_whole_notebook() -> None:
    found = parse(WHOLE, "models/My Train.ipynb")
    assert found.name == "my-train"
    assert {each.name: each.default for each in found.parameters} == {
        "dropRate": 0.5, "n": 5, "name": 'it"s $(x) $$', "flag": False,
    }  # fmt: skip
    assert [(each.name, each.after) for each in found.blocks] == [
        ("load", ()),
        ("fit", ("load",)),
        ("stats", ("load",)),
        ("join", ("load", "fit", "stats")),  # seen comes from load itself
    ]
    load, fit, stats, join = found.blocks
    assert load.saves == ("rows", "seen", "total") and [cell.number for cell in load.cells] == [5, 6]
    assert dict(fit.loads) == {"rows": "load", "total": "load"} and fit.saves == ("half", "model", "rows")
    assert stats.imports == ("import random as rnd",)
    assert join.loads["rows"] == "fit" and join.loads["mean"] == "stats" and join.results == ("answer",)
    assert found.shared == ("Model", "json", "math", "seen", "square")


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        ([A, "b = 2"], [1, 2]),
        ([A, ("x", ["skip"]), "b = 2"], [1, 3]),
        ([("", ["block:A"]), "md:text", A, ("# a note", []), ("b = 2", ["step:A"])], [3, 5]),
        ([A, ("c = 1", ["imports"]), "d = 1"], [1]),
        ([("a = 1", ["block:A", "remove-output"])], [1]),
    ],
)
def test_an_untagged_cell_belongs_to_what_stands_before_it(cells: list[Any], numbers: list[int]) -> None:
    (block,) = parse(notebook(*cells), "m.ipynb").blocks
    assert [cell.number for cell in block.cells] == numbers


def test_blocks_run_after_those_before_them_else_as_they_stand() -> None:
    cells = [("c = 1", ["block:c", "prev:b"]), ("a = 1", ["block:a"]), ("b = 1", ["block:b"])]
    assert [each.name for each in parse(notebook(*cells), "m.ipynb").blocks] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("use", "loads"),
    [
        ("print(x)", {"x": "B"}),  # B only reads it, and may have changed it by a call
        ("x = 5\nprint(x)", {}),
        ("for i in [1]:\n    print(i)", {}),
        ("print(i)", {"i": "A"}),
        ("def f():\n    return x", {"x": "B"}),
    ],
)
def test_what_is_taken_comes_from_the_nearest_block_that_has_it(use: str, loads: dict[str, str]) -> None:
    first = "x = [1]\nfor i in x:\n    pass"
    cells = [(first, ["block:A"]), ("print(x)", ["block:B", "prev:A"]), (use, ["block:C", "prev:B"])]
    assert dict(parse(notebook(*cells), "m.ipynb").blocks[2].loads) == loads


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (["x = 1"], "cell 1, line 1: has no tag"),
        ([("x = 1", ["imports"])], "has no block"),
        ([], "has no block"),
        ([("x = 1", ["blok:a"])], "cell 1, line 1: tag 'blok:a' is not known; did you mean 'block'?"),
        ([("x = 1", ["import"])], "did you mean 'imports'?"),
        ([("x = 1", ["block:1a"])], "'1a' is not a block's name"),
        ([("x = 1", ["block:" + "a" * 50])], "is not a block's name"),
        ([("x = 1", ["block:a", "block:b"])], "several of the tags"),
        ([("x = 1", ["block:a", "imports"])], "several of the tags"),
        ([A, ("x = 1", ["limit:nvidia.com/gpu:2"])], "set that in the compiled pipeline"),
        ([A, ("x = 1", ["prev:A"])], "cell 2, line 1: has a tag prev and none that names its block"),
        ([("x = 1", ["block:b", "prev:A"])], "there is no such block"),
        ([A, ("x = 1", ["block:b", "prev:B"])], "'prev:B': there is no such block"),
        ([("x = 1", ["block:A", "prev:A"])], "wait for one another: A after A"),
        (
            [("x = 1", ["block:a", "prev:b"]), ("y = 1", ["block:b", "prev:a"])],
            "the blocks wait for one another",
        ),
        ([("x = 1", ["block:a_b"]), ("y = 1", ["block:A-b"])], "are called alike"),
        ([A, ("print(b)", ["block:B"])], "cell 2, line 1: nothing defines b, and no block before 'B' does"),
        ([A, ("b = 1\n\nprint(a)", ["block:B"])], "cell 2, line 3: nothing defines a, and no block before 'B'"),
        ([("def f():\n    return nothing_such", ["functions"]), A], "cell 1, line 2: nothing defines nothing_such"),
        ([A, ("x = 1\nx += ", ["block:B"])], "cell 2, line 2: is not Python"),
        ([("await f()", ["block:B"])], "cell 1, line 1: is not Python"),
        ([("return 1", ["block:B"])], "cell 1, line 1: is not Python"),
        ([("class = 1", ["pipeline-parameters"]), A], "cell 1, line 1: is not Python"),
        ([("x = []", ["pipeline-parameters"]), A], "cell 1, line 1: is no parameter"),
        ([("x = 1e999", ["pipeline-parameters"]), A], "inf is no number"),
        ([A, ("b", ["pipeline-metrics"])], "b is assigned in no block"),
        ([A, ("a + 1", ["pipeline-metrics"])], "is no metric"),
        ([("a = 1\n%pip install x", ["block:A"])], "cell 1, line 2: '%pip install x' changes the machine"),
        ([("a = 1\n!ls", ["block:A"])], "cell 1, line 2: '!ls' is IPython's"),
        ([("files = !ls", ["block:A"])], "is IPython's"),
        ([("%%bash\nls", ["block:A"])], "is IPython's"),
        ([("%time f()", ["block:A"])], "is IPython's"),
        ([("a?", ["block:A"])], "is IPython's"),
        (
            [("m = 0\nr = []", ["block:A"]), ("r.append(1)", ["block:B", "prev:A"]), ("r", ["block:C", "prev:A"])],
            "cell 3, line 1: block 'C' takes r, which block 'B' changes and which is not before it; add the tag prev:B",
        ),
        ([(f"x{i} = 1", [f"block:b{i}"]) for i in range(101)], "more than 100 blocks"),
    ],
)
def test_what_no_pipeline_can_be_made_of(cells: list[Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(notebook(*cells), "m.ipynb")
    assert says in str(caught.value)


def test_what_only_changes_how_a_notebook_looks_is_left_out() -> None:
    code = "%%time\n%matplotlib inline\nif True:\n    %config x = 1\n    a = '''\n%s'''\n%load_ext autoreload"
    (block,) = parse(notebook((code, ["block:A"])), "m.ipynb").blocks
    assert "pass  # %matplotlib inline" in block.cells[0].source and "\n%s'''" in block.cells[0].source


def test_a_star_import_may_define_anything() -> None:
    assert parse(notebook(("from math import *", ["imports"]), ("print(pi)", ["block:A"])), "m.ipynb").blocks
