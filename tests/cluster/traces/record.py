"""Runs specs in the real Flagger on a real API server, each in a namespace of its own, and records what happens.

Everything that Flagger writes gets its place by etcd's revision, and so does every webhook, which asks for the revision
of the moment before it answers: Flagger waits for webhooks, so the order is the true one.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config, watch

from tests.cluster.control_plane import control_plane
from tests.cluster.deployments import mark_ready
from tests.cluster.traces.hooks import addressed, scripted_hooks
from tests.cluster.traces.lines import has, normal, numbered, status_line
from tests.cluster.traces.specs import Spec
from tests.integration.servers.gotools import TOOLS, go_tool, go_tools
from tests.integration.servers.process import free_port, running

LIMIT = 480.0  # seconds in which all specs must have ended
_AFTER = 22.0  # seconds after the end, two intervals, in which nothing may happen
_SETTLE = 4.0  # seconds for a tick to end before Git changes
_WATCHED = (
    ("flagger.app", "v1beta1", "canaries"),
    ("projectcontour.io", "v1", "httpproxies"),
    ("apps", "v1", "deployments"),
)


def record(specs: Mapping[str, Spec], folder: Path) -> dict[str, list[str]]:
    """The course of every spec; one that did not end in time has the course so far, and a last line that says so."""
    with ExitStack() as stack:
        plane = stack.enter_context(control_plane(folder / "control-plane"))
        api = config.new_client_from_config(str(plane.kubeconfig))
        recorder = _Recorder(api, specs)
        for definition in _definitions():
            client.ApiextensionsV1Api(api).create_custom_resource_definition(definition, _preload_content=False)
        addresses = stack.enter_context(scripted_hooks(specs, recorder.heard))
        stack.enter_context(mark_ready(plane.kubeconfig, lambda deployment: _is_stuck(specs, deployment)))
        stack.enter_context(_flagger(plane.kubeconfig, folder))
        for spec in specs.values():
            _create(api, spec, addresses)
        stack.enter_context(recorder.watching())
        return recorder.until_over()


class _Recorder:
    def __init__(self, api: client.ApiClient, specs: Mapping[str, Spec]) -> None:
        self._objects, self._deployments = client.CustomObjectsApi(api), client.AppsV1Api(api)
        self._specs = specs
        self._entries: dict[str, list[tuple[int, int, str]]] = {name: [] for name in specs}
        self._last: dict[tuple[str, str], str] = {}
        self._leave = threading.Event()
        self._failure: Exception | None = None

    def heard(self, name: str, line: str) -> None:
        """A webhook, before it is answered."""
        listed = self._objects.list_namespaced_custom_object(*_WATCHED[0][:2], name, _WATCHED[0][2], limit=1)
        self._add(name, int(listed["metadata"]["resourceVersion"]), line, call=True)

    @contextmanager
    def watching(self) -> Iterator[None]:
        for kind in _WATCHED:  # these end with the API server
            threading.Thread(target=self._watch, args=kind, daemon=True).start()
        try:
            yield
        finally:
            self._leave.set()

    def until_over(self) -> dict[str, list[str]]:
        deadline = time.monotonic() + LIMIT
        changes = {name: list(spec.changes) for name, spec in self._specs.items()}
        since: dict[str, float] = {}  # that the next change is due, or the end was reached
        done: dict[str, list[str]] = {}
        while len(done) < len(self._specs):
            time.sleep(0.5)
            if self._failure is not None:
                raise self._failure
            now = time.monotonic()
            for name in self._specs.keys() - done.keys():
                status = ([line for line in numbered(self._lines(name)) if line.startswith("status")] or [""])[-1]
                if not has(status, changes[name][0][0] if changes[name] else self._specs[name].ends):
                    since.pop(name, None)
                elif changes[name] and now - since.setdefault(name, now) > _SETTLE:
                    del since[name]
                    self._deployments.patch_namespaced_deployment("mpg", name, _revision(changes[name].pop(0)[1]))
                elif not changes[name] and now - since.setdefault(name, now) > _AFTER:
                    done[name] = normal(self._lines(name))
            if now > deadline:
                for name in self._specs.keys() - done.keys():
                    done[name] = [*normal(self._lines(name)), f"not over after {LIMIT:.0f} s"]
        return done

    def _lines(self, name: str) -> list[str]:
        """From the moment when the Canary is initialized."""
        lines = [line for *_, line in sorted(self._entries[name].copy(), key=lambda entry: entry[:2])]
        first = next((n for n, line in enumerate(lines) if line.startswith("status Initialized")), len(lines))
        return lines[first:]

    def _add(self, name: str, revision: int, line: str, call: bool = False) -> None:
        self._entries[name].append((revision, int(call), line))

    def _watch(self, group: str, version: str, plural: str) -> None:
        listing, forever = self._objects.list_cluster_custom_object, {"resource_version": "0", "timeout_seconds": 3600}
        # 0, what the server has in its cache: for the newest it may wait in vain, as etcd 3.4 reports no progress
        try:
            for event in watch.Watch().stream(listing, group, version, plural, **forever):
                self._seen(event["object"])
        except Exception as error:
            if not self._leave.is_set():
                self._failure = error

    def _seen(self, item: Mapping[str, Any]) -> None:
        name, kind = item["metadata"]["namespace"], item["metadata"]["name"]
        if name in self._specs:
            for what, line in _facts(item).items():
                before = self._last.get((name, kind + what))
                self._last[name, kind + what] = line
                if line != before and (before or what == "status"):
                    self._add(name, int(item["metadata"]["resourceVersion"]), line)


def _facts(item: Mapping[str, Any]) -> dict[str, str]:
    """What an object says about its rollout, each as the line that is recorded when it changes."""
    if item["kind"] == "Canary":
        return {"status": status_line(item["status"])} if "status" in item else {}
    if item["kind"] == "HTTPProxy":
        return {"route": f"route {item['spec']['routes'][0]['services'][1].get('weight', 0)}"}
    revision = item["spec"]["template"]["metadata"]["annotations"]["revision"]
    if item["metadata"]["name"] == "mpg":
        return {"scale": f"canary {'up' if item['spec']['replicas'] else 'down'}", "git": f"git {revision}"}
    return {"template": f"primary {revision}"}


def _is_stuck(specs: Mapping[str, Spec], deployment: Mapping[str, Any]) -> bool:
    spec = specs.get(deployment["metadata"]["namespace"])
    role = "primary" if deployment["metadata"]["name"].endswith("-primary") else "canary"
    new = deployment["spec"]["template"]["metadata"]["annotations"]["revision"] != "v1"
    return spec is not None and spec.stuck == role and new


def _create(api: client.ApiClient, spec: Spec, addresses: Mapping[str, str]) -> None:
    labels = {"app": "mpg"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "server", "image": "server"}]}}
    deployment = {
        "metadata": {"name": "mpg"},
        "spec": {"selector": {"matchLabels": labels}, "progressDeadlineSeconds": 15, "template": template},
    }
    template["metadata"].update(_revision("v1")["spec"]["template"]["metadata"])
    text = addressed(json.dumps(spec.canary()), addresses)
    client.CoreV1Api(api).create_namespace({"metadata": {"name": spec.name}})
    client.AppsV1Api(api).create_namespaced_deployment(spec.name, deployment)
    group, version, plural = _WATCHED[0]
    client.CustomObjectsApi(api).create_namespaced_custom_object(group, version, spec.name, plural, json.loads(text))


def _revision(name: str) -> dict[str, Any]:
    return {"spec": {"template": {"metadata": {"annotations": {"revision": name}}}}}


@contextmanager
def _flagger(kubeconfig: Path, folder: Path) -> Iterator[None]:
    port = free_port()
    argv = [str(go_tool("flagger")), f"-kubeconfig={kubeconfig}", "-mesh-provider=contour", f"-port={port}"]
    argv += ["-metrics-server=http://127.0.0.1:1", "-control-loop-interval=1s", "-log-level=info"]
    with running(argv, folder / "flagger.log", lambda log: "Started operator workers" in log):
        yield


def flagger_version() -> str:
    found = re.search(r"github\.com/fluxcd/flagger v(\S+)", (TOOLS / "flagger" / "go.mod").read_text())
    assert found is not None
    return found[1]


def _definitions() -> Iterator[dict[str, Any]]:
    for tool in ("flagger", "contour"):
        for file in sorted((go_tools(tool) / "crd").iterdir()):
            yield from filter(None, yaml.safe_load_all(file.read_text()))
