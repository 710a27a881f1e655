"""Every edit changes the wanted value and not one byte more; what is ambiguous is refused."""

from __future__ import annotations

import textwrap

import pytest
import yaml

from modelpack import fields
from modelpack.errors import InputError, ModelpackError, NotFoundError, RefusedError
from modelpack.fields import Loader
from modelpack.target import Target
from modelpack.yamledit import annotate, annotation, edit, find, unannotate

OLD = "registry.local/models/mpg:v1"
NEW = "registry.local/models/mpg:v2@sha256:" + "a" * 64
TARGET = Target("deployment.yaml", "Deployment", "mpg", "model")
BLOCK = textwrap.dedent(
    """\
    # which model serves
    apiVersion: apps/v1
    kind: Deployment
    metadata:
      name: mpg
    spec:
      template:
        metadata:
          labels: {app: mpg}
        spec:
          initContainers:
          - name: other
            image: registry.local/models/mpg:v1
          - name: model   # the model
            image: @IMAGE@   # what a bump rewrites
            args: [a,   b]
          containers:
          - {name: server, image: 'registry.local/models/mpg:v1'}
    """
)
FLOW = (
    '{"kind":"Deployment","metadata":{"name":"mpg"},"spec":{"template":{"spec":{"initContainers":'
    '[{"image":"x:1","name":"other"},{"image":@IMAGE@,"name":"model"}]}}}}'
)
FLOW_LIST = BLOCK.replace(
    "\n      - name: other\n        image: registry.local/models/mpg:v1\n      - name: model   # the model\n"
    "        image: @IMAGE@   # what a bump rewrites\n        args: [a,   b]\n",
    " [{name: other, image: registry.local/models/mpg:v1}, {image: @IMAGE@, name: model}] # flow\n",
)
SERVICE = "kind: Service\nmetadata: {name: mpg}\n"


def around(template: str, before: str = "", after: str = "") -> str:
    return before + template + after


@pytest.mark.parametrize("quote", ["", "'", '"'], ids=["plain", "single", "double"])
@pytest.mark.parametrize(
    "file",
    [
        pytest.param(BLOCK, id="block"),
        pytest.param(FLOW_LIST, id="flow list"),
        pytest.param(BLOCK.rstrip("\n"), id="no final newline"),
        pytest.param(BLOCK.replace("\n", "\r\n"), id="crlf"),
        pytest.param("\ufeff" + BLOCK, id="byte order mark"),
        pytest.param("# 🚗 é 漢 \t tab\n" + BLOCK.replace("other", "ötherß😀"), id="unicode before"),
        pytest.param(around(BLOCK, SERVICE + "---\n", "---\n" + SERVICE), id="several documents"),
        pytest.param(around(BLOCK, "---\n---\n# empty\n---\n", "...\n---\n"), id="empty documents"),
        pytest.param("%YAML 1.1\n---\n" + BLOCK, id="directive"),
        pytest.param(BLOCK.replace("@IMAGE@", "!!str @IMAGE@"), id="tag"),
        pytest.param(BLOCK.replace("@IMAGE@", "&image @IMAGE@"), id="anchor that nobody uses"),
        pytest.param("x: &x {a: 1}\ny: *x\n---\n" + BLOCK, id="aliases elsewhere"),
        pytest.param("a: 1\na: 2\n---\n" + BLOCK, id="duplicate key in another document"),
        pytest.param("x: !Ref y\nz: .nan\n---\n" + BLOCK, id="foreign tags"),
        pytest.param(
            "kind: List\nitems:\n- " + BLOCK.replace("\n", "\n  ").rstrip() + "\n- kind: Service\n",
            id="list of objects",
        ),
        pytest.param(BLOCK.replace("@IMAGE@", "\n          @IMAGE@"), id="on the next line"),
    ],
)
@pytest.mark.parametrize("loader", sorted({"SafeLoader", Loader.__name__}))
def test_edit_replaces_only_the_value(file: str, quote: str, loader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "Loader", getattr(yaml, loader))
    template = file.encode()
    before = template.replace(b"@IMAGE@", f"{quote}{OLD}{quote}".encode())
    expected = template.replace(b"@IMAGE@", f"{quote}{NEW}{quote}".encode())
    site = find(before, "d.yaml", TARGET)
    assert site.value == OLD
    assert before[site.start : site.end].decode() == f"{quote}{OLD}{quote}"
    assert site.line == before[: site.start].count(b"\n") + 1
    assert edit(before, "d.yaml", TARGET, NEW) == expected
    assert edit(expected, "d.yaml", TARGET, NEW) == expected


VOLUME = Target("deployment.yaml", "Deployment", "mpg", volume="model")
VOLUMES = textwrap.dedent(
    """\
    kind: Deployment
    metadata: {name: mpg}
    spec:
      template:
        spec:
          initContainers: [{name: model, image: "registry.local/models/mpg:v1"}]
          volumes:
          - name: cache
            emptyDir: {}
          - name: other
            image: {reference: registry.local/models/mpg:v1}
          - name: model   # the model
            image:   # an image volume
              pullPolicy: IfNotPresent
              reference: @IMAGE@   # what a bump rewrites
    """
)
VOLUME_LINES = VOLUMES[VOLUMES.index("image:   #") :]


@pytest.mark.parametrize("quote", ["", "'", '"'], ids=["plain", "single", "double"])
@pytest.mark.parametrize(
    "file",
    [
        pytest.param(VOLUMES, id="block"),
        pytest.param(VOLUMES.rstrip("\n"), id="no final newline"),
        pytest.param("\ufeff" + VOLUMES.replace("\n", "\r\n"), id="crlf, byte order mark"),
        pytest.param(VOLUMES.replace(VOLUME_LINES, "image: {reference: @IMAGE@, pullPolicy: Always} # f\n"), id="flow"),
        pytest.param(VOLUMES.replace(VOLUME_LINES, "image: &v {reference: &r !!str @IMAGE@}\n"), id="anchors unused"),
        pytest.param(
            VOLUMES.replace("{reference: registry", "&o {reference: registry") + "x: *o\n", id="alias elsewhere"
        ),
        pytest.param(SERVICE + "---\n" + VOLUMES + "---\n" + SERVICE, id="several documents"),
    ],
)
def test_edit_replaces_only_an_image_volumes_reference(file: str, quote: str) -> None:
    before, expected = (file.replace("@IMAGE@", f"{quote}{image}{quote}").encode() for image in (OLD, NEW))
    site = find(before, "d.yaml", VOLUME)
    assert (site.value, before[site.start : site.end].decode()) == (OLD, f"{quote}{OLD}{quote}")
    assert edit(before, "d.yaml", VOLUME, NEW) == expected
    assert edit(expected, "d.yaml", VOLUME, NEW) == expected


PLAIN_VOLUMES = VOLUMES.replace("@IMAGE@", OLD)
PLAIN_LINES = VOLUME_LINES.replace("@IMAGE@", OLD)


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        (PLAIN_LINES, "emptyDir: {}\n", NotFoundError, "d.yaml:12: volume 'model' is no image volume, it has emptyDir; give it image"),  # noqa: E501
        (PLAIN_LINES, "\n", NotFoundError, "d.yaml:12: volume 'model' is no image volume, it has nothing"),
        (PLAIN_LINES, f"image: {OLD}\n", InputError, "d.yaml:13: volume 'model': image is not what it should be, a mapping"),  # noqa: E501
        (PLAIN_LINES, "image: {pullPolicy: Always}\n", NotFoundError, "d.yaml:13: volume 'model' has no reference"),
        (PLAIN_LINES, "image: &v {reference: a}\nx: *v\n", RefusedError, "d.yaml:13: is shared through an anchor"),
        (PLAIN_LINES, "image: {<<: {reference: a}}\n", RefusedError, "d.yaml:13: 'reference' may come in through a merge"),  # noqa: E501
        (PLAIN_LINES, "<<: {image: {reference: a}}\n", RefusedError, "d.yaml:13: 'image' may come in through a merge key"),  # noqa: E501
        (PLAIN_LINES, "image: {reference: a}\n        image: {reference: b}\n", RefusedError, "d.yaml:14: key 'image' is given twice"),  # noqa: E501
        ("name: cache", "name: model", RefusedError, "d.yaml:12: there is a second volume 'model'"),
        ("name: model   #", "name: modle   #", NotFoundError, "d.yaml:8: Deployment mpg has no volume 'model'; did you mean 'modle'?"),  # noqa: E501
        ("volumes:", "volumez:", NotFoundError, "d.yaml:6: Deployment mpg has no volumes; did you mean 'volumez'?"),
    ],
)  # fmt: skip
def test_edit_refuses_what_is_no_image_volume(old: str, new: str, error: type[ModelpackError], words: str) -> None:
    assert old in PLAIN_VOLUMES
    with pytest.raises(error) as caught:
        edit(PLAIN_VOLUMES.replace(old, new).encode(), "d.yaml", VOLUME, NEW)
    assert words in str(caught.value)


def test_edit_of_json() -> None:
    before = FLOW.replace("@IMAGE@", f'"{OLD}"').encode()
    assert edit(before, "d.json", TARGET, NEW) == FLOW.replace("@IMAGE@", f'"{NEW}"').encode()


@pytest.mark.parametrize("style", [">-", "|", ">2-", "|-  # comment"])
def test_edit_inside_a_block_scalar(style: str) -> None:
    block = BLOCK.replace("@IMAGE@   # what a bump rewrites", f"{style}\n          @IMAGE@").replace("\n", "\r\n")
    before, expected = (block.replace("@IMAGE@", image).encode() for image in (OLD, NEW))
    assert edit(before, "d.yaml", TARGET, NEW) == expected


def test_edit_gives_a_number_its_text() -> None:
    before = BLOCK.replace("@IMAGE@", "1.10").encode()
    assert edit(before, "d.yaml", TARGET, NEW) == BLOCK.replace("@IMAGE@", NEW).encode()


def test_edit_takes_a_long_list_of_documents() -> None:
    many = "".join(f"---\nkind: ConfigMap\nmetadata: {{name: c{i}}}\n" for i in range(2000))
    text = many + "---\n" + BLOCK
    assert edit(text.replace("@IMAGE@", OLD).encode(), "d.yaml", TARGET, NEW) == text.replace("@IMAGE@", NEW).encode()


PLAIN = BLOCK.replace("@IMAGE@", OLD)


@pytest.mark.parametrize(
    ("file", "error", "words"),
    [
        ("", NotFoundError, "d.yaml:1: there is no Deployment mpg"),
        (SERVICE, NotFoundError, "d.yaml:1: there is no Deployment mpg; found: Service mpg (line 1)"),
        ("a: [\n", InputError, "d.yaml:2: is not YAML"),
        ("a: \xff".encode("latin-1"), InputError, "d.yaml:1: is not UTF-8"),
        ("a: {{ .Values.x }}\nb: {{- x\n", RefusedError, "is a template"),
        (PLAIN.replace("name: model ", "name: modle "), NotFoundError, "d.yaml:12: Deployment mpg has no init container 'model'; did you mean 'modle'?"),  # noqa: E501
        (PLAIN.replace("initContainers", "containers_"), NotFoundError, "d.yaml:11: Deployment mpg has no initContainers"),  # noqa: E501
        (PLAIN.replace("        image: registry.local/models/mpg:v1   #", "        #"), NotFoundError, "has no image; found here: name, args"),  # noqa: E501
        (PLAIN.replace(f"image: {OLD}   #", "image:   #"), NotFoundError, "d.yaml:15: init container 'model' has no image"),  # noqa: E501
        (PLAIN.replace(f"image: {OLD}   #", "image: [x]   #"), InputError, "d.yaml:15: init container 'model': image is not what"),  # noqa: E501
        (PLAIN + "---\n" + PLAIN, RefusedError, "d.yaml:21: there is a second Deployment mpg, the first is on line 2"),
        (PLAIN.replace("name: other", "name: model"), RefusedError, "d.yaml:14: there is a second init container"),
        (PLAIN.replace("        args:", f"        image: {OLD}\n        args:"), RefusedError, "d.yaml:16: key 'image' is given twice"),  # noqa: E501
        (PLAIN + "spec: {}\n", RefusedError, "key 'spec' is given twice"),
        (PLAIN.replace(f"model   # the model\n        image: {OLD}", f"model\n        image: &i {OLD}") + "x: [*i]\n", RefusedError, "shared through an anchor"),  # noqa: E501
        (PLAIN.replace(f"image: {OLD}", f"image: &i {OLD}", 1).replace(f"image: {OLD}   #", "image: *i   #"), RefusedError, "shared through an anchor"),  # noqa: E501
        (PLAIN.replace("  template:\n", "  template: &t\n") + "x: *t\n", RefusedError, "shared through an anchor"),
        (PLAIN.replace(f"image: {OLD}   #", "<<: {image: x}   #"), RefusedError, "merge key"),
        (PLAIN.replace(f"image: {OLD}   #", "image: >\n          a\n          b\n        #"), RefusedError, "folded"),
        (PLAIN + "sops: {mac: abc}\n", RefusedError, "SOPS"),
    ],
)  # fmt: skip
def test_edit_refuses(file: str | bytes, error: type[ModelpackError], words: str) -> None:
    data = file if isinstance(file, bytes) else file.encode()
    with pytest.raises(error) as caught:
        edit(data, "d.yaml", TARGET, NEW)
    assert words in str(caught.value)


def test_edit_tells_namespaces_apart() -> None:
    other = PLAIN.replace("  name: mpg", "  name: mpg\n  namespace: staging")
    both = f"{other}---\n{other.replace('staging', 'production')}".encode()
    target = Target("d.yaml", "Deployment", "mpg", "model", "production")
    assert find(both, "d.yaml", target).line > len(other.splitlines())
    with pytest.raises(RefusedError):
        find(both, "d.yaml", TARGET)


@pytest.mark.parametrize("image", ["", "a b", "a: b", "x#", "'x'", "-", "&a"])
def test_edit_refuses_an_image_that_is_none(image: str) -> None:
    with pytest.raises(InputError):
        edit(PLAIN.encode(), "d.yaml", TARGET, image)


KEY, VALUE = "modelpack.dev/rollback", "sha256:" + "b" * 64
HEAD = "kind: Deployment\nmetadata: {name: mpg}\nspec:\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  template:\n    spec: {}\n", f'  template:\n    metadata:\n      annotations:\n        {KEY}: "{VALUE}"\n    spec: {{}}\n'),  # noqa: E501
        (
            "  template: # t\n      # about m\n      metadata: # m\n          labels: {a: b}\n",
            "  template: # t\n      # about m\n      metadata: # m\n"
            f'          annotations:\n            {KEY}: "{VALUE}"\n          labels: {{a: b}}\n',
        ),
        ("  template:\n    metadata: {labels: {a: b}}\n", f'  template:\n    metadata: {{annotations: {{{KEY}: "{VALUE}"}}, labels: {{a: b}}}}\n'),  # noqa: E501
        ("  template: {}\n", f'  template: {{metadata: {{annotations: {{{KEY}: "{VALUE}"}}}}}}\n'),
        (
            "  template:\n    ? a\n    : b\n    c: d",
            f'  template:\n    metadata:\n      annotations:\n        {KEY}: "{VALUE}"\n    ? a\n    : b\n    c: d',
        ),
        ("  template:\n    metadata:\n", f'  template:\n    metadata: {{annotations: {{{KEY}: "{VALUE}"}}}}\n'),
        ("  template:\n    metadata:\n      annotations: # c\n", f'  template:\n    metadata:\n      annotations: {{{KEY}: "{VALUE}"}} # c\n'),  # noqa: E501
        ("  template:\n    metadata:\n      annotations: ~\n", f'  template:\n    metadata:\n      annotations: {{{KEY}: "{VALUE}"}}\n'),  # noqa: E501
        ("  template: {metadata: {annotations: {}}}\n", f'  template: {{metadata: {{annotations: {{{KEY}: "{VALUE}"}}}}}}\n'),  # noqa: E501
        (
            "  template:\n    metadata:\n      annotations:\n        # why\n        a: b",
            f'  template:\n    metadata:\n      annotations:\n        {KEY}: "{VALUE}"\n        # why\n        a: b',
        ),
        (f"  template: {{metadata: {{annotations: {{{KEY}: 'x'}}}}}}\n", f"  template: {{metadata: {{annotations: {{{KEY}: '{VALUE}'}}}}}}\n"),  # noqa: E501
        (f"  template: {{metadata: {{annotations: {{{KEY}: }}}}}}\n", f'  template: {{metadata: {{annotations: {{{KEY}:  "{VALUE}"}}}}}}\n'),  # noqa: E501
        (f"  template: {{metadata: {{annotations: {{{KEY}: 1}}}}}}\n", f"  template: {{metadata: {{annotations: {{{KEY}: {VALUE}}}}}}}\n"),  # noqa: E501
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_annotate_inserts_the_least(before: str, after: str, end: str) -> None:
    data, expected = ((HEAD + text).replace("\n", end).encode() for text in (before, after))
    assert annotate(data, "d.yaml", TARGET, KEY, VALUE).decode() == expected.decode()
    assert annotate(expected, "d.yaml", TARGET, KEY, VALUE) == expected


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ("  template: &t {metadata: {}}\nx: *t\n", RefusedError),
        ("  template:\n    metadata: &m {labels: {}}\nx: *m\n", RefusedError),
        ("  template:\n    metadata: [a]\n", InputError),
        ("  template:\n    metadata:\n      annotations:\n        <<: {a: b}\n", RefusedError),
    ],
)
def test_annotate_refuses(template: str, error: type[ModelpackError]) -> None:
    with pytest.raises(error):
        annotate((HEAD + template).encode(), "d.yaml", TARGET, KEY, VALUE)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "template",
    [
        "  template:\n    spec: {}\n",
        "  template: # t\n      # about m\n      metadata: # m\n          labels: {a: b}\n",
        "  template:\n    metadata: {labels: {a: b}}\n",
        "  template: {}\n",
        "  template: {spec: {}}",
        "  template:\n    metadata:\n      annotations: # a\n        # about b\n        b: c # d\n\n      labels: {}\n",
        "  template:\n    metadata:\n      annotations: {b: c}\n---\nkind: Service\n",
    ],
)
def test_unannotate_undoes_annotate(template: str, end: str) -> None:
    before = (HEAD + template).replace("\n", end).encode()
    marked = annotate(before, "d.yaml", TARGET, KEY, VALUE)
    assert (annotation(before, "d.yaml", TARGET, KEY), annotation(marked, "d.yaml", TARGET, KEY)) == ("", VALUE)
    assert unannotate(marked, "d.yaml", TARGET, KEY) == before
    assert unannotate(before, "d.yaml", TARGET, KEY) == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"\n        b: c\n        # why\n        {KEY}: x # y\n", "\n        b: c\n        # why\n"),
        (f"\n        b: c\n        {KEY}: x", "\n        b: c\n"),
        (f"\n        {KEY}: |\n          x\n        b: c\n", "\n        b: c\n"),
        (f" {{b: c, {KEY}: x}}\n", " {b: c}\n"),
        (f" {{b: c, {KEY}: x , d: e}}\n", " {b: c, d: e}\n"),
        (f" {{{KEY}: x, ? ''\n          : c}}\n", " {? ''\n          : c}\n"),
    ],
)  # fmt: skip
def test_unannotate_takes_one_entry(before: str, after: str) -> None:
    start = HEAD + "  template:\n    metadata:\n      annotations:"
    assert unannotate((start + before).encode(), "d.yaml", TARGET, KEY) == (start + after).encode()


def test_unannotate_refuses_what_an_alias_shares() -> None:
    shared = f"  template:\n    metadata:\n      annotations: &a\n        {KEY}: x\nother: *a\n"
    with pytest.raises(RefusedError):
        unannotate((HEAD + shared).encode(), "d.yaml", TARGET, KEY)
