"""The API of Kubeflow Pipelines over HTTP, in memory. Each body is held against the models of kfp-server-api."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api

from tests.fakes.http import Request

ROOT = "/apis/v2beta1"
_BEGAN = datetime(2026, 11, 22, 10, tzinfo=timezone.utc)


class FakeKubeflow:
    """One uploaded pipeline, `line`. `runs` are what was started, by id, as the server would tell them."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.experiments: dict[str, dict[str, Any]] = {}

    def answer(self, request: Request) -> tuple[int, bytes]:
        parts = urlsplit(request.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        status, value = self._route(request.method, parts.path.removeprefix(ROOT), query, request.body)
        return status, json.dumps(value).encode()

    def add(self, name: str, pipeline: str = "p-1", **more: Any) -> dict[str, Any]:
        at = _BEGAN + timedelta(seconds=len(self.runs))
        value = {
            "run_id": f"id-{len(self.runs)}",
            "display_name": name,
            "created_at": at.isoformat(),
            "state": "PENDING",
            **more,
        }
        self.runs[value["run_id"]] = value
        return value

    def _route(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        if path == "/healthz":
            return 200, {"multi_user": False}
        if path == "/pipelines":
            known = {"pipeline_id": "p-1", "display_name": "line"}
            return 200, {"pipelines": [known] if _wanted(query) == "line" else []}
        if path == "/pipelines/p-1/versions":
            return 200, {"pipeline_versions": [{"pipeline_id": "p-1", "pipeline_version_id": "v-1"}]}
        if path == "/experiments" and method == "POST":
            value = checked(body, kfp_server_api.V2beta1Experiment)
            self.experiments[value["display_name"]] = {**value, "experiment_id": "e-1"}
            return 200, self.experiments[value["display_name"]]
        if path == "/experiments":
            found = self.experiments.get(_wanted(query))
            return 200, {"experiments": [found] if found else []}
        if path == "/runs" and method == "POST":
            value = checked(body, kfp_server_api.V2beta1Run)
            if "pipeline_spec" not in value:  # else what was compiled comes along
                assert value["pipeline_version_reference"] == {"pipeline_id": "p-1", "pipeline_version_id": "v-1"}
            return 200, self.add(value["display_name"], runtime_config=value["runtime_config"])
        if path == "/runs":
            found = [each for each in self.runs.values() if _wanted(query) in ("", each["display_name"])]
            return 200, {"runs": found}
        run_id, _, action = path.removeprefix("/runs/").partition(":")
        if run_id not in self.runs:
            return 404, {"error": "not found"}
        if method == "DELETE":
            del self.runs[run_id]
        elif action == "terminate":
            self.runs[run_id] |= {"state": "CANCELED", "finished_at": (_BEGAN + timedelta(minutes=1)).isoformat()}
        return 200, self.runs.get(run_id, {})


def checked(body: bytes, model: Any) -> dict[str, Any]:
    """A request's body, which has no field that the model does not know."""
    value: dict[str, Any] = json.loads(body)
    known = set(model.attribute_map.values())
    assert set(value) <= known, f"{set(value) - known} is not in {model.__name__}"
    return value


def _wanted(query: dict[str, str]) -> str:
    if "filter" not in query:
        return ""
    (predicate,) = json.loads(query["filter"])["predicates"]
    assert predicate["operation"] in ("EQUALS", 1)
    return str(predicate.get("stringValue") or predicate.get("string_value"))
