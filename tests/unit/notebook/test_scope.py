"""What code takes from before it, and what it leaves."""

from __future__ import annotations

import ast

import pytest

from modelpack.notebook.scope import Names, names


def found(code: str) -> Names:
    return names(ast.parse(code))


@pytest.mark.parametrize(
    ("code", "reads"),
    [
        ("x = 1\nx", ""),
        ("x = x + 1", "x"),
        ("x += 1", "x"),
        ("x: int = y", "int y"),
        ("x[0] = 1", "x"),
        ("x.y = 1", "x"),
        ("del x", "x"),
        ("x = 1\ndel x\nx", "x"),
        ("if a:\n    x = 1\nx", "a x"),
        ("if a:\n    x = 1\nelse:\n    x = 2\nx", "a"),
        ("if a:\n    x = 1\nelse:\n    raise a\nx", "a"),
        ("for i in range(3):\n    x = i\nx", "range x"),
        ("for i in a:\n    i", "a"),
        ("while a:\n    x = 1\nx", "a x"),
        ("with a as f:\n    f.b\nf", "a"),
        ("try:\n    x = 1\nexcept E as e:\n    e\nx", "E x"),
        ("try:\n    x = 1\nexcept E:\n    x = 2\nx", "E"),
        ("try:\n    x = 1\nexcept E as e:\n    raise\nx", "E"),
        ("import a.b as c, d.e\nc, d", ""),
        ("from a import b as c\nc", ""),
        ("[i for i in a if i]", "a"),
        ("{i: j for i in a for j in i}", "a"),
        ("[x for i in a]\nx", "a x"),
        ("print(y := 1)\ny", "print"),
        ("[y := i for i in a]\ny", "a"),
        ("lambda x, *y, z=a, **w: x + y + z + w + b", "a b"),
        ("def f(x, y=a) -> b:\n    z = x\n    return z + c + f(1)", "a b c"),
        ("def f():\n    x = y\n    y = 1", ""),  # its own y, an error of its own
        ("def f():\n    global x\n    x = 1\nx", "x"),
        ("def f():\n    import a\n    for b in a:\n        with b as c:\n            c", ""),
        ("@a\nclass B(c):\n    d = e\n    def f(self):\n        return g, B", "a c e g"),
        ("x = 1\ndef f():\n    return x", ""),
        ("match a:\n case [b, *c] if b:\n  b, c\n case {'k': d, **e}:\n  d, e\n case F.G:\n  pass", "F a"),
        ("f'{a} {b!r:>{c}}'", "a b c"),
        ("async def f():\n    async with a as b:\n        await b", "a"),
    ],
)  # fmt: skip
def test_what_is_read_before_it_is_bound_for_certain(code: str, reads: str) -> None:
    assert sorted(set(found(code).reads) - {"B"}) == sorted(reads.split())


def test_what_it_leaves() -> None:
    code = (
        "a, (b, *c) = x\nfor d in x:\n    e = 1\nwith x as f:\n    pass\ndef g():\n    h = 1\nclass I:\n    j = 1\n"
        "[k for k in x]\nimport l.m\nx[n] = 1\ndef o():\n    global p\n    p = 1"
    )
    assert sorted(found(code).binds) == ["I", "a", "b", "c", "d", "e", "f", "g", "l", "o", "p"]


def test_imports_can_be_said_again_unless_something_else_binds_the_name() -> None:
    code = "import a.b, c as d\nfrom .e import f\ntry:\n    import g\nexcept ImportError:\n    g = None"
    assert found(code).imports == {"a": "import a.b", "d": "import c as d", "f": "from .e import f"}
    assert found("from x import *").star


def test_what_it_changes_in_place() -> None:
    code = "a[0] = 1\nb.c.d += 1\ndel e['k']\nf.append(1)\ng = h.sum()\nprint(i)\nj.k[0].fit(x)"
    assert sorted(found(code).mutates) == ["a", "b", "e", "f", "j"]


def test_many_scopes_in_one_another_take_no_more_than_their_sum() -> None:
    code = "".join("    " * depth + f"def f{depth}():\n" for depth in range(60)) + "    " * 60 + "return x"
    assert "x" in found(code).reads
