"""A run's origin as an in-toto statement with SLSA's provenance, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from modelpack.lineage.origin import about, from_statement, to_rfc3339, to_statement
from modelpack.reference import Reference
from tests.fakes import versions

IMAGE = Reference.parse(f"registry.example.com/models/mpg:v2@sha256:{'0' * 63}1")
ORIGIN = versions.origin("v2")


def statement() -> dict[str, Any]:
    value = json.loads(json.dumps(to_statement(ORIGIN, IMAGE)))
    assert isinstance(value, dict)
    return value


def test_the_statement_is_what_the_specifications_say() -> None:
    value = statement()
    assert (value["_type"], value["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    assert value["subject"] == [{"name": IMAGE.name, "digest": {"sha256": f"{'0' * 63}1"}}]
    build, details = value["predicate"]["buildDefinition"], value["predicate"]["runDetails"]
    assert build["externalParameters"]["parameters"] == {"depth": 4, "rate": 0.1, "kind": "forest", "scale": True}
    source, data, code = build["resolvedDependencies"]
    assert source["uri"] == "git+https://git.example.com/team/models.git@refs/heads/main"
    assert source["digest"] == {"gitCommit": ORIGIN.commit}
    assert (data["uri"], data["digest"]) == ("s3://data/mpg", {"md5": "a" * 32})
    assert code["annotations"] == {"version": ORIGIN.code}
    assert details["builder"]["id"].startswith("https://")
    assert details["metadata"] == {
        "invocationId": "mpg-v2",
        "startedOn": "2026-11-22T03:26:40.250Z",
        "finishedOn": "2026-11-22T03:36:34.500Z",
    }
    resources = [*build["resolvedDependencies"], *details["byproducts"]]
    assert all({"uri", "digest", "content"} & each.keys() for each in resources)  # one of them, says ResourceDescriptor


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"data_uri": "", "notebook": "", "html": "", "dvc": "", "code": ""},
        {"metrics": MappingProxyType({}), "parameters": MappingProxyType({})},
        {"data": "s3:" + "d" * 64, "started": 0.0, "ended": 0.0, "builder": "https://ci.example.com/builder"},
        {"data": "git:" + "e" * 40, "reason": "code\nand data", "repository": "/srv/models"},
    ],
)
def test_there_and_back(changes: Mapping[str, Any]) -> None:
    origin = replace(ORIGIN, **changes)
    value = json.loads(json.dumps(to_statement(origin, IMAGE)))
    assert from_statement(value) == origin
    assert about(value, IMAGE.digest)
    assert not about(value, f"sha256:{'f' * 64}")


@pytest.mark.parametrize("login", ["alice:secret@", "secret@", "oauth2:secret@"])
def test_no_login_goes_into_it(login: str) -> None:
    address = f"https://{login}git.example.com/team/models.git"
    value = to_statement(replace(ORIGIN, repository=address, html=address, data_uri=address), IMAGE)
    assert "secret" not in json.dumps(value)
    assert from_statement(value).repository == "https://git.example.com/team/models.git"


def _without(*path: str) -> Any:
    value = statement()
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return value


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"predicate": []},
        _without("predicate", "buildDefinition", "buildType"),
        _without("predicate", "runDetails", "builder"),
        {**statement(), "predicateType": "https://slsa.dev/provenance/v0.2"},
        {**statement(), "predicate": {**statement()["predicate"], "runDetails": {"builder": {"id": 7}}}},
        {**statement(), "predicate": {**statement()["predicate"], "runDetails": {"builder": {"id": "x"}, "byproducts": [
            {"name": "metrics", "content": "?"}]}}},
    ],
)  # fmt: skip
def test_a_statement_of_others_is_none(value: Mapping[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        from_statement(value)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, ""), (1e30, ""), (float("nan"), ""), (1.5, "1970-01-01T00:00:01.500Z")]
)
def test_times(seconds: float, text: str) -> None:
    assert to_rfc3339(seconds) == text
