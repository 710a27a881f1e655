"""Where a target's workload runs, by the files beside it."""

from __future__ import annotations

import pytest

from modelpack.gitops.place import Place, place_of, whole
from modelpack.reference import Reference
from modelpack.target import Target, parse_target

KUSTOMIZATION = "overlays/staging/kustomization.yaml"
DEPLOYMENT = "kind: Deployment\nmetadata: {name: mpg, namespace: of-the-object}\n"
RELEASE = "kind: HelmRelease\nmetadata: {name: mpg, namespace: flux}\nspec: {targetNamespace: serving}\n"
APPLICATION = "kind: Application\nmetadata: {name: mpg, namespace: argo}\nspec: {destination: {namespace: serving}}\n"


def target(text: str) -> Target:
    return parse_target(text)


@pytest.mark.parametrize(
    ("text", "files", "place"),
    [
        (f"file: {KUSTOMIZATION}, images: a/b", {KUSTOMIZATION: "namespace: staging"}, Place("staging")),
        (f"file: {KUSTOMIZATION}, images: a/b", {KUSTOMIZATION: "resources: [..]"}, Place()),
        (
            "file: overlays/staging/model.yaml, name: mpg, initContainer: model, namespace: of-the-file",
            {KUSTOMIZATION: "namespace: staging\nnamePrefix: a-\nnameSuffix: -z", "overlays/staging/model.yaml": ""},
            Place("staging", "a-mpg-z"),
        ),
        (
            "file: overlays/staging/model.yaml, name: mpg, initContainer: model",
            {"overlays/staging/kustomization.yml": "", "overlays/staging/model.yaml": f"---\n{DEPLOYMENT}"},
            Place("of-the-object", "mpg"),
        ),
        ("file: d.yaml, name: mpg, initContainer: model, namespace: n", {"d.yaml": DEPLOYMENT}, Place("n", "mpg")),
        ("file: d.yaml, name: other, initContainer: model", {"d.yaml": DEPLOYMENT}, Place("", "other")),
        ("file: d.yaml, name: gone, initContainer: model", {}, Place("", "gone")),
        ("file: r.yaml, kind: HelmRelease, name: mpg, values: image.tag", {"r.yaml": RELEASE}, Place("serving")),
        ("file: a.yaml, kind: Application, name: mpg, values: image.tag", {"a.yaml": APPLICATION}, Place("serving")),
        ("file: values.yaml, values: image.tag", {"values.yaml": "image: {tag: v1}"}, Place()),
    ],
)
def test_place(text: str, files: dict[str, str], place: Place) -> None:
    assert place_of({path: data.encode() for path, data in files.items()}.get, target(text)) == place


@pytest.mark.parametrize(
    ("place", "holds"),
    [
        (Place(), True),
        (Place("staging"), True),
        (Place("staging", "mpg"), True),
        (Place("production"), False),
        (Place("staging", "x"), False),
    ],
)
def test_a_canary_belongs_where_nothing_speaks_against_it(place: Place, holds: bool) -> None:
    assert place.holds("staging", "mpg") is holds


@pytest.mark.parametrize(
    ("value", "image"),
    [
        ("v2", "reg.local/mpg:v2"),
        ("v2@sha256:1", "reg.local/mpg:v2@sha256:1"),
        ("@sha256:1", "reg.local/mpg@sha256:1"),
        ("mpg:v2", "mpg:v2"),
        ("other.local/mpg@sha256:1", "other.local/mpg@sha256:1"),
        ("", ""),
    ],
)
def test_a_tag_alone_is_of_the_models_own_image(value: str, image: str) -> None:
    assert whole(value, Reference.parse("reg.local/mpg")) == image
