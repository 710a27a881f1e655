"""An item is added to a list or taken out of it, and what else is there stays byte for byte."""

from __future__ import annotations

import pytest

from modelpack.errors import InputError, ModelpackError, NotFoundError, RefusedError
from modelpack.yamledit import append, drop

ITEM = {"a": "1", "b": 'x: "y"'}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '- a: "1"\n  b: "x: \\"y\\""\n'),
        ("# only a comment", '# only a comment\n- a: "1"\n  b: "x: \\"y\\""\n'),
        ("[]\n", '[{a: "1", b: "x: \\"y\\""}]\n'),
        ("[ {a: 0} ] # c", '[ {a: 0} , {a: "1", b: "x: \\"y\\""}] # c'),
        ("- a: 0 # c", '- a: 0 # c\n- a: "1"\n  b: "x: \\"y\\""\n'),
        ("\ufeff  - a: 0\r\n# é\r\n", '\ufeff  - a: 0\r\n# é\r\n  - a: "1"\r\n    b: "x: \\"y\\""\r\n'),
    ],
)
def test_append(before: str, after: str) -> None:
    assert append(before.encode(), "r.yaml", ITEM).decode() == after


@pytest.mark.parametrize(
    ("before", "error"),
    [("a: b\n", InputError), ("- a\n---\n- b\n", InputError), ("- a\n...\n", RefusedError), ("[\n", InputError)],
)
def test_append_refuses(before: str, error: type[ModelpackError]) -> None:
    with pytest.raises(error):
        append(before.encode(), "r.yaml", ITEM)


LIST = "# top\n- a: 1 # one\n  # in one\n  b: x\n\n# of two\n- # two\n  a: 2\n# of three\n- a: 3"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("before", "index", "after"),
    [
        (LIST, 0, "# top\n\n# of two\n- # two\n  a: 2\n# of three\n- a: 3"),
        (LIST, 1, "# top\n- a: 1 # one\n  # in one\n  b: x\n\n# of two\n# of three\n- a: 3"),
        (LIST, 2, LIST.removesuffix("- a: 3")),
        ("# top\n- a: 1\n", 0, "# top\n"),
        ("[{a: 1}, {a: 2} , {a: 3}]\n", 1, "[{a: 1}, {a: 3}]\n"),
        ("[{a: 1}, {a: 2}]\n", 1, "[{a: 1}]\n"),
        ("[{a: 1}]\n", 0, "[]\n"),
        ("  - - x\n  - y\n", 0, "  - y\n"),
    ],
)
def test_drop(before: str, index: int, after: str, end: str) -> None:
    assert drop(before.replace("\n", end).encode(), "r.yaml", index).decode() == after.replace("\n", end)


@pytest.mark.parametrize("before", ["", "# only a comment\n", "[]", LIST])
def test_drop_undoes_append(before: str) -> None:
    more = append(before.encode(), "r.yaml", ITEM)
    count = LIST.count("\n- ") if before == LIST else 0
    assert drop(more, "r.yaml", count).decode().rstrip("\n") == before.rstrip("\n")


@pytest.mark.parametrize(
    ("before", "index", "error"),
    [("a: b\n", 0, InputError), ("- a\n", 1, NotFoundError), ("- a\n", -1, NotFoundError), ("", 0, NotFoundError)],
)
def test_drop_refuses(before: str, index: int, error: type[ModelpackError]) -> None:
    with pytest.raises(error, match=r"^r\.yaml"):
        drop(before.encode(), "r.yaml", index)


def test_append_to_json_stays_json() -> None:
    assert append(b'[{"a": "0"}]', "r.json", {"a": "1"}) == b'[{"a": "0"}, {"a": "1"}]'
