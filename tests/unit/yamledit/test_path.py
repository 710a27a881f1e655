"""A path goes to one scalar of the object or file, through texts that are YAML themselves too."""

from __future__ import annotations

import pytest

from modelpack.errors import InputError, ModelpackError, NotFoundError, RefusedError
from modelpack.target import Target
from modelpack.yamledit import edit, find
from modelpack.yamledit.path import Item, parse_path

DIGEST = "sha256:" + "a" * 64
NAME = "registry.example.com/mpg"
NEW = f"{NAME}:v2@{DIGEST}"


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a", ("a",)),
        ("a.b-c.d_e/f", ("a", "b-c", "d_e/f")),
        (".a[0].b", ("a", 0, "b")),
        ("a[0][12]", ("a", 0, 12)),
        ('["a.b"].c', ("a.b", "c")),
        ('a[\'b"]\'][""]', ("a", 'b"]', "")),
        (r"a\.b.c\[0\]", ("a.b", "c[0]")),
        ("a[name=model].b", ("a", Item("name", "model"), "b")),
        ('a[name="x.y"]', ("a", Item("name", "x.y"))),
    ],
)
def test_a_path_is_read(text: str, steps: tuple[object, ...]) -> None:
    assert parse_path(text) == steps


@pytest.mark.parametrize("text", ["", ".", "a.", "a..b", "a[", "a[x]", "a[-1]", "a]b", 'a["b]', "a[=b]", "a\\"])
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(InputError, match="is no path"):
        parse_path(text)


@pytest.mark.parametrize(
    ("target", "before", "old", "after"),
    [
        (Target("p", path="a[1].b"), "a: [{b: x}, {b: y:1}]\n", "y:1", f"a: [{{b: x}}, {{b: {NEW}}}]\n"),
        (Target("p", path="a[name=m].b"), "a:\n- name: l\n- name: m\n  b: x\n", "x", f"a:\n- name: l\n- name: m\n  b: {NEW}\n"),  # noqa: E501
        (Target("p", path="spec.ref.tag", part="tag"), "spec:\n  url: oci://x\n  ref: {tag: '1'}\n", "1", "spec:\n  url: oci://x\n  ref: {tag: 'v2'}\n"),  # noqa: E501
        (Target("p", path="spec.url", part="repository"), "spec: {url: oci://x/y}\n", "x/y", f"spec: {{url: oci://{NAME}}}\n"),
        (Target("p", path="d", part="digest"), "d: ''\n", "", f"d: '{DIGEST}'\n"),
        (Target("p", "ConfigMap", "c", path='data["v.yaml"].i'), "kind: ConfigMap\nmetadata: {name: c}\ndata:\n  v.yaml: |\n    # v\n    i: x # i\n", "x", f"kind: ConfigMap\nmetadata: {{name: c}}\ndata:\n  v.yaml: |\n    # v\n    i: {NEW} # i\n"),  # noqa: E501
        (Target("p", path="a.b.c"), "a: |\n  b: |\n    c: x\n", "x", f"a: |\n  b: |\n    c: {NEW}\n"),
        (Target("p", path="a.b"), '{"a": {"b": "x"}}', "x", f'{{"a": {{"b": "{NEW}"}}}}'),
        (Target("p", path="a.b"), '{"a": "{\\"b\\": \\"x\\"}"}', "x", f'{{"a": "{{\\"b\\": \\"{NEW}\\"}}"}}'),
        (Target("p", path="b"), "a: x\n---\nb: x\n", "x", f"a: x\n---\nb: {NEW}\n"),
    ],
)  # fmt: skip
def test_a_path_to_a_scalar(target: Target, before: str, old: str, after: str) -> None:
    assert find(before.encode(), "p", target).value == old
    assert edit(before.encode(), "p", target, NEW).decode() == after


@pytest.mark.parametrize(
    ("path", "file", "error", "words"),
    [
        ("a[2]", "a: [x, y]\n", NotFoundError, "p:1: there is no a[2]: has 2 items, no [2]; the first one is [0]"),
        ("a[x=y].b", "a:\n- x: z\n", NotFoundError, "p:2: there is no a[x=y].b: has no item [x=y]; found: z"),
        ("a[x=y].b", "a:\n- x: y\n- x: y\n", RefusedError, "p:3: there is a second item [x=y]"),
        ("a[0]", "a: {}\n", NotFoundError, "p:1: there is no a[0]: is no list, to have [0]"),
        ("a.b", "a: {c: d}\n---\na: x\n", NotFoundError, "p:1: there is no a.b: has no 'b'; found here: c"),
        ("a.b", "a: [x\n", InputError, "p:2: is not YAML"),
        ("a", "a: 1\na: 2\n", RefusedError, "p:2: key 'a' is given twice"),
        ("a.b", "a: |\n  b: 1\n  b: 2\n", RefusedError, "p:3: key 'b' is given twice"),
        ("a.b", "a: |\n  b: [1\n", InputError, "p:1: the text here is not YAML"),
        ("a.b", "a: |\n  b: 1\n  ---\n  b: 2\n", InputError, "the text here is not one YAML document"),
        ("a[0]", "a: &a [*a]\n", RefusedError, "p:1: is shared through an anchor"),
        ("a.b", "&x a: {b: *x}\n", RefusedError, "p:1: is shared through an anchor"),
    ],
)
def test_paths_that_are_refused(path: str, file: str, error: type[ModelpackError], words: str) -> None:
    with pytest.raises(error) as caught:
        edit(file.encode(), "p", Target("p", path=path), NEW)
    assert words in str(caught.value)
