"""A target says which place of which file a bump rewrites; whatever it says wrongly is named with its line."""

from __future__ import annotations

import pytest

from modelpack.errors import InputError
from modelpack.fields import read
from modelpack.target import Target, parse_target, read_target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("name: mpg, initContainer: model", Target("d.yaml", "Deployment", "mpg", init_container="model")),
        ("kind: CronJob, name: mpg, namespace: n, container: c", Target("d.yaml", "CronJob", "mpg", namespace="n", container="c")),  # noqa: E501
        ("kind: Rollout, name: mpg, volume: v", Target("d.yaml", "Rollout", "mpg", volume="v")),
        ("kind: InferenceService, name: mpg", Target("d.yaml", "InferenceService", "mpg")),
        ("images: a/b", Target("d.yaml", images="a/b")),
        ("values: image.ref", Target("d.yaml", values=(("image", "image.ref"),))),
        ("values: {digest: d, tag: t, repository: r}", Target("d.yaml", values=(("repository", "r"), ("tag", "t"), ("digest", "d")))),  # noqa: E501
        ("kind: HelmRelease, name: mpg, values: a", Target("d.yaml", "HelmRelease", "mpg", values=(("image", "a"),))),
        ("marker: 'ns:policy'", Target("d.yaml", marker="ns:policy")),
        ("setter: tag, part: tag", Target("d.yaml", setter="tag", part="tag")),
        ("path: a.b", Target("d.yaml", path="a.b")),
        ("kind: Thing, name: mpg, path: a.b, part: digest", Target("d.yaml", "Thing", "mpg", path="a.b", part="digest")),  # noqa: E501
    ],
)  # fmt: skip
def test_a_target_is_read_from_a_file_and_from_the_command_line(text: str, target: Target) -> None:
    assert parse_target(f"file: d.yaml, {text}") == target
    assert parse_target(f" {{file: d.yaml, {text}}} ") == target
    assert read_target(read(f"{{file: ./d.yaml, {text}}}", "model.yaml")) == target


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("images: a", "--target:1: file: is missing"),
        ("file: d.yaml, name: mpg", "--target:1: initContainer: is missing; name what holds the model by one of initContainer"),  # noqa: E501
        ("file: d.yaml, initContainer: model", "--target:1: name: is missing"),
        ("file: d.yaml, name: mpg, volum: v", "--target:1: volum: is not a known key; did you mean 'volume'?"),
        ("file: d.yaml, name: mpg, volume: v, container: c", "--target:1: volume: stands beside container; a target has one"),  # noqa: E501
        ("file: /etc/d.yaml, images: a", "'/etc/d.yaml' is not a path inside the repository"),
        ("file: a/../../d.yaml, images: a", "is not a path inside the repository"),
        ("file: .Git/config, images: a", "is not a path inside the repository"),
        ('file: "a\\nb", images: a', "is not a path inside the repository"),
        ("file: '', images: a", "is not a path inside the repository"),
        ("file: d.yaml, images: ''", "images: is empty"),
        ("file: d.yaml, images: a, kind: Kustomization", "kind: means nothing beside images"),
        ("file: d.yaml, images: a, name: b", "name: means nothing beside images without a kind"),
        ("file: d.yaml, path: a, namespace: b", "namespace: means nothing beside path without a kind"),
        ("file: d.yaml, kind: Deploymnt, name: a, container: b", "did you mean 'Deployment'?"),
        ("file: d.yaml, kind: InferenceService, name: a, container: b", "container: is nothing that an InferenceService has"),  # noqa: E501
        ("file: d.yaml, kind: Deployment, name: a, values: b", "kind: 'Deployment' is not one of HelmRelease, Application"),  # noqa: E501
        ("file: d.yaml, values: {repository: a}", "values: names no part that changes"),
        ("file: d.yaml, values: {image: a, tag: b}", "values: names no part that changes"),
        ("file: d.yaml, values: {tagg: a, digest: b}", "values.tagg: is not a known key; did you mean 'tag'?"),
        ("file: d.yaml, images: a, part: tag", "part: goes with setter or path alone"),
        ("file: d.yaml, path: a, part: tga", "part: 'tga' is not one of"),
        ("file: d.yaml, marker: policy", "marker: 'policy' is no image policy; write it as namespace:name"),
        ("file: d.yaml, marker: 'a:b:tag'", "marker: 'a:b:tag' is no image policy"),
        ("file: d.yaml, setter: '${tag}'", "setter: '${tag}' is no setter's name"),
        ("file: d.yaml, path: [a]", "path: is not a text"),
        ("file: d.yaml}, {file: e.yaml", "--target"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_target(text)
    assert words in str(caught.value)


HOSTILE = {
    "a new line": "file: a\nimages: b",
    "a new line in a name": 'file: "a\\nb", images: x',
    "a colour": 'file: "\\e[31mred", images: x',
    "above": "file: ../../etc/passwd, images: x",
    "git's own": "file: .git/config, images: x",
    "a device": "file: /dev/zero, images: x",
    "a key twice": "file: a, file: b, images: x",
    "another document": "file: a, images: x}\n---\n{file: b, images: y",
    "a merge key": "<<: {file: d}, images: x",
    "an alias to nothing": "file: *x, images: y",
    "an object": "file: !!python/object/apply:os.system [id], images: x",
    "a bomb": "a: &a [x, x], b: &b [" + "*a, *a, " * 50_000 + "*a], c: [" + "*b, " * 50_000 + "*b], file: d, images: x",
    "deep": "[" * 10_000_000,
    "a name without an end": "file: " + "../" * 300_000 + ", images: x",
    "a word without an end": "x" * 10_000_000,
    "a kind without an end": "file: d, kind: " + "D" * 1_000_000 + ", name: x, container: y",
    "bytes that are no UTF-8": b"file: \xff\xfe, images: x".decode(errors="surrogateescape"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_target_is_refused_in_one_sentence(what: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_target(HOSTILE[what])
    said = str(caught.value)
    assert said.startswith("--target") and said.isprintable() and len(said) < 2100
