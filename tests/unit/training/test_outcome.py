"""How a run stands, as its own programs, a pod or a service may have written it down: what is none is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelpack.errors import IntegrityError
from modelpack.training.folder import compact, read_compact
from modelpack.training.run import Result, Seen, State, from_json, to_json
from tests.fakes.training import run

SEEN = Seen(State.SUCCEEDED, "fine", 1.0, 2.0, Result(True, "fine", "r/line:v2@sha256:ab"))
RESULT = {"passed": True, "reason": "fine"}


@pytest.mark.parametrize(
    "changes",
    [
        {"ended": "x"},
        {"ended": [1]},
        {"ended": True},
        {"started": float("nan")},
        {"started": 10**400},
        {"message": {"a": 1}},
        {"message": "\ud800"},
        {"retryable": 1},
        {"state": "fine"},
        {"result": {**RESULT, "passed": "yes"}},
        {"result": {**RESULT, "reason": ["x"]}},
        {"result": {**RESULT, "image": None}},
        {"result": [RESULT]},
    ],
)
def test_an_outcome_of_other_types_is_none(changes: dict[str, Any]) -> None:
    assert read_compact(compact(SEEN).decode(), "its pod") == SEEN
    with pytest.raises(IntegrityError, match="none that this version can read"):
        read_compact(json.dumps({"state": "succeeded", **changes}), "its pod")


@pytest.mark.parametrize("changes", [{"id": 5}, {"folder": None}, {"created": "now"}, {"attempt": "1"}, {"more": 1}])
def test_a_run_of_other_types_is_none(changes: dict[str, Any]) -> None:
    assert from_json(to_json(run())) == run()
    with pytest.raises((KeyError, TypeError, ValueError)):
        from_json({**to_json(run()), **changes})
