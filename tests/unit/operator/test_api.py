"""What the operator asks the API server for, and how it takes the answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelpack.errors import InputError, NotFoundError, RefusedError, RemoteError
from modelpack.operator.api import Api, ConflictError
from modelpack.reconcile.modelsync import State
from tests.fakes.modelsyncs import run, sync


class Answers:
    """Answers in turn, and keeps what was asked."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self._answers, self.asked = list(answers), list[tuple[str, str, Any]]()

    def __call__(self, method: str, path: str, body: Any, kind: str) -> tuple[int, bytes]:
        self.asked.append((method, path, body))
        status, value = self._answers.pop(0)
        return status, value if isinstance(value, bytes) else json.dumps(value).encode()


def test_a_status_is_written_to_the_version_that_was_read() -> None:
    answers = Answers((200, {"metadata": {}}))
    Api(answers).write_status(sync(), {"lastSyncTime": "x"})
    ((method, path, body),) = answers.asked
    assert (method, path) == ("PATCH", "/apis/modelpack.dev/v1/namespaces/default/modelsyncs/mpg/status")
    assert body == {"metadata": {"resourceVersion": "7", "uid": "u-1"}, "status": {"lastSyncTime": "x"}}


def test_a_run_is_deleted_by_its_uid_and_once() -> None:
    answers = Answers((200, {}), (404, {}), (409, {}))
    for _ in range(3):
        Api(answers).delete_run("default", run(3, State.FAILED))
    assert {(each[1].rpartition("/")[2], each[2]["preconditions"]["uid"]) for each in answers.asked} == {
        ("mpg-3", "r-3")
    }


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, RefusedError), (403, RefusedError), (404, NotFoundError), (409, ConflictError), (422, RefusedError)]
    + [(status, RemoteError) for status in (401, 429, 500, 503)],
)
def test_what_is_refused(status: int, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        Api(Answers((status, {"message": "why\x1b"}))).create_run({"metadata": {"namespace": "default"}})
    assert type(caught.value) is error
    assert status == 404 or "why?" in str(caught.value)


def test_an_answer_that_is_no_json() -> None:
    with pytest.raises(RemoteError):
        Api(Answers((200, b"<html>"))).lease("a", "b")


def test_which_groups_are_served() -> None:
    runs, syncs = ({"resources": [{"name": each}]} for each in ("pipelineruns", "modelsyncs"))
    assert Api(Answers((200, runs), (200, syncs), (404, {}))).groups() == ("modelpack.dev",)
    with pytest.raises(InputError, match="install Tekton"):
        Api(Answers((404, {}))).groups()
    with pytest.raises(InputError, match="manifests/reconciler"):
        Api(Answers((200, runs), (404, {}), (404, {}))).groups()


def test_whether_a_run_is_there_goes_by_its_uid() -> None:
    answers = Answers((200, {"metadata": {"uid": "r-1"}}), (200, {"metadata": {"uid": "another"}}), (404, {}))
    assert [Api(answers).run_is_there("default", run(1)) for _ in range(3)] == [True, False, False]
