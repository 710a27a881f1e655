"""What the operator asks the API server for beside its watches: every write, and what may be read by name.

`Api` speaks through one function, `Request`, so that tests bring their own. Each call blocks: it is made in a thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from modelpack import apiserver
from modelpack.errors import InputError, NotFoundError, RefusedError, RemoteError
from modelpack.reconcile.answer import printable
from modelpack.reconcile.modelsync import GROUP, ORIGINAL_GROUP, PLURAL, VERSIONS, Json, ModelSync, Run
from modelpack.reconcile.pipeline_run import API_VERSION
from modelpack.reconcile.pipeline_run import PLURAL as RUNS

TIMEOUT = 10.0  # seconds for one call
_MAX_BYTES = 8 << 20
_MERGE, _JSON = "application/merge-patch+json", "application/json"

Request = Callable[[str, str, Json | None, str], tuple[int, bytes]]
"""(method, path, body, its type) -> (HTTP status, body). Raises RemoteError if nobody answers."""


class ConflictError(RefusedError):
    """Somebody else was faster: the object is not the one that was read, or is there already."""


class Api:
    """The API server of one cluster. Safe to use from several threads."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def groups(self) -> tuple[str, ...]:
        """The groups of ModelSync that are served. Raises InputError if none is, or if Tekton is missing."""
        if RUNS not in self._served(API_VERSION):
            raise InputError("the cluster", f"serves no {RUNS} of {API_VERSION}", "install Tekton Pipelines")
        found = tuple(each for each in (GROUP, ORIGINAL_GROUP) if PLURAL in self._served(f"{each}/{VERSIONS[each]}"))
        if not found:
            raise InputError("the cluster", f"serves no {PLURAL}", "apply the definitions in manifests/reconciler")
        return found

    def write_status(self, sync: ModelSync, status: Json) -> Json:
        """Merge `status` into that of the object that was read; gives the new object. Raises ConflictError if it is not
        the newest any more, NotFoundError if it is gone."""
        path = f"/apis/{sync.api_version}/namespaces/{_quote(sync.namespace)}/{PLURAL}/{_quote(sync.name)}/status"
        metadata = {"resourceVersion": sync.resource_version, "uid": sync.uid}
        return self._json("PATCH", path, {"metadata": metadata, "status": status}, _MERGE)

    def create_run(self, run: Json) -> None:
        """Raises ConflictError if one of its name is there, RefusedError with the reason if it is not let in."""
        self._json("POST", _runs(run["metadata"]["namespace"]), run, _JSON)

    def run_is_there(self, namespace: str, run: Run) -> bool:
        try:
            found = self._json("GET", f"{_runs(namespace)}/{_quote(run.name)}", None, _JSON)
        except NotFoundError:
            return False
        return bool(found.get("metadata", {}).get("uid") == run.uid)

    def delete_run(self, namespace: str, run: Run) -> None:
        """Nothing happens if it is gone, or if another one has its name."""
        options = {"preconditions": {"uid": run.uid}, "propagationPolicy": "Background"}
        try:
            self._json("DELETE", f"{_runs(namespace)}/{_quote(run.name)}", options, _JSON)
        except (NotFoundError, ConflictError):
            return

    def lease(self, namespace: str, name: str) -> Json | None:
        try:
            return self._json("GET", f"{_leases(namespace)}/{_quote(name)}", None, _JSON)
        except NotFoundError:
            return None

    def write_lease(self, namespace: str, name: str, lease: Json, *, new: bool) -> Json:
        """Create it, or replace the one that `lease` was made of. Raises ConflictError."""
        path = _leases(namespace) if new else f"{_leases(namespace)}/{_quote(name)}"
        return self._json("POST" if new else "PUT", path, lease, _JSON)

    def _served(self, api_version: str) -> Iterable[str]:
        try:
            found = self._json("GET", f"/apis/{api_version}", None, _JSON)
        except NotFoundError:
            return ()
        return [str(each.get("name")) for each in found.get("resources") or ()]

    def _json(self, method: str, path: str, body: Json | None, kind: str) -> Json:
        status, answer = self._request(method, path, body, kind)
        try:
            value = json.loads(answer)
        except (ValueError, RecursionError):
            value = None
        if 200 <= status < 300 and isinstance(value, dict):
            return value
        what = path.partition("?")[0].rpartition("/apis/")[2]
        said = printable(value.get("message")) if isinstance(value, dict) else f"status {status}"
        if status == 404:
            raise NotFoundError(what, "is not there")
        if status == 409:
            raise ConflictError(what, said)
        if status in (400, 403, 422):
            raise RefusedError(what, f"the API server refuses: {said}")
        raise RemoteError(what, f"the API server answered {status}: {said}")


def _runs(namespace: str) -> str:
    return f"/apis/{API_VERSION}/namespaces/{_quote(namespace)}/{RUNS}"


def _leases(namespace: str) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{_quote(namespace)}/leases"


def _quote(name: str) -> str:
    return quote(name, safe="")


def connect(settings: Any) -> Request:
    """By the kubernetes client's configuration (`apiserver.configured`)."""
    send = apiserver.connect(settings, _MAX_BYTES)
    return lambda method, path, body, kind: send(
        method, path, None if body is None else json.dumps(body).encode(), kind, TIMEOUT
    )
