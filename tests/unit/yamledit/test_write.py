"""What is written keeps its quotes, and stays a text for every parser."""

from __future__ import annotations

import time

import pytest
import yaml

from modelpack.errors import InputError, ModelpackError, RefusedError
from modelpack.target import Target
from modelpack.yamledit import annotate, edit, find
from modelpack.yamledit.slot import Image

TAG = Target("v", values=(("tag", "tag"),))
NEW = "r.io/x:v2@sha256:" + "a" * 64


@pytest.mark.parametrize(
    "tag",
    [
        *["1", "1.10", "0x1f", "0o17", "017", "1e3", "1E3", "12e03", "2024-01-01", "20240101", "1_000", "yes", "on"],
        *["No", "y", "N", "true", "NULL", "nan", "inf", "0b1", "1.e5"],
    ],
)  # fmt: skip
def test_a_tag_that_could_be_more_than_a_text_is_quoted(tag: str) -> None:
    for before, after in (
        ("tag: v1 # c\n", f'tag: "{tag}" # c\n'),
        ("tag: 'v1'\n", f"tag: '{tag}'\n"),
        ("tag:", f'tag: "{tag}"'),
    ):
        assert edit(before.encode(), "v", TAG, f"x:{tag}").decode() == after
        assert yaml.safe_load(after)["tag"] == tag


@pytest.mark.parametrize("tag", ["v1", "1.10.2", "2024-01-01T10", "latest", "1.0-rc.1", "a"])
def test_a_tag_that_is_a_text_stays_plain(tag: str) -> None:
    assert edit(b"tag: 1.9\n", "v", TAG, f"x:{tag}").decode() == f"tag: {tag}\n"


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("r.io:5000/a/b:v1@sha256:00", Image("r.io:5000", "a/b", "v1", "sha256:00")),
        ("localhost/a", Image("localhost", "a", "", "")),
        ("a/b:v1", Image("", "a/b", "v1", "")),
        ("r.io:5000/a", Image("r.io:5000", "a", "", "")),
        ("a@sha256:00", Image("", "a", "", "sha256:00")),
    ],
)
def test_an_image_taken_apart_and_put_together(text: str, image: Image) -> None:
    assert Image.of(text) == image
    assert str(image) == text


POD = "kind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: m, image: a:1}]}\n"
MODEL = Target("h", "Pod", "p", container="m")


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(
            "a: &a [x, x]\n"
            + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{f'*{chr(97 + i)}, ' * 9}]\n" for i in range(20))
            + "---\n"
            + POD,
            id="bomb",
        ),
        pytest.param("a: &a {b: [*a]}\n---\n" + POD, id="alias loop"),
        pytest.param("a: '---'\nb: |\n  ---\n  x\n--- # c\n" + POD, id="dashes"),
        pytest.param("%YAML 1.1\n# c\n---\na: 1\n...\n%TAG ! tag:x,2000:\n--- !y\nb: 1\n---\n" + POD, id="directives"),
        pytest.param("---\n---\n\n--- \n# c\n---\t\n" + POD + "...\n---\n", id="empty documents"),
        pytest.param("a: \u2028b\u0085c: 1\n---\n".replace("\u0085", "") + POD, id="line separators"),
        pytest.param("--- |\n a\n--- >\n b\n--- 'x\n  y'\n---\n" + POD, id="scalars as documents"),
    ],
)
def test_hostile_files_are_edited_in_no_time(file: str) -> None:
    began = time.process_time()
    assert edit(file.encode(), "h", MODEL, NEW).decode() == file.replace("a:1", NEW)
    assert find(file.encode(), "h", MODEL).line == file[: file.index("a:1")].count("\n") + 1
    assert "a/b" in annotate(file.encode(), "h", MODEL, "a/b", "c").decode()
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("file", "error"),
    [
        ("[" * 100_000, InputError),
        ("- " * 5_000 + "x\n", InputError),
        ("a: '\n---\n" + POD + "'\n", InputError),
        ("a: [\n---\n" + POD + "]\n", InputError),
        ("a: *b\n---\n" + POD, InputError),
        ("x: \x00\n" + POD, InputError),
        ("{{- if x }}\n" + POD + "{{- end }}\n", RefusedError),
        (POD + "---\nsops: {mac: x}\n", RefusedError),
        (POD + "---\nsops: {lastmodified: x}\n", RefusedError),
        (POD.replace("a:1", "!!int a:1"), RefusedError),
        (POD.replace("image:", "? [x]\n :"), ModelpackError),
    ],
)
def test_hostile_files_are_refused(file: str, error: type[ModelpackError]) -> None:
    with pytest.raises(error) as caught:
        edit(file.encode(), "h", MODEL, NEW)
    assert str(caught.value).startswith("h")
    assert "\n" not in str(caught.value)


def test_thousands_of_documents_take_no_time() -> None:
    many = "".join(f"---\nkind: Pod\nmetadata: {{name: p{number}}}\nspec: {{a: [b, c]}}\n" for number in range(4_000))
    began = time.process_time()
    assert edit((many + "---\n" + POD).encode(), "h", MODEL, NEW).decode() == many + "---\n" + POD.replace("a:1", NEW)
    assert time.process_time() - began < 5
