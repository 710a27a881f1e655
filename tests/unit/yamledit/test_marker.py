"""Flux's markers and kpt's setters say what a value is; what only looks like one is left alone."""

from __future__ import annotations

import time

import pytest

from modelpack.errors import ModelpackError, NotFoundError, RefusedError
from modelpack.target import Target
from modelpack.yamledit import edit, find, holds, pause, resume

DIGEST = "sha256:" + "a" * 64
NAME = "registry.example.com/mpg"
NEW = f"{NAME}:v2@{DIGEST}"
FLUX = Target("f.yaml", marker="ns:mpg")
MARK = '# {"$imagepolicy": "ns:mpg"}'


def form(part: str) -> str:
    return MARK.replace("mpg", f"mpg:{part}")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("before", "old", "after"),
    [
        (f"a: x:1 {MARK}\n", "x:1", f"a: {NEW} {MARK}\n"),
        (f"a: x:1   {MARK}", "x:1", f"a: {NEW}   {MARK}"),
        (f"a: 'x' {form('name')}\nb: \"1\" {form('tag')}\nc: y {form('digest')}\n", "x:1@y", f"a: '{NAME}' {form('name')}\nb: \"v2\" {form('tag')}\nc: {DIGEST} {form('digest')}\n"),  # noqa: E501
        (f"a: 1.9 {form('tag')}\n---\nb: {{c: x}}\n---\nd: [1.9, {form('tag')}\n 2]\n", "1.9", f"a: v2 {form('tag')}\n---\nb: {{c: x}}\n---\nd: [v2, {form('tag')}\n 2]\n"),  # noqa: E501
        (f"a: x:1 {MARK}\nb: y:1 {MARK}\n", "x:1", f"a: {NEW} {MARK}\nb: {NEW} {MARK}\n"),
        (f"a: # c\n- x:1\n{MARK}\n- y:1\n", "y:1", f"a: # c\n- x:1\n{MARK}\n- {NEW}\n"),
        (f"{MARK}\n- x:1\n", "x:1", f"{MARK}\n- {NEW}\n"),
        (f"a: &a x:1 {MARK}\nb: *a\n", "x:1", f"a: &a {NEW} {MARK}\nb: *a\n"),
        (f"a: |- {MARK}\n  x:1\n", "x:1", f"a: |- {MARK}\n  {NEW}\n"),
        ('a: x:1 #{"x": "y", "$imagepolicy":"ns:mpg"}\t\n', "x:1", f'a: {NEW} #{{"x": "y", "$imagepolicy":"ns:mpg"}}\t\n'),  # noqa: E501
    ],
)  # fmt: skip
def test_every_value_with_a_marker_is_set(before: str, old: str, after: str, end: str) -> None:
    data, expected = (text.replace("\n", end).encode() for text in (before, after))
    assert find(data, "f.yaml", FLUX).value == old
    assert edit(data, "f.yaml", FLUX, NEW).decode() == expected.decode()
    assert holds(expected, "f.yaml", FLUX, NEW)
    paused = pause(data, "f.yaml", FLUX)
    assert paused.count(b"paused {") == data.count(b"$imagepolicy")
    assert edit(paused, "f.yaml", FLUX, NEW) == pause(expected, "f.yaml", FLUX)
    assert resume(paused, "f.yaml", FLUX) == data


LOOKALIKES = (
    f"a: '{MARK}'\n"
    f'b: "x {MARK.replace(chr(34), chr(92) + chr(34))}"\n'
    f"c: |\n  x {MARK}\n"
    f"d: >-\n  x\n  y {MARK}\n"
    f"e: # c\n  f: 1\n{MARK}\ng: x#y\n"
    'h: x # {"$imagepolicy": "ns:mpg"} really\n'
    'i: x # {"$imagepolicy": {"ns": "mpg"}}\n'
    'j: x # {"$imagepolicy": "ns:mpg:size"}\n'
    'k: x # {"$imagepolicy": "ns:mpg2"}\n'
    "l: x # {$imagepolicy: ns:mpg}\n"
    f"m: x # # {MARK}\n"
    f"n: # {MARK}\n  x\n"
)


def test_what_looks_like_a_marker_is_left_alone() -> None:
    with pytest.raises(NotFoundError, match=r"f\.yaml:1: no value has a marker of ns:mpg; found: ns:mpg2"):
        edit(LOOKALIKES.encode(), "f.yaml", FLUX, NEW)
    before = LOOKALIKES + f"z: x:1 {MARK}\n"
    assert edit(before.encode(), "f.yaml", FLUX, NEW).decode() == before.replace("x:1", NEW)


@pytest.mark.parametrize(
    ("file", "error", "words"),
    [
        ("a: x\n", NotFoundError, "f.yaml:1: no value has a marker of ns:mpg; markers stand behind a value"),
        (f"a: x {MARK}\na: y {MARK}\n", RefusedError, "f.yaml:2: key 'a' is given twice"),
        (f"b:\n  a: x {MARK}\nb:\n  a: y {MARK}\n", RefusedError, "f.yaml:3: key 'b' is given twice"),
        (f"a: '{{{{ x }}}}' {MARK}\n", RefusedError, "f.yaml:1: is a template"),
        (f"a: s3://b {MARK}\n", RefusedError, "f.yaml:1: holds a s3:// address"),
    ],
)
def test_markers_that_are_refused(file: str, error: type[ModelpackError], words: str) -> None:
    with pytest.raises(error) as caught:
        edit(file.encode(), "f.yaml", FLUX, NEW)
    assert words in str(caught.value)


def test_the_word_in_a_string_hides_no_marker() -> None:
    before = f"a: ['$imagepolicy', 'x # y', x:1] # c\n'$imagepolicy # {{': x:1 {MARK}\n"
    assert edit(before.encode(), "f.yaml", FLUX, NEW).decode() == f"{NEW} ".join(before.rsplit("x:1 ", 1))


def test_many_signs_on_a_line_take_no_time() -> None:
    before = f"a: x:1 {MARK}\nb: c #" + ' #{"$imagepolicy"}' * 50_000 + "\n" + "d: '" + " # {" * 200_000 + "'\n"
    began = time.process_time()
    assert edit(before.encode(), "f.yaml", FLUX, NEW).decode() == before.replace("x:1", NEW)
    assert time.process_time() - began < 5


def test_a_pause_is_of_the_targets_values_alone() -> None:
    before = f"kind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n  - name: m\n    image: x:1 {MARK}\n  - name: n\n    image: y:1 {MARK}\n"  # noqa: E501
    target = Target("f.yaml", "Pod", "p", container="m")
    paused = pause(before.encode(), "f.yaml", target)
    assert paused.decode() == before.replace("# {", "# paused {", 1)
    assert pause(paused, "f.yaml", target) == paused
    assert resume(paused, "f.yaml", target).decode() == before
    assert resume(before.encode(), "f.yaml", target).decode() == before


KPT = Target("k.yaml", setter="tag", part="tag")


@pytest.mark.parametrize(
    ("target", "before", "old", "after"),
    [
        (KPT, "a: r:5000/x:v1 # kpt-set: ${image}:${tag}\nb: 1.1 # kpt-set: ${tag}\n", "v1", "a: r:5000/x:v2 # kpt-set: ${image}:${tag}\nb: v2 # kpt-set: ${tag}\n"),  # noqa: E501
        (KPT, "a: 'r/x:v1@sha256:" + "0" * 64 + "' # kpt-set: ${i}:${tag}\n", "v1@sha256:" + "0" * 64, f"a: 'r/x:v2@{DIGEST}' # kpt-set: ${{i}}:${{tag}}\n"),  # noqa: E501
        (Target("k.yaml", setter="image", part="repository"), "a: r:5000/x:v1 # kpt-set: ${image}:${tag}\n", "r:5000/x", f"a: {NAME}:v1 # kpt-set: ${{image}}:${{tag}}\n"),  # noqa: E501
        (Target("k.yaml", setter="image"), "a: x:1 # kpt-set: ${image}\nb: oci://x:1 # kpt-set: oci://${image}\n", "x:1", f"a: {NEW} # kpt-set: ${{image}}\nb: oci://{NEW} # kpt-set: oci://${{image}}\n"),  # noqa: E501
        (KPT, 'a: v1 # {"$kpt-set":"tag"}\nb: v1 # {"$openapi":"tag"}\nc: v1 # {"$ref":"#/definitions/io.k8s.cli.setters.tag"}\n', "v1", 'a: v2 # {"$kpt-set":"tag"}\nb: v2 # {"$openapi":"tag"}\nc: v2 # {"$ref":"#/definitions/io.k8s.cli.setters.tag"}\n'),  # noqa: E501
        (KPT, "kind: Kptfile\npipeline:\n  mutators:\n  - image: apply-setters\n    configMap:\n      tag: v1 # t\n", "v1", "kind: Kptfile\npipeline:\n  mutators:\n  - image: apply-setters\n    configMap:\n      tag: v2 # t\n"),  # noqa: E501
        (KPT, "kind: Kptfile\nopenAPI: {definitions: {io.k8s.cli.setters.tag: {x-k8s-cli: {setter: {value: v1}}}}}\n", "v1", "kind: Kptfile\nopenAPI: {definitions: {io.k8s.cli.setters.tag: {x-k8s-cli: {setter: {value: v2}}}}}\n"),  # noqa: E501
    ],
)  # fmt: skip
def test_what_a_setter_sets(target: Target, before: str, old: str, after: str) -> None:
    assert find(before.encode(), "k.yaml", target).value == old
    assert edit(before.encode(), "k.yaml", target, NEW).decode() == after
    assert holds(after.encode(), "k.yaml", target, NEW)


@pytest.mark.parametrize(
    ("target", "file", "error", "words"),
    [
        (KPT, "a: x # kpt-set: ${tags}\n", NotFoundError, "k.yaml:1: no value has the setter tag; write # kpt"),
        (KPT, "a: x # kpt-set: ${image}:${tag}\n", RefusedError, "k.yaml:1: x is nothing that ${image}:${tag} makes"),
        (KPT, "a: x # kpt-set: ${tag}${tag}\n", RefusedError, "k.yaml:1: the pattern ${tag}${tag} is too much"),
        (KPT, "a: x # kpt-set: ${a}${b}${c}${d}${tag}\n", RefusedError, "is too much"),
        (Target("k.yaml", setter="image"), "a: x:1 # kpt-set: ${image}:${tag}\n", RefusedError, "has more of the image than image"),  # noqa: E501
    ],
)  # fmt: skip
def test_setters_that_are_refused(target: Target, file: str, error: type[ModelpackError], words: str) -> None:
    with pytest.raises(error) as caught:
        edit(file.encode(), "k.yaml", target, NEW)
    assert words in str(caught.value)
