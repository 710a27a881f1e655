"""What a ModelSync may say, which runs are its own, what an answer may hold, and the PipelineRun that follows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.errors import InputError
from modelpack.reconcile.answer import MAX_ANSWER, Answer, digest_of, mapped, parse_answer
from modelpack.reconcile.modelsync import State, parse, run_of
from modelpack.reconcile.pipeline_run import build, name_of
from tests.fakes.modelsyncs import TEMPLATE, URL, body, sync


def template(**spec: Any) -> dict[str, Any]:
    return {"spec": {"pipelineRef": {"name": "train"}, **spec}}


@pytest.mark.parametrize("original", [True, False])
def test_a_spec_of_either_group(original: bool) -> None:
    parameters = [{"needsSyncName": "name", "pipelineName": "model"}, {"pipelineName": "data"}]
    found = parse(body(original=original, parameters=parameters, failedPipelineRunsHistoryLimit=3))
    assert found.spec and not found.problem
    assert found.spec.parameters == (("name", "model"), ("data", "data"))
    assert (found.spec.keep_succeeded, found.spec.keep_failed) == (100 if original else 10, 3)
    assert found.api_version == body(original=original)["apiVersion"]


def test_what_only_v1_says() -> None:
    spec = sync(interval="1m30s", repeatAfter="2h", backoffLimit=0, suspend=True).spec
    assert spec and (spec.interval, spec.repeat_after, spec.backoff_limit, spec.suspend) == (90.0, 7200.0, 0, True)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"needsSyncUrl": ""}, "spec.needsSyncUrl: is not the address"),
        ({"needsSyncUrl": None}, "spec.needsSyncUrl: is not the address"),
        ({"needsSyncUrl": "file:///etc/passwd"}, "spec.needsSyncUrl: is not the address"),
        ({"needsSyncUrl": "http://a:99999/"}, "spec.needsSyncUrl: is not the address"),
        ({"needsSyncUrl": "http://a/\n"}, "spec.needsSyncUrl: is not the address"),
        ({"needsSyncUrl": "http://me:secret@a/"}, "spec.needsSyncUrl: holds a login"),
        ({"parameters": "name"}, "spec.parameters: is not a list"),
        ({"parameters": [{}]}, "spec.parameters[0]: names no parameter"),
        ({"parameters": [{"pipelineName": "a"}, {"needsSyncName": "b", "pipelineName": "a"}]}, "a second value for"),
        ({"pipelineRunTemplate": None}, "spec.pipelineRunTemplate: is missing"),
        ({"pipelineRunTemplate": {"metadata": {"name": "x"}, **TEMPLATE}}, "metadata.name: is not to be set"),
        ({"pipelineRunTemplate": {"metadata": {"labels": {"a": 1}}, **TEMPLATE}}, "labels: holds more than texts"),
        ({"pipelineRunTemplate": {"spec": {}}}, "needs one of pipelineRef and pipelineSpec"),
        ({"pipelineRunTemplate": template(pipelineSpec={"tasks": []})}, "needs one of pipelineRef and pipelineSpec"),
        ({"pipelineRunTemplate": template(params=[{"value": "x"}])}, "spec.params[0]: has no name"),
        ({"pipelineRunTemplate": template(resources=[{"name": "repo"}])}, "is what Tekton no longer has"),
        ({"successfulPipelineRunsHistoryLimit": -1}, "-1 is not a whole number from 0"),
        ({"failedPipelineRunsHistoryLimit": True}, "True is not a whole number from 0"),
        ({"identity": [1]}, "spec.identity: is not a list of names"),
        ({"interval": "1y"}, "'1y' is not a duration"),
        ({"interval": ""}, "'' is not a duration"),
    ],
)
def test_a_spec_that_makes_no_sense(spec: dict[str, Any], problem: str) -> None:
    found = sync(**spec)
    assert found.spec is None and problem in found.problem and "secret" not in found.problem


def test_what_moved_between_tektons_versions_is_put_in_its_place_for_the_original_group() -> None:
    old = template(serviceAccountName="trainer", podTemplate={"nodeSelector": {}}, timeout="1h", resources=[])
    spec = parse(body(original=True, pipelineRunTemplate=old)).spec
    assert spec and spec.template["spec"] == {
        "pipelineRef": {"name": "train"},
        "taskRunTemplate": {"serviceAccountName": "trainer", "podTemplate": {"nodeSelector": {}}},
        "timeouts": {"pipeline": "1h"},
    }


# -- runs


def owned(**metadata: Any) -> dict[str, Any]:
    owner = {"apiVersion": "modelpack.dev/v1", "kind": "ModelSync", "name": "mpg", "uid": "u-1", "controller": True}
    return {"metadata": {"name": "mpg-1", "uid": "r-1", "ownerReferences": [owner], **metadata}}


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        ([], State.RUNNING),
        ([{"type": "Succeeded", "status": "Unknown"}], State.RUNNING),
        ([{"type": "Ready", "status": "True"}], State.RUNNING),
        ([{"type": "Succeeded", "status": "True"}], State.SUCCEEDED),
        ([{"type": "Succeeded", "status": "False", "reason": "Cancelled"}], State.FAILED),
    ],
)
def test_the_state_of_a_run_is_its_condition_succeeded(conditions: list[dict[str, str]], state: State) -> None:
    found = run_of({**owned(), "status": {"conditions": conditions}})
    assert found and (found.state, found.owner) == (state, "u-1")


@pytest.mark.parametrize("change", [{"controller": False}, {"kind": "CronJob"}, {"apiVersion": "other.dev/v1"}])
def test_a_run_of_somebody_else(change: dict[str, Any]) -> None:
    found = owned()
    found["metadata"]["ownerReferences"][0] |= change
    assert run_of(found) is None
    assert run_of({"metadata": {"name": "x"}}) is None


def test_annotations_that_somebody_edited_stop_nothing() -> None:
    found = run_of(owned(annotations={"modelpack.dev/number": "many"}, creationTimestamp="yesterday"))
    assert found and (found.number, found.created) == (0, 0.0)


# -- answers


def said(**value: Any) -> bytes:
    return json.dumps({"kind": "NeedsSync", "apiVersion": "v1alpha1", "metadata": {}, **value}).encode()


def test_an_answer() -> None:
    assert parse_answer(200, said(needsSync=False), URL) == Answer(False)
    assert parse_answer(200, said(needsSync=True, parameters={"name": "v2"}), URL) == Answer(True, {"name": "v2"})
    assert parse_answer(200, b'{"needsSync": true, "parameters": null, "errors": []}', URL).needed


@pytest.mark.parametrize(
    ("status", "data", "problem"),
    [
        (200, b"", "did not answer with a JSON object"),
        (200, b"[" * 20_000, "did not answer with a JSON object"),
        (302, b"<html>", "answered 302"),
        (500, said(needsSync=True), "answered 500"),
        (
            500,
            said(needsSync=True, errors=[{"message": "no\x1b[2J model"}]),
            "answered 500 with an error: no?[2J model",
        ),
        (200, said(needsSync=True, errors=["broken"]), "answered 200 with an error: broken"),
        (200, said(needsSync="true"), "true or false in needsSync"),
        (200, said(), "true or false in needsSync"),
        (200, said(needsSync=True, kind="Secret"), "with a Secret, not a NeedsSync"),
        (200, said(needsSync=True, parameters=["a"]), "no mapping"),
        (200, said(needsSync=True, parameters={"a": 1}), "a parameter a that is no text"),
        (200, said(needsSync=True, parameters={"a": "x" * 9000}), "a parameter a that is no text"),
        (200, said(needsSync=True, parameters={str(n): "" for n in range(101)}), "at most 100"),
        (200, b" " * (MAX_ANSWER + 1), "more than 64 KiB"),
    ],
)
def test_an_answer_that_is_none(status: int, data: bytes, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_answer(status, data, URL)
    assert problem in str(caught.value)


@given(st.integers(100, 599), st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_do_anything_but_answer_or_be_refused(status: int, data: bytes) -> None:
    try:
        assert parse_answer(status, data, URL).needed in (True, False)
    except InputError as error:
        assert str(error).isprintable()


# -- the PipelineRun


def test_only_mapped_parameters_reach_the_pipeline() -> None:
    spec = sync(parameters=[{"needsSyncName": "name", "pipelineName": "model"}]).spec
    assert spec and mapped(spec, Answer(True, {"name": "v2", "other": "x"}))[0] == {"model": "v2"}


def test_what_a_need_is_about() -> None:
    names = [{"pipelineName": "id"}, {"pipelineName": "run"}]
    one, other = (Answer(True, {"id": "a", "run": each}) for each in "xy")
    every, some = sync(parameters=names).spec, sync(parameters=names, identity=["id"]).spec
    assert every and some
    assert mapped(every, one)[1] != mapped(every, other)[1]
    assert mapped(some, one)[1] == mapped(some, other)[1]
    with pytest.raises(InputError, match="not its parameter id"):
        mapped(some, Answer(True, {"run": "x"}))


@pytest.mark.parametrize("parameters", [{}, {"name": ""}, {"model": "v2"}])
def test_a_mapped_parameter_without_a_value_is_refused(parameters: dict[str, str]) -> None:
    spec = sync(parameters=[{"needsSyncName": "name", "pipelineName": "model"}]).spec
    assert spec
    with pytest.raises(InputError, match="not its parameter name"):
        mapped(spec, Answer(True, parameters))


def test_the_run_keeps_the_template() -> None:
    params = [{"name": "model", "value": "old"}, {"name": "files", "value": ["a", "b"]}]
    metadata = {"labels": {"team": "a", "modelpack.dev/modelsync": "x"}, "annotations": {"why": "age"}}
    made = build(
        sync(pipelineRunTemplate={"metadata": metadata, **template(params=params, timeouts={"pipeline": "1h"})}),
        number=3,
        attempt=2,
        digest="d",
        parameters={"model": "v2", "data": "dvc:1"},
    )
    assert made["spec"] == {
        "pipelineRef": {"name": "train"},
        "timeouts": {"pipeline": "1h"},
        "params": [{"name": "model", "value": "v2"}, params[1], {"name": "data", "value": "dvc:1"}],
    }
    assert made["metadata"]["labels"] == {
        "team": "a",
        "modelpack.dev/modelsync": "mpg",
        "app.kubernetes.io/managed-by": "modelpack",
    }
    assert made["metadata"]["annotations"]["why"] == "age"
    found = run_of({**made, "metadata": {**made["metadata"], "uid": "r"}})
    assert found and (found.owner, found.number, found.attempt, found.digest) == ("u-1", 3, 2, "d")


@given(st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,250}[a-z0-9])?", fullmatch=True), st.integers(1, 10**9))
def test_a_runs_name_is_a_label_that_follows_from_its_number(name: str, number: int) -> None:
    data = body()
    data["metadata"]["name"] = name
    made = name_of(parse(data), number)
    assert len(made) <= 63 and made == name_of(parse(data), number) != name_of(parse(data), number + 1)
    assert all(each.isalnum() or each == "-" for each in made) and made[0].isalnum() and made[-1].isalnum()
    other = {**data, "metadata": {**data["metadata"], "uid": "u-2"}}
    assert name_of(parse(other), number) != made


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=5))
def test_the_order_of_parameters_is_no_difference(parameters: dict[str, str]) -> None:
    assert digest_of(parameters) == digest_of(dict(reversed(parameters.items())))
