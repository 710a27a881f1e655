"""On any manifest that PyYAML writes, an edit means to a reference parser what was wanted; no other byte changes."""

from __future__ import annotations

import copy
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpack.target import Target
from modelpack.yamledit import annotate, edit, find, unannotate

TARGET = Target("d.yaml", "Deployment", "mpg", "model")
VOLUME = Target("d.yaml", "Deployment", "mpg", volume="model")
NEW = "registry.local/models/mpg:v2@sha256:" + "a" * 64
KEY = "modelpack.dev/rollback"

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["1.10", "yes", "a: b", "# x", "é😀", "- x"]
)
VALUES = st.recursive(
    TEXT | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
EXTRA = st.dictionaries(TEXT.filter(lambda key: key not in ("<<", "kind", "metadata")), VALUES, max_size=2)
IMAGES = st.sampled_from(["reg/x:v1", "1.10", "yes", "registry.local/models/mpg:v1@sha256:" + "b" * 64])


@st.composite
def manifests(draw: st.DrawFn) -> list[Any]:
    others = draw(st.lists(st.fixed_dictionaries({"name": TEXT.filter(lambda name: name != "model")}), max_size=2))
    model = draw(EXTRA) | {"name": "model", "image": draw(IMAGES)}
    containers = draw(st.permutations([*others, model]))
    volume = draw(EXTRA) | {"name": "model", "image": draw(EXTRA) | {"reference": draw(IMAGES)}}
    volumes = draw(st.permutations([*others, volume]))
    pod = draw(EXTRA) | {"initContainers": containers, "containers": [{"image": model["image"]}], "volumes": volumes}
    template: dict[str, Any] = draw(EXTRA) | {"spec": pod}
    if draw(st.booleans()):
        template["metadata"] = draw(st.just({}) | st.just({"annotations": None}) | st.just({"annotations": {"a": "b"}}))
    deployment = draw(EXTRA) | {"kind": "Deployment", "metadata": {"name": "mpg"}, "spec": {"template": template}}
    documents: list[Any] = draw(st.lists(EXTRA | st.none(), max_size=2))
    documents.insert(draw(st.integers(0, len(documents))), deployment)
    return documents


@st.composite
def files(draw: st.DrawFn) -> tuple[list[Any], bytes]:
    documents = draw(manifests())
    text = yaml.dump_all(
        documents,
        Dumper=yaml.SafeDumper,
        default_flow_style=draw(st.sampled_from([None, True, False])),
        default_style=draw(st.sampled_from([None, "'", '"'])),
        indent=draw(st.integers(2, 5)),
        width=draw(st.sampled_from([20, 80, 10_000])),
        allow_unicode=draw(st.booleans()),
        explicit_start=True,
        line_break=draw(st.sampled_from(["\n", "\r\n"])),
        sort_keys=False,
    )
    return documents, (b"\xef\xbb\xbf" if draw(st.booleans()) else b"") + text.encode()


def deployment_of(documents: list[Any]) -> Any:
    return next(each for each in documents if each and each.get("kind") == "Deployment")


def load(data: bytes) -> list[Any]:
    return list(yaml.load_all(data.decode("utf-8-sig"), Loader=yaml.SafeLoader))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(files(), st.sampled_from([TARGET, VOLUME]))
def test_edit_agrees_with_a_reference_parser(file: tuple[list[Any], bytes], target: Target) -> None:
    _, data = file
    expected = copy.deepcopy(load(data))
    pod = deployment_of(expected)["spec"]["template"]["spec"]
    if target.volume:
        next(each for each in pod["volumes"] if each["name"] == "model")["image"]["reference"] = NEW
    else:
        next(each for each in pod["initContainers"] if each["name"] == "model")["image"] = NEW
    site = find(data, "d.yaml", target)
    after = edit(data, "d.yaml", target, NEW)
    assert load(after) == expected
    assert (after[: site.start], after[len(after) - len(data) + site.end :]) == (data[: site.start], data[site.end :])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(files())
def test_annotate_agrees_with_a_reference_parser(file: tuple[list[Any], bytes]) -> None:
    _, data = file
    expected = copy.deepcopy(load(data))
    metadata = deployment_of(expected)["spec"]["template"].setdefault("metadata", {})
    metadata["annotations"] = (metadata.get("annotations") or {}) | {KEY: "sha256:x"}
    assert load(annotate(data, "d.yaml", TARGET, KEY, "sha256:x")) == expected


@settings(max_examples=150, deadline=None, derandomize=True)
@given(files())
def test_unannotate_takes_back_what_annotate_did(file: tuple[list[Any], bytes]) -> None:
    _, data = file
    expected = copy.deepcopy(load(data))
    template = deployment_of(expected)["spec"]["template"]
    metadata = template.get("metadata")
    if metadata is not None and not metadata.get("annotations"):
        metadata.pop("annotations", None)
        if not metadata:
            template.pop("metadata")
    assert load(unannotate(annotate(data, "d.yaml", TARGET, KEY, "sha256:x"), "d.yaml", TARGET, KEY)) == expected
