"""Objects of a Kubernetes API server as plain JSON, for the places that run there.

Everything goes through one function, `Send`, so that tests bring their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

from modelpack import apiserver
from modelpack.apiserver import reason_of
from modelpack.errors import InputError, ModelpackError, NotFoundError, RefusedError, RemoteError

Json = dict[str, Any]
Send = Callable[[str, str, "bytes | None", str], tuple[int, bytes]]
"""(method, path with query, body, content type) -> (HTTP status, body). Raises RemoteError if nobody answers."""

LABEL_MODEL, LABEL_RUN = "modelpack.dev/model", "modelpack.dev/run"
ANNOTATION_RUN = "modelpack.dev/run"
"""The run as JSON, on whatever object runs it."""
RESTRICTED: Json = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "fsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""A pod's securityContext that the strictest Pod Security Standard admits; its containers need RESTRICTED_CONTAINER."""
RESTRICTED_CONTAINER: Json = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
TIMEOUT = 15.0  # seconds for one call
_LARGEST = 64 << 20  # bytes of an answer


class Cluster:
    """One namespace of a cluster's API server."""

    def __init__(self, send: Send, namespace: str) -> None:
        self._send = send
        self.namespace = namespace

    @classmethod
    def connect(cls, namespace: str) -> Cluster:
        """The cluster that this runs in, else the one of $KUBECONFIG or ~/.kube/config. Contacts nobody yet."""
        return cls(_connect(), namespace)

    def path(self, root: str, kind: str, name: str = "") -> str:
        """The path of a kind's objects, or of one, below an API's root like `/apis/batch/v1`."""
        tail = f"/{quote(name, safe='')}" if name else ""
        return f"{root}/namespaces/{quote(self.namespace, safe='')}/{kind}{tail}"

    def create(self, path: str, value: Json) -> bool:
        """Create an object; False if one of its name is there."""
        status, body = self._send("POST", path, json.dumps(value).encode(), "application/json")
        if status == 409:
            return False
        self._check(status, body, path)
        return True

    def read(self, path: str, **query: str) -> Json | None:
        """An object or a list, None if it is not there."""
        status, body = self._send("GET", f"{path}?{urlencode(query)}" if query else path, None, "")
        if status == 404:
            return None
        self._check(status, body, path)
        try:
            value = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RemoteError(path, "the API server did not answer in JSON") from error
        if not isinstance(value, dict):
            raise RemoteError(path, "the API server did not answer with an object")
        return value

    def list(self, path: str, **query: str) -> tuple[Json, ...]:
        found = self.read(path, **query) or {}
        return tuple(each for each in found.get("items") or () if isinstance(each, dict))

    def patch(self, path: str, value: Json) -> None:
        """Merge into an object; one that is gone is none to change."""
        status, body = self._send("PATCH", path, json.dumps(value).encode(), "application/merge-patch+json")
        if status != 404:
            self._check(status, body, path)

    def delete(self, path: str) -> None:
        """Delete an object and what it owns; one that is gone is deleted."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        status, body = self._send("DELETE", path, json.dumps(options).encode(), "application/json")
        if status != 404:
            self._check(status, body, path)

    def log(self, pod: str, container: str, limit: int) -> str:
        """The end of a container's log, "" if there is none."""
        query = urlencode({"container": container, "tailLines": 20_000, "limitBytes": limit})
        status, body = self._send("GET", f"{self.path('/api/v1', 'pods', pod)}/log?{query}", None, "")
        return body.decode(errors="replace") if status == 200 else ""

    def _check(self, status: int, body: bytes, path: str) -> None:
        if 200 <= status < 300:
            return
        raise _refusal(status, body, path)


def _refusal(status: int, body: bytes, what: str) -> ModelpackError:
    reason = reason_of(status, body)
    if status == 404:
        return NotFoundError(what, f"is not there: {reason}", "make the namespace, or correct runs.namespace")
    if status in (401, 403):
        return RefusedError(what, f"the cluster refuses it: {reason}", "give the one who asks a role that may do it")
    if status in (400, 422):
        return InputError(what, f"the cluster does not take it: {reason}")
    return RemoteError(what, f"the API server answered {status}: {reason}", "try again")


def _connect() -> Send:
    send = apiserver.connect(apiserver.configured(), _LARGEST)
    return lambda method, path, body, kind: send(method, path, body, kind, TIMEOUT)
