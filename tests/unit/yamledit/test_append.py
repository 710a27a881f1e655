"""An item is added to a list, and what is there stays byte for byte."""

from __future__ import annotations

import pytest

from modelpack.errors import InputError, ModelpackError, RefusedError
from modelpack.yamledit import append

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
