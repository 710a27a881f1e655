"""A Kubernetes API server as a function, as `modelpack.runs.cluster.Send` asks: objects by path, kept as they come."""

from __future__ import annotations

import copy
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from modelpack.errors import RemoteError
from modelpack.runs.cluster import Cluster

Json = dict[str, Any]


class FakeKubernetes:
    """`calls` are (method, path); `refusal` answers everything with a status and message; `away` answers nothing."""

    def __init__(self, namespace: str = "training") -> None:
        self.objects: dict[str, Json] = {}
        self.logs: dict[str, str] = {}
        self.calls: list[tuple[str, str]] = []
        self.refusal: tuple[int, str] | None = None
        self.away = False
        self.cluster = Cluster(self.send, namespace)

    def send(self, method: str, path: str, body: bytes | None, content_type: str) -> tuple[int, bytes]:
        if self.away:
            raise RemoteError("https://api", "the API server cannot be reached")
        parts = urlsplit(path)
        self.calls.append((method, parts.path))
        if self.refusal:
            return self.refusal[0], json.dumps({"kind": "Status", "message": self.refusal[1]}).encode()
        value: Json = json.loads(body) if body else {}
        if method == "POST":
            place = f"{parts.path}/{value['metadata']['name']}"
            if place in self.objects:
                return 409, b'{"message": "already exists"}'
            self.objects[place] = value
            return 201, json.dumps(value).encode()
        if parts.path.endswith("/log"):
            log = self.logs.get(parts.path.split("/")[-2])
            return (404, b"{}") if log is None else (200, log.encode())
        if method == "GET" and parts.path not in self.objects and parts.path.rpartition("/")[2].endswith("s"):
            return 200, json.dumps({"items": self._listed(parts.path, parse_qs(parts.query))}).encode()
        if parts.path not in self.objects:
            return 404, json.dumps({"message": f"{parts.path} not found"}).encode()
        if method == "DELETE":
            del self.objects[parts.path]
        elif method == "PATCH":
            assert content_type == "application/merge-patch+json"
            self.objects[parts.path] = _merged(self.objects[parts.path], value)
        return 200, json.dumps(self.objects.get(parts.path, {})).encode()

    def put(self, path: str, value: Json) -> None:
        self.objects[f"{path}/{value['metadata']['name']}"] = value

    def _listed(self, path: str, query: dict[str, list[str]]) -> list[Json]:
        wanted = dict(each.split("=", 1) for each in query.get("labelSelector", [""])[0].split(",") if each)
        below = [value for place, value in self.objects.items() if place.rpartition("/")[0] == path]
        return [each for each in below if wanted.items() <= (each["metadata"].get("labels") or {}).items()]


def _merged(old: Json, new: Json) -> Json:
    """RFC 7396."""
    found = copy.deepcopy(old)
    for key, value in new.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict):
            found[key] = _merged(found.get(key) or {}, value)
        else:
            found[key] = value
    return found
