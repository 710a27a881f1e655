"""Reads Flagger's Canaries and what belongs to them from a Kubernetes API server. Writes nothing.

`Cluster` asks through one function, `Get`, so that tests bring their own; the answers are read as plain JSON.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from modelpack.apiserver import configured, connect, reason_of
from modelpack.errors import ModelpackError, NotFoundError, RemoteError
from modelpack.rollout.observed import KINDS, Event, Json, Observed, observed, target_of, unix_time

__all__ = ["TIMEOUT", "Cluster", "Event", "Get", "Observed"]

TIMEOUT = 5.0  # seconds for one call, and for all that make one reading
READINGS = 4  # of a Canary that changes while it is read
MAX_BYTES = 64 << 20
_CANARIES = "/apis/flagger.app/v1beta1"

Get = Callable[[str, Mapping[str, str], float], tuple[int, bytes]]
"""(path, query, timeout in seconds) -> (HTTP status, body). Raises RemoteError if nobody answers."""


class Cluster:
    """One Kubernetes cluster. Safe to use from several threads."""

    def __init__(self, get: Get) -> None:
        self._get = get

    @classmethod
    def connect(cls, context: str | None = None) -> Cluster:
        """The cluster that this runs in, else the one of $KUBECONFIG or ~/.kube/config; a `context` is always of those.

        Contacts nobody yet. Raises InputError if there is no such configuration.
        """
        return cls(_connect(context))

    def version(self) -> str:
        """Kubernetes' version: an answer means that the API server can be reached."""
        return str(self._json("/version", "the API server").get("gitVersion") or "")

    def observe(self, namespace: str, name: str) -> Observed:
        """One consistent reading. Raises NotFoundError, RemoteError, or InputError for objects that make no sense."""
        until = time.monotonic() + TIMEOUT
        path, what = f"{_in(_CANARIES, namespace)}/canaries/{_quote(name)}", f"Canary {namespace}/{name}"
        before = self._json(path, what, until)
        for _ in range(READINGS):
            kind, target = target_of(before)
            workloads = [self._workload(namespace, kind, each, until) for each in (target, f"{target}-primary")]
            after = self._json(path, what, until)
            if _state(before) == _state(after):
                return observed(after, *workloads)
            before = after
        raise RemoteError(what, "changes faster than it can be read", "try again")

    def canaries(self, namespace: str | None = None) -> tuple[tuple[str, str], ...]:
        """(namespace, name) of every Canary, or of those of one namespace, in order."""
        path = f"{_in(_CANARIES, namespace) if namespace else _CANARIES}/canaries"
        found = self._json(path, "Canaries").get("items") or ()
        return tuple(sorted((each["metadata"]["namespace"], each["metadata"]["name"]) for each in found))

    def config_map(self, namespace: str, name: str) -> dict[str, bytes]:
        """A ConfigMap's files by name. Raises NotFoundError, RemoteError."""
        what = f"ConfigMap {namespace}/{name}"
        found = self._json(f"{_in('/api/v1', namespace)}/configmaps/{_quote(name)}", what)
        files = {key: str(text).encode() for key, text in (found.get("data") or {}).items()}
        return files | {key: base64.b64decode(data) for key, data in (found.get("binaryData") or {}).items()}

    def events(self, namespace: str, name: str) -> tuple[Event, ...]:
        """Kubernetes' events about a Canary that it still remembers, newest last."""
        wanted = {"fieldSelector": f"involvedObject.kind=Canary,involvedObject.name={name}"}
        items = self._json(f"{_in('/api/v1', namespace)}/events", f"events of {namespace}", query=wanted).get("items")
        found = [Event(_when(each), str(each.get("type")), str(each.get("message"))) for each in items or ()]
        return tuple(sorted(found, key=lambda each: each.at))

    def proxied(self, namespace: str, service: str, port: str, path: str) -> bytes:
        """GET `path` of a Service through the API server. Raises NotFoundError, RemoteError."""
        root, _, query = path.partition("?")
        place = f"{_in('/api/v1', namespace)}/services/{_quote(f'{service}:{port}')}/proxy/{root.lstrip('/')}"
        return self._ask(place + (f"?{query}" if query else ""), f"{service}.{namespace}{path}")

    def _workload(self, namespace: str, kind: str, name: str, until: float) -> Json | None:
        path = f"{_in('/apis/apps/v1', namespace)}/{KINDS[kind]}/{_quote(name)}"
        try:
            return self._json(path, f"{kind} {namespace}/{name}", until)
        except NotFoundError:
            return None

    def _json(self, path: str, what: str, until: float = 0.0, query: Mapping[str, str] | None = None) -> Json:
        body = self._ask(path, what, until, query)
        try:
            value = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RemoteError(what, "the API server did not answer in JSON") from error
        if not isinstance(value, dict):
            raise RemoteError(what, "the API server did not answer with an object")
        return value

    def _ask(self, path: str, what: str, until: float = 0.0, query: Mapping[str, str] | None = None) -> bytes:
        left = until - time.monotonic() if until else TIMEOUT
        if left <= 0:
            raise RemoteError(what, f"the API server took more than {TIMEOUT:g} s")
        status, body = self._get(path, query or {}, left)
        if status != 200:
            raise _refusal(status, body, what)
        return body


def _in(root: str, namespace: str) -> str:
    return f"{root}/namespaces/{_quote(namespace)}"


def _quote(name: str) -> str:
    return quote(name, safe=":")


def _state(canary: Json) -> tuple[Any, ...]:
    """What has to be equal before and after the Deployments are read; the phase tells when the primary changes."""
    status = canary.get("status") or {}
    return tuple(status.get(key) for key in ("lastAppliedSpec", "lastPromotedSpec", "phase"))


def _when(event: Json) -> float:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((unix_time(each) for each in times if each), 0.0)


def _refusal(status: int, body: bytes, what: str) -> ModelpackError:
    reason = reason_of(status, body)
    if status == 404:
        return NotFoundError(what, f"is not there: {reason}")
    if status in (401, 403):
        return RemoteError(what, f"may not be read: {reason}", "give the one who asks a role that may get it")
    return RemoteError(what, f"the API server answered {status}: {reason}")


def _connect(context: str | None) -> Get:
    send = connect(configured(context), MAX_BYTES)
    return lambda path, query, timeout: send("GET", f"{path}?{urlencode(query)}" if query else path, None, "", timeout)
