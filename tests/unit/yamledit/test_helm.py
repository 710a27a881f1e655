"""Helm values are set where they stand: in a values file, a HelmRelease, or an Application's three places for them."""

from __future__ import annotations

import pytest

from modelpack.errors import InputError, ModelpackError, NotFoundError, RefusedError
from modelpack.target import Target
from modelpack.yamledit import edit, find, holds

DIGEST = "sha256:" + "a" * 64
NEW = f"registry.example.com/models/mpg:v2@{DIGEST}"
ALL = (
    ("registry", "image.registry"),
    ("repository", "image.repository"),
    ("tag", "image.tag"),
    ("digest", "image.digest"),
)
RELEASE = "kind: HelmRelease\nmetadata: {name: mpg}\nspec:\n  values:\n    a.b: [{image: x}]\n"
APP = "kind: Application\nmetadata: {name: mpg}\nspec:\n  source: {chart: x}\n  sources:\n  - chart: y\n  - helm:\n"


@pytest.mark.parametrize(
    ("before", "values", "old", "after"),
    [
        ("image: a:1\n", (("image", "image"),), "a:1", f"image: {NEW}\n"),
        ("image:\n  registry: r.io # r\n  repository: x/y\n  tag: 1.10\n  digest: ''\n", ALL, "r.io/x/y:1.10", f"image:\n  registry: registry.example.com # r\n  repository: models/mpg\n  tag: v2\n  digest: '{DIGEST}'\n"),  # noqa: E501
        ("i: {repository: x/y, tag: v1}\n", (("repository", "i.repository"), ("tag", "i.tag")), "x/y:v1", "i: {repository: registry.example.com/models/mpg, tag: v2}\n"),  # noqa: E501
        ("tag: 'v1@sha256:00'\n", (("tag", "tag"),), "v1@sha256:00", f"tag: 'v2@{DIGEST}'\n"),
        ("tag: v1@sha256:00\ndigest: x\n", (("tag", "tag"), ("digest", "digest")), "v1@x", f"tag: v2\ndigest: {DIGEST}\n"),  # noqa: E501
        ("tag: # none\ndigest: ~\n", (("tag", "tag"), ("digest", "digest")), "", f"tag: v2 # none\ndigest: {DIGEST}\n"),
        ("a:\n- image: x\n- image: y\n", (("image", "a[1].image"),), "y", f"a:\n- image: x\n- image: {NEW}\n"),
        ("a.b: {c: x}\n", (("image", '["a.b"].c'),), "x", f"a.b: {{c: {NEW}}}\n"),
        ("a.b: {c: x}\n", (("image", r"a\.b.c"),), "x", f"a.b: {{c: {NEW}}}\n"),
    ],
)  # fmt: skip
def test_a_values_file(before: str, values: tuple[tuple[str, str], ...], old: str, after: str) -> None:
    target = Target("values.yaml", values=values)
    assert find(before.encode(), "values.yaml", target).value == old
    assert edit(before.encode(), "values.yaml", target, NEW).decode() == after
    assert holds(after.encode(), "values.yaml", target, NEW)


@pytest.mark.parametrize(
    ("kind", "path", "file"),
    [
        ("HelmRelease", '["a.b"][0].image', RELEASE),
        ("Application", "i.image", APP + "      valuesObject: {i: {image: x}}\n"),
        ("Application", "i.image", APP + "      values: |\n        # c\n        i:\n          image: x # c\n"),
        ("Application", "i.image", APP + "      values: '{i: {image: x}}'\n"),
        ("Application", "i.image", APP + "      parameters:\n      - {name: a, value: b}\n      - {name: i.image, value: x}\n"),  # noqa: E501
        ("Application", "i[0].image", APP.replace("y", "y\n    helm: {values: 'j: 1'}") + "      parameters: [{name: 'i[0].image', value: x}]\n"),  # noqa: E501
        ("Application", "i.image", "kind: Application\nmetadata: {name: mpg}\nspec: {source: {helm: {valuesObject: {i: {image: x}}}}}\n"),  # noqa: E501
    ],
)  # fmt: skip
def test_an_object_that_holds_values(kind: str, path: str, file: str) -> None:
    target = Target("o.yaml", kind, "mpg", values=(("image", path),))
    head, tail = file.rsplit("x", 1)
    assert find(file.encode(), "o.yaml", target).value == "x"
    assert edit(file.encode(), "o.yaml", target, NEW).decode() == head + NEW + tail


@pytest.mark.parametrize(
    ("target", "file", "error", "words"),
    [
        (Target("v", values=(("tag", "image.tga"),)), "image:\n  tag: v1\n", NotFoundError, "v:2: there is no image.tga: has no 'tga'; did you mean 'tag'?"),  # noqa: E501
        (Target("v", values=(("tag", "image"),)), "image:\n  tag: v1\n", InputError, "v:2: image is not one text, it holds tag; name what is below it"),  # noqa: E501
        (Target("v", values=(("image", "image.tag"),)), "image:\n  tag: v1\n", RefusedError, "v:2: holds 'v1', which is a tag and no image; say what of the image it holds"),  # noqa: E501
        (Target("v", values=(("repository", "i.repository"), ("tag", "i.tag"))), "i:\n  registry: r.io\n  repository: a\n  tag: b\n", RefusedError, "v:2: the registry stands apart"),  # noqa: E501
        (Target("v", values=(("tag", "image"),)), "image: {{ .x }}\n", RefusedError, "v:1: is a template"),
        (Target("v", values=(("tag", "image"),)), "", NotFoundError, "v:1: there is no image"),
        (Target("v", values=(("tag", "tag"), ("digest", "tag"))), "tag: a\n", RefusedError, "v:1: is to hold two"),
        (Target("v", values=(("tag", "tag"),)), "tag: a\n---\ntag: b\n", RefusedError, "v:3: tag is here a second time, the first is on line 1"),  # noqa: E501
        (Target("v", values=(("tag", "a.tag"),)), "x: &x {tag: a}\na: *x\n", RefusedError, "v:1: is shared through an anchor"),  # noqa: E501
        (Target("v", values=(("tag", "a.tag"),)), "a: {<<: {tag: a}}\n", RefusedError, "may come in through a merge key"),  # noqa: E501
        (Target("v", values=(("tag", "a..b"),)), "a: 1\n", InputError, "a..b: is no path"),
        (Target("v", "HelmRelease", "x", values=(("tag", "a"),)), RELEASE, NotFoundError, "v:1: there is no HelmRelease x; found: HelmRelease mpg (line 1)"),  # noqa: E501
        (Target("v", "Application", "mpg", values=(("tag", "a"),)), APP + "      {}\n", NotFoundError, "Application mpg has no Helm values"),  # noqa: E501
        (Target("v", "Application", "mpg", values=(("tag", "a"),)), APP + "      valuesObject: {a: b}\n      values: 'a: b'\n", RefusedError, "v:9: a is here a second time, the first is on line 8"),  # noqa: E501
        (Target("v", "Application", "mpg", values=(("tag", "a"),)), APP + "      values: >\n        a:\n        b\n", RefusedError, "v:8: is folded"),  # noqa: E501
    ],
)  # fmt: skip
def test_values_that_are_refused(target: Target, file: str, error: type[ModelpackError], words: str) -> None:
    with pytest.raises(error) as caught:
        edit(file.encode(), "v", target, NEW)
    assert words in str(caught.value)


def test_a_tag_alone_needs_a_tag() -> None:
    with pytest.raises(RefusedError, match="v:1: holds a tag alone, and a@sha256:00 has none"):
        edit(b"tag: a\n", "v", Target("v", values=(("tag", "tag"),)), "a@sha256:00")
