"""What to rehearse is found in a repository's files."""

from __future__ import annotations

import pytest

from modelpack.errors import InputError, ModelpackError, NotFoundError
from modelpack.gitops import ANNOTATION_ROLLBACK as ROLLBACK
from modelpack.reference import Reference
from modelpack.rehearse.plan import read_plan
from tests.fakes import serving


def test_everything_is_read_from_the_tip() -> None:
    plan = serving.plan("v1")
    assert (plan.definition.name, plan.canary.name, str(plan.image)) == ("mpg", "mpg", f"{serving.IMAGE}:v1")
    assert (plan.gate.decode(), plan.golden.decode(), plan.traffic) == (serving.GATE, serving.GOLDEN, b"")
    assert plan.hash == serving.plan("v1", model=serving.MODEL + "# changed\n").hash != serving.plan("v2").hash


def test_files_that_a_check_may_need_are_read() -> None:
    tip = serving.files("v1") | {"model-images/mpg/reference.json": b"{}"}
    assert (read_plan(tuple(tip), tip.get).others, serving.plan("v1").others) == ({"reference.json": b"{}"}, {})


def test_a_reference_takes_the_place_of_gits_image() -> None:
    tip = serving.files("v1")
    plan = read_plan(tuple(tip), tip.get, Reference.parse(f"{serving.IMAGE}:v2"))
    assert str(plan.image) == plan.workload.image == f"{serving.IMAGE}:v2"
    assert plan.hash == serving.plan("v2").hash


def test_a_reference_takes_the_place_of_an_image_volumes() -> None:
    first, second = (
        serving.files(version, model=serving.MOUNTED_MODEL, deployment=serving.MOUNTED % f"{serving.IMAGE}:{version}")
        for version in ("v1", "v2")
    )
    plan = read_plan(tuple(first), first.get, Reference.parse(f"{serving.IMAGE}:v2"))
    assert str(plan.image) == f"{serving.IMAGE}:v2"
    assert plan.hash == read_plan(tuple(second), second.get).hash != read_plan(tuple(first), first.get).hash


@pytest.mark.parametrize(
    ("without", "kind", "problem"),
    [
        ("model-images/mpg/model.yaml", NotFoundError, "modelpack init"),
        ("deployment.yaml", NotFoundError, "not in the repository"),
        ("canary.yaml", NotFoundError, "no Canary"),
    ],
)
def test_a_missing_file_is_named(without: str, kind: type[ModelpackError], problem: str) -> None:
    tip = {path: data for path, data in serving.files("v1").items() if path != without}
    with pytest.raises(kind, match=problem):
        read_plan(tuple(tip), tip.get)


def test_several_models_need_a_reference() -> None:
    tip = serving.files("v1")
    other = serving.MODEL.replace("name: mpg}", "name: other}").replace("models/mpg", "models/other")
    tip["model-images/other/model.yaml"] = other.encode()
    with pytest.raises(InputError, match="several models: mpg, other"):
        read_plan(tuple(tip), tip.get)
    assert read_plan(tuple(tip), tip.get, Reference.parse(f"{serving.IMAGE}:v2")).definition.name == "mpg"
    with pytest.raises(NotFoundError, match="no model-images"):
        read_plan(tuple(tip), tip.get, Reference.parse("registry.local/models/none:v1"))


def test_a_rollback_is_for_the_image_that_it_names() -> None:
    digest = "sha256:" + "1" * 64
    tip = serving.files("v1")
    note = f"metadata: {{annotations: {{{ROLLBACK}: '{digest}'}}, labels:".encode()
    marked = tip["deployment.yaml"].replace(b"metadata: {labels:", note)
    assert marked != tip["deployment.yaml"]
    plan = read_plan(tuple(tip), {**tip, "deployment.yaml": marked}.get)
    image = Reference.parse(f"{serving.IMAGE}:v1")
    assert plan.goes_back_to(image.at(tag="v1", digest=digest))
    assert not plan.goes_back_to(image.at(tag="v2", digest="sha256:" + "2" * 64))
    assert not serving.plan("v1").goes_back_to(image)
