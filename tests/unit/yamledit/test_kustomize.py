"""A Kustomization's `images:` entry is set, completed or made, and inline patches are edited inside their text."""

from __future__ import annotations

import pytest

from modelpack.errors import InputError, ModelpackError, NotFoundError, RefusedError
from modelpack.target import Target
from modelpack.yamledit import annotate, annotation, edit, find, has_template, holds, unannotate

FILE = "kustomization.yaml"
DIGEST = "sha256:" + "a" * 64
NAME = "registry.example.com/mpg"
NEW = f"{NAME}:v2@{DIGEST}"
MPG = Target(FILE, images="mpg")
ENTRY = f"newName: {NAME}"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("before", "old", "after"),
    [
        ("images:\n- name: mpg # n\n  newTag: v1 # t\n", "mpg:v1", f"images:\n- name: mpg # n\n  {ENTRY}\n  newTag: v2 # t\n  digest: {DIGEST}\n"),  # noqa: E501
        ("images:\n- name: mpg", "mpg", f"images:\n- name: mpg\n  {ENTRY}\n  newTag: v2\n  digest: {DIGEST}"),
        ("images:\n  - {name: mpg, digest: 'x'}\n", "mpg@x", f"images:\n  - {{name: mpg, {ENTRY}, newTag: v2, digest: '{DIGEST}'}}\n"),  # noqa: E501
        ("images:\n- name: mpg\n  newName: a/b\n  newTag: 1.10\n  digest: ~\n", "a/b:1.10", f"images:\n- name: mpg\n  {ENTRY}\n  newTag: v2\n  digest: {DIGEST}\n"),  # noqa: E501
        ("images:\n- name: x\n\n# end\n", "", f"images:\n- name: x\n- name: mpg\n  {ENTRY}\n  newTag: v2\n  digest: {DIGEST}\n\n# end\n"),  # noqa: E501
        ("images: []\n", "", f"images: [{{name: mpg, {ENTRY}, newTag: v2, digest: '{DIGEST}'}}]\n".replace("'", "")),
        ("images: # none yet\nx: 1\n", "", f"images: # none yet\n- name: mpg\n  {ENTRY}\n  newTag: v2\n  digest: {DIGEST}\nx: 1\n"),  # noqa: E501
        ("images: null\n", "", f"images:\n- name: mpg\n  {ENTRY}\n  newTag: v2\n  digest: {DIGEST}\n"),
        ("a:\n  - b\nimages:  ~  # none\n", "", f"a:\n  - b\nimages:  # none\n  - name: mpg\n    {ENTRY}\n    newTag: v2\n    digest: {DIGEST}\n"),  # noqa: E501
        ("x: 1\nimages: null", "", f"x: 1\nimages:\n- name: mpg\n  {ENTRY}\n  newTag: v2\n  digest: {DIGEST}"),
        ("images:\n  null\n", "", f"images:\n  [{{name: mpg, {ENTRY}, newTag: v2, digest: {DIGEST}}}]\n"),
        ("{images: null}\n", "", f"{{images: [{{name: mpg, {ENTRY}, newTag: v2, digest: {DIGEST}}}]}}\n"),
        ("resources:\n  - a # a\n# end", "", f"resources:\n  - a # a\nimages:\n  - name: mpg\n    {ENTRY}\n    newTag: v2\n    digest: {DIGEST}\n# end"),  # noqa: E501
        ("a: |\n  x\n---\nkind: Other\n", "", f"a: |\n  x\nimages:\n- name: mpg\n  {ENTRY}\n  newTag: v2\n  digest: {DIGEST}\n---\nkind: Other\n"),  # noqa: E501
        ("kind: Component\nimages: [{name: mpg}]\n", "mpg", f"kind: Component\nimages: [{{name: mpg, {ENTRY}, newTag: v2, digest: {DIGEST}}}]\n"),  # noqa: E501
    ],
)  # fmt: skip
def test_an_entry_is_set_completed_or_made(before: str, old: str, after: str, end: str) -> None:
    data, expected = (text.replace("\n", end).encode() for text in (before, after))
    assert find(data, FILE, MPG).value == old
    assert edit(data, FILE, MPG, NEW).decode() == expected.decode()
    assert find(expected, FILE, MPG).value == NEW
    assert holds(expected, FILE, MPG, NEW)


def test_an_entry_of_the_images_own_name_needs_no_other_name() -> None:
    target = Target(FILE, images=NAME)
    assert edit(f"images: [{{name: {NAME}}}]\n".encode(), FILE, target, f"{NAME}:v2") == (
        f"images: [{{name: {NAME}, newTag: v2}}]\n".encode()
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("- name: mpg\n  newTag: v1\n  digest: x # d\n", '- name: mpg\n  newTag: "1.10"\n'),
        ("- digest: x\n  name: mpg\n  newTag: '1'\n", "- name: mpg\n  newTag: '1.10'\n"),
        ("- {digest: x, name: mpg, newTag: v1}\n", '- {name: mpg, newTag: "1.10"}\n'),
    ],
)
def test_a_digest_goes_with_an_image_that_has_none(before: str, after: str) -> None:
    assert edit(f"images:\n{before}".encode(), FILE, MPG, "mpg:1.10").decode() == f"images:\n{after}"


def test_fluxs_kustomization_and_json() -> None:
    flux = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nspec:\n  images:\n  - name: mpg\n"
    assert edit(flux.encode(), "apps.yaml", MPG, "mpg:v2").decode() == f"{flux}    newTag: v2\n"
    for before, after in (
        ('{"images":[{"name":"mpg"}]}', '{"images":[{"name":"mpg", "newTag": "v2"}]}'),
        ('{"images":[]}', '{"images":[{"name": "mpg", "newTag": "v2"}]}'),
        ('{"resources":["a"]}\n', '{"resources":["a"], "images": [{"name": "mpg", "newTag": "v2"}]}\n'),
    ):
        assert edit(before.encode(), FILE, MPG, "mpg:v2").decode() == after


@pytest.mark.parametrize(
    ("file", "name", "error", "words"),
    [
        ("kind: Deployment\n", FILE, NotFoundError, "kustomization.yaml:1: is no Kustomization"),
        ("images: []\n", "x.yaml", NotFoundError, "x.yaml:1: is no Kustomization"),
        ("images:\n- name: mpg\n- name: mpg\n", FILE, RefusedError, "kustomization.yaml:3: there is a second entry for mpg"),  # noqa: E501
        ("images: []\nimages: []\n", FILE, RefusedError, "kustomization.yaml:2: key 'images' is given twice"),
        ("images: {a: b}\n", FILE, InputError, "kustomization.yaml:1: images is not a list"),
        ("images:\n- name: mpg\n  newTag: [a]\n", FILE, InputError, "kustomization.yaml:3: newTag is not a text"),
        ("images:\n- name: mpg\n  newTag: a\n  newTag: b\n", FILE, RefusedError, "kustomization.yaml:4: key 'newTag' is given twice"),  # noqa: E501
        ("images:\n- &e {name: mpg}\n- *e\n", FILE, RefusedError, "second entry"),
        ("images: &i\n- {name: mpg}\nx: *i\n", FILE, RefusedError, "shared through an anchor"),
        ("images:\n- name: mpg\n  <<: {newTag: a}\n", FILE, RefusedError, "may come in through a merge key"),
        ("kind: Component\n---\nkind: Kustomization\n", FILE, RefusedError, "kustomization.yaml:3: there is a second Kustomization"),  # noqa: E501
    ],
)  # fmt: skip
def test_images_that_are_refused(file: str, name: str, error: type[ModelpackError], words: str) -> None:
    with pytest.raises(error) as caught:
        edit(file.encode(), name, MPG, NEW)
    assert words in str(caught.value)


MODEL = Target(FILE, "Deployment", "mpg", init_container="model")
MERGE = (
    "kind: Deployment\nmetadata: {name: mpg}\nspec:\n  template:\n    spec:\n      initContainers:\n"
    "      - name: model # é😀\n        image: a:1   # c\n"
)
OPERATIONS = (
    "- {op: test, path: /spec/template/spec/initContainers/1/name, value: other}\n"
    "- {op: replace, path: /spec/template/spec/initContainers/1/image, value: b:1}\n"
    "- op: replace\n  path: /spec/template/spec/initContainers/0/image\n  value: a:1\n"
)
WHOLE = (
    "- {op: add, path: /spec/template/spec/initContainers/-, value: {name: other, image: b:1}}\n"
    "- {op: add, path: /spec/template/spec/initContainers/-, value: {name: model, image: a:1}}\n"
)
LIST = "[{op: add, path: /spec/template/spec/initContainers, value: [{name: model, image: a:1}]}]\n"
AIMED = "  target: {kind: Deployment, name: mpg}\n"


def block(text: str, header: str = "|", indent: str = "    ") -> str:
    return f"{header}\n" + "".join(indent + line for line in text.splitlines(keepends=True))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "file",
    [
        pytest.param("patches:\n- patch: " + block(MERGE) + "- path: x.yaml\n", id="literal"),
        pytest.param("patches:\n- patch: " + block(MERGE + "\n\n", "|+ # c") + AIMED, id="kept ends"),
        pytest.param("patches:\n- patch: " + block("\n" + MERGE, "|4-", "      ").rstrip(), id="stripped end of file"),
        pytest.param("patchesStrategicMerge:\n- other.yaml\n- " + block(MERGE, "|-"), id="strategic merge"),
        pytest.param("patches:\n- patch: " + block(OPERATIONS) + AIMED, id="operations"),
        pytest.param("patches:\n- patch: " + block(WHOLE) + AIMED, id="whole items"),
        pytest.param("patchesJson6902:\n- patch: " + block(LIST) + AIMED, id="whole list"),
        pytest.param("patches:\n- patch: '" + LIST.rstrip() + "'\n" + AIMED, id="single quotes"),
        pytest.param('patches:\n- patch: "' + LIST.rstrip() + '"\n' + AIMED, id="double quotes"),
        pytest.param('patches:\n- patch: "' + MERGE.replace("\n", "\\n") + '"\n', id="escapes"),
        pytest.param("apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nspec:\n patches:\n - patch: " + block(MERGE), id="flux"),  # noqa: E501
    ],
)  # fmt: skip
def test_a_patch_is_edited_inside_its_text(file: str, end: str) -> None:
    before = file.replace("\n", end)
    site = find(before.encode(), FILE, MODEL)
    assert (site.value, before.encode()[site.start : site.end]) == ("a:1", b"a:1")
    assert site.line == before[: before.index("a:1")].count("\n") + 1
    assert edit(before.encode(), FILE, MODEL, NEW).decode() == before.replace("a:1", NEW)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("header", ["|", "|-", "|+"])
def test_a_template_in_a_patch_is_annotated(header: str, end: str) -> None:
    before = ("patches:\n- patch: " + block(MERGE, header) + "- path: x.yaml\n").replace("\n", end).encode()
    after = annotate(before, FILE, MODEL, "a/b", "c")
    lines = ["      template:", "        metadata:", "          annotations:", '            a/b: "c"', "        spec:"]
    assert end.join(lines) in after.decode()
    assert annotation(after, FILE, MODEL, "a/b") == "c"
    assert unannotate(after, FILE, MODEL, "a/b") == before


def test_operations_have_no_template_to_annotate() -> None:
    data = ("patches:\n- patch: " + block(OPERATIONS) + AIMED).encode()
    assert not has_template(data, FILE, MODEL)
    assert has_template(("patches:\n- patch: " + block(MERGE)).encode(), FILE, MODEL)
    assert annotation(data, FILE, MODEL, "a/b") == ""
    with pytest.raises(RefusedError, match="no pod template"):
        annotate(data, FILE, MODEL, "a/b", "c")


@pytest.mark.parametrize(
    ("file", "error", "words"),
    [
        ("patches:\n- patch: " + block(MERGE, ">"), RefusedError, "kustomization.yaml:2: is folded over several lines"),
        ("patches:\n- patch: '" + MERGE.replace("\n", "\n\n  ") + "'\n", RefusedError, "yaml:2: is folded"),
        ("patches:\n- patch: " + block(MERGE) + "- patch: " + block(MERGE), RefusedError, "kustomization.yaml:19: there is a second patch"),  # noqa: E501
        ("patches:\n- patch: " + block(MERGE + MERGE.replace("kind", "---\nkind", 1)), RefusedError, "second patch"),
        ("patches:\n- patch: " + block("mpg: [\n"), InputError, "kustomization.yaml:2: the text here is not YAML"),
        ("patches:\n- patch: " + block("mpg: {{ x\n"), RefusedError, "kustomization.yaml:2: is a template"),
        ("patches:\n- patch: " + block(OPERATIONS.replace("other", "model")) + AIMED, RefusedError, "second patch"),
        ("patches:\n- patch: " + block(OPERATIONS.replace("initC", "c")) + AIMED, NotFoundError, "no patch here sets the image of Deployment mpg"),  # noqa: E501
        ("patches:\n- patch: " + block(OPERATIONS) + AIMED.replace("mpg", "x"), NotFoundError, "no Deployment mpg"),
        ("patches:\n- patch: &p " + block(MERGE) + "x: *p\n", RefusedError, "shared through an anchor"),
        ("patches:\n- patch: " + block("[" * 200 + " mpg\n"), InputError, "the text here is nested"),
        ("patches:\n- path: mpg.yaml\n", NotFoundError, "there is no Deployment mpg"),
    ],
)  # fmt: skip
def test_patches_that_are_refused(file: str, error: type[ModelpackError], words: str) -> None:
    with pytest.raises(error) as caught:
        edit(file.encode(), FILE, MODEL, NEW)
    assert words in str(caught.value)
