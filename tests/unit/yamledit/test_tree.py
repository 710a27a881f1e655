"""The proof after a splice: the new bytes mean what was intended, and nothing else."""

from __future__ import annotations

import pytest

from modelpack.errors import RefusedError
from modelpack.yamledit.tree import Splice, Tree

FILE = "a: 1\nb: &x 2\nc: *x\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1", "3"),
        ("1", "'1'"),
        ("1", "1\nd: 1"),
        ("a: 1\n", ""),
        ("*x", "2"),
        ("a", "z"),
        ("1", "1\n---\n"),
        ("1", "[1]"),
        ("1", "{"),
    ],
)
def test_a_splice_that_means_something_else_is_refused(old: str, new: str) -> None:
    tree = Tree("x.yaml", FILE)
    start = tree.text.index(old)
    with pytest.raises(RefusedError, match=r"x\.yaml:\d: cannot be edited without changing something else"):
        tree.prove([Splice(start, start + len(old), new)])


def test_a_splice_that_means_the_same_passes() -> None:
    assert Tree("x.yaml", FILE).prove([Splice(3, 4, "1   # one")]) == FILE.replace("1", "1   # one")
